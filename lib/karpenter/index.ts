export {
  interruptionEvents,
  KarpenterInfrastructure,
  type KarpenterInfrastructureProps,
  karpenterServiceAccount,
} from "./infrastructure";
export { controllerPolicies, type KarpenterScope } from "./policies";
