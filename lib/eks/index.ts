export { type AddonName, ClusterAddons, type ClusterAddonsProps } from "./addons";
export { type ClusterAccess, PlatformCluster, type PlatformClusterProps } from "./cluster";
export { nodePolicies, SystemNodes, type SystemNodesProps } from "./system-nodes";
