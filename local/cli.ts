import { Command, CommanderError } from "commander";
import * as commands from "./commands.js";
import { CliError, EXIT, EXIT_TEXT, messageOf } from "./errors.js";
import { withLock } from "./processes.js";

const SETTINGS = [
  "Settings (environment variables):",
  "  LOCAL_AWS_PORT     port of the AWS emulator on 127.0.0.1, 1024-65535 (default 4566)",
  "  TOFU               path of OpenTofu 1.11 or later (default: PATH, then the cache, then a build)",
  "  AWS_PROVIDER_DIR   folder that holds the AWS provider (default: registry, then plugin folders)",
  "  PYTHON             Python 3.10 or later with venv (default: the first on PATH that fits)",
  "  XDG_CACHE_HOME     where built tools are kept, below dagster-eks/ (default ~/.cache)",
  "  DEBUG=1            the same as --verbose",
].join("\n");

const program = new Command("platform")
  .description("The local target: the stacks of this repository on an AWS emulator, with no AWS account.")
  .option("-v, --verbose", "show the stack trace of an error")
  .addHelpText("after", `\n${SETTINGS}\n\n${EXIT_TEXT}\n\nMore: docs/LOCAL.md`)
  .showHelpAfterError("(--help shows what there is)")
  .exitOverride();

function command(name: string, description: string): Command {
  return program.command(name).description(description).addHelpText("after", `\n${EXIT_TEXT}`).exitOverride();
}

command("up", "start the emulator and apply every stack, in order; does nothing that is done already").action(
  () => withLock("up", commands.up),
);
command("plan", "say what `up` would change: exit 0 nothing, 2 changes are pending").action(async () => {
  process.exitCode = await withLock("plan", commands.plan);
});
command("down", "destroy every stack in reverse order, stop the emulator, remove the work folder")
  .option(
    "--discard",
    "do not destroy the resources one by one: discard emulator and state (seconds, not minutes)",
  )
  .action(async (options: { discard?: boolean }) => {
    await withLock("down", () => commands.down(options));
    commands.removeEmptyWorkFolder();
  });
command(
  "status",
  "show the emulator, the tools and the applied stacks; exit 69 when the emulator does not run",
).action(async () => {
  process.exitCode = await commands.status();
});
command("logs", "show the emulator's log")
  .option("-n, --lines <number>", "how many lines from the end", "50")
  .option("-f, --follow", "go on as the log grows")
  .action(commands.logs);
command("env", 'print shell exports for aws, tofu and cdktf by hand: eval "$(make -s env)"').action(
  commands.env,
);

// a reader that goes away (`make status | head -1`) is no reason to stop in the middle
for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
  });
}

async function main(): Promise<void> {
  try {
    await program.parseAsync();
  } catch (error) {
    if (error instanceof CommanderError) {
      process.exitCode = error.exitCode === 0 ? EXIT.ok : EXIT.usage;
      return;
    }
    const verbose = program.opts<{ verbose?: boolean }>().verbose === true || !!process.env["DEBUG"];
    if (error instanceof CliError) {
      process.stderr.write(`\n${error.render()}`);
      process.exitCode = error.code;
    } else {
      process.stderr.write(
        `\nerror:  ${messageOf(error)}\nnext:   this is a fault of ours: run it again with --verbose, and report it\n`,
      );
      process.exitCode = EXIT.failure;
    }
    if (verbose && error instanceof Error)
      process.stderr.write(`\n${error.stack}\n${error.cause ? `caused by ${String(error.cause)}\n` : ""}`);
  }
}

void main();
