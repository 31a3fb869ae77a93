#!/usr/bin/env node
// Synthesizes main.ts: the `app` of cdktf.json and of `npm run synth`. Nothing is type-checked here (npm run typecheck does).
import { rmSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { compileFunction } from "node:vm";
import { build } from "esbuild";

const usage = `Usage: node scripts/synth.mjs [--help]

Writes the stacks of one environment to cdktf.out (CDKTF_OUTDIR) as JSON for OpenTofu.

  PLATFORM_ENV      local (default), dev or prod
  PLATFORM_CONFIG   a JSON file with another environment (config/environment.schema.json)
  LOCAL_AWS_PORT    port of the AWS emulator in local, default 4566

Exit codes: 0 written, 1 refused (configuration or output), 64 wrong usage.`;

const args = process.argv.slice(2);
if (args.length > 0) {
  const help = args.length === 1 && ["--help", "-h"].includes(args[0]);
  (help ? console.log : console.error)(help ? usage : `Unknown argument ${args.join(" ")}\n\n${usage}`);
  process.exit(help ? 0 : 64);
}

// cdktf records where each token was made, for messages that nobody reads here: a third of the synth's time.
const { captureStackTrace } = Error;
Error.captureStackTrace = (target, ...rest) => {
  if (target instanceof Error) captureStackTrace.call(Error, target, ...rest);
};

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const requireFromRoot = createRequire(join(root, "main.ts"));
const { checkedProviders } = requireFromRoot("./scripts/checked-imports.cjs");

try {
  const { outputFiles } = await build({
    absWorkingDir: root,
    entryPoints: ["main.ts"],
    bundle: true,
    packages: "external",
    platform: "node",
    target: "node20",
    sourcemap: process.env.DEBUG ? "inline" : false,
    logLevel: "error",
    plugins: [checkedProviders],
    write: false,
  });
  // cdktf's own CLI removes stacks that no longer exist; a plain run must, too
  rmSync(join(process.env.CDKTF_OUTDIR ?? "cdktf.out", "stacks"), { recursive: true, force: true });
  const run = compileFunction(outputFiles[0].text, ["require", "module", "exports"], {
    filename: join(root, "main.js"),
  });
  const main = { exports: {} };
  run(requireFromRoot, main, main.exports);
} catch (error) {
  if (process.env.DEBUG) throw error;
  console.error(`\n${error.name}: ${error.message}\n\n(DEBUG=1 shows where it was thrown.)`);
  process.exit(1);
}
