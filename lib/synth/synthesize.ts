import type { App } from "cdktf";
import { applyConstructDependencies } from "./dependencies";
import { guardOutput } from "./guard";

/**
 * Synthesizes an app: carries construct dependencies into `depends_on`, lets cdktf write the stacks, and reads them back
 * through the guard.
 *
 * @throws SynthGuardError when the output is wrong in a way that cdktf does not report
 */
export function synthesize(app: App): void {
  applyConstructDependencies(app);
  app.synth();
  guardOutput(app);
}
