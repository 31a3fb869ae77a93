import type { App } from "cdktf";
import { checkWiring } from "../wiring";
import { applyConstructDependencies } from "./dependencies";
import { guardOutput } from "./guard";

/**
 * Synthesizes an app: carries construct dependencies into `depends_on`, compares what the constructs bring to the cluster with
 * what they count on, lets cdktf write the stacks, and reads them back through the guard.
 *
 * @throws WiringError when constructs do not fit together
 * @throws SynthGuardError when the output is wrong in a way that cdktf does not report
 */
export function synthesize(app: App): void {
  applyConstructDependencies(app);
  checkWiring(app);
  app.synth();
  guardOutput(app);
}
