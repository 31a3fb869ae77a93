export type { EC2NodeClassSpec, NodePoolSpec } from "./crds";
export {
  interruptionEvents,
  KarpenterInfrastructure,
  type KarpenterInfrastructureProps,
  karpenterServiceAccount,
} from "./infrastructure";
export {
  type Architecture,
  batchPods,
  type NodePoolSettings,
  NodePools,
  type NodePoolsProps,
  nodePoolObjects,
  type QuietWindow,
} from "./node-pools";
export { controllerPolicies, type KarpenterScope } from "./policies";
export { type ControllerIdentity, KarpenterReleases, type KarpenterReleasesProps } from "./releases";
export type { KarpenterValues } from "./values";
