// Prints the paths of tools as JSON, building what the cache lacks: tsx local/tools.ts etcd kube-apiserver kubectl helm
import { CliError, EXIT, messageOf } from "./errors.js";
import { ensureGoTools, type GoToolName, goToolNames } from "./go-tools.js";
import { Report } from "./report.js";

const isTool = (name: string): name is GoToolName => (goToolNames as readonly string[]).includes(name);

const names = process.argv.slice(2);
if (names.length === 0 || !names.every(isTool)) {
  const help = names.some((name) => ["-h", "--help"].includes(name));
  (help ? console.log : console.error)(
    `Usage: tsx local/tools.ts TOOL…\n\nPrints the paths of tools as JSON; what the cache lacks is built from its Go module.\nTools: ${goToolNames.join(", ")}`,
  );
  process.exit(help ? EXIT.ok : EXIT.usage);
}

ensureGoTools(names, new Report()).then(
  (paths) => console.log(JSON.stringify(paths)),
  (error: unknown) => {
    process.stderr.write(
      error instanceof CliError ? `\n${error.render()}` : `\nerror:  ${messageOf(error)}\n`,
    );
    process.exitCode = error instanceof CliError ? error.code : EXIT.failure;
  },
);
