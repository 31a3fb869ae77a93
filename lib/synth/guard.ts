import { rmSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { type App, TerraformStack } from "cdktf";
import { crossStackRules, jsonRules } from "./json-rules";
import { readOutput, type Violation } from "./output-model";
import { appRules, droppedArguments, elementRules } from "./tree-rules";

/** The synthesized output is wrong in ways that cdktf does not report; it has been removed. */
export class SynthGuardError extends Error {
  constructor(readonly violations: readonly Violation[]) {
    const lines = violations.map(({ construct, rule, message }) => `  ${construct}\n    ${rule}: ${message}`);
    super(
      `The synth guard refused the output (${violations.length === 1 ? "1 problem" : `${violations.length} problems`}); nothing was left to deploy.\n\n${lines.join("\n\n")}`,
    );
    this.name = "SynthGuardError";
  }
}

/**
 * Reads back what `app.synth()` wrote and refuses what cdktf got wrong without saying so.
 *
 * @throws SynthGuardError with every violation; the stacks and the manifest are then removed from the output folder, so that
 * nothing can deploy them
 */
export function guardOutput(app: App): void {
  const stacks = app.node.findAll().filter(TerraformStack.isStack);
  const outputs = stacks.map((stack) => readOutput(app.outdir, stack));
  const machinePaths = [process.cwd(), homedir()].filter((path) => path.length > 1);
  const violations = [
    ...appRules(app, stacks),
    ...outputs.flatMap((output) => [
      ...elementRules(output),
      ...droppedArguments(output),
      ...jsonRules(output, machinePaths),
    ]),
    ...crossStackRules(outputs),
  ];
  if (violations.length === 0) return;
  rmSync(join(app.outdir, "stacks"), { recursive: true, force: true });
  rmSync(join(app.outdir, "manifest.json"), { force: true });
  throw new SynthGuardError(violations);
}
