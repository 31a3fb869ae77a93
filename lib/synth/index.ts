export { type Addressable, addressOf } from "./address";
export { applyConstructDependencies } from "./dependencies";
export { guardOutput, SynthGuardError } from "./guard";
export type { Violation } from "./output-model";
export { list, type OutputSpecs, type OutputValues, StackOutputs, text } from "./outputs";
export { PathNamedStack } from "./path-named-stack";
export { synthesize } from "./synthesize";
