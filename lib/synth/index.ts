export { type Addressable, addressOf } from "./address";
export { applyConstructDependencies } from "./dependencies";
export { guardOutput, SynthGuardError, type Violation } from "./guard";
export { list, type OutputSpecs, type OutputValues, StackOutputs, text } from "./outputs";
export { PathNamedStack } from "./path-named-stack";
export { synthesize } from "./synthesize";
