export {
  type ChartName,
  type ChartSettings,
  type ChartSource,
  chartArguments,
  knownVersions,
  mirroredImage,
} from "./charts";
export { CustomResources, type CustomResourcesProps, crdOf, type KubernetesObject } from "./custom-resources";
export { document } from "./document";
export { releaseNameLimit, requireDnsLabel } from "./names";
export {
  existingNamespace,
  type NamespaceRef,
  PlatformNamespace,
  type PlatformNamespaceProps,
  type PodSecurityLevel,
} from "./namespace";
export {
  everyPod,
  NetworkPolicies,
  type NetworkPoliciesProps,
  type WorkloadPolicy,
} from "./network-policies";
export { type ClusterAddresses, type ClusterPeers, clusterPeers, flowsTo, type Reach, tcp } from "./peers";
export { type ReleaseFacts, TypedRelease, type TypedReleaseProps } from "./release";
export { WorkloadServiceAccount, type WorkloadServiceAccountProps } from "./service-account";
export { StorageClasses, type StorageClassesProps, type VolumeProvisioner } from "./storage-class";
export { WriteOnlySecret, type WriteOnlySecretProps } from "./write-only-secret";
