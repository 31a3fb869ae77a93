import { EksAddon } from "@cdktf/provider-aws/lib/eks-addon";
import { EksPodIdentityAssociation } from "@cdktf/provider-aws/lib/eks-pod-identity-association";
import type { ITerraformDependable } from "cdktf";
import { Construct } from "constructs";
import { PodIdentityRole } from "../iam";
import type { PlatformCluster } from "./cluster";

/** What this platform sets of one EKS managed add-on. */
interface AddonSpec {
  /** Whether nodes need it to become ready: it is then made before them, and outlives them. */
  readonly beforeCompute: boolean;
  /** Configuration values, as the add-on's schema wants them (`aws eks describe-addon-configuration`). */
  readonly configuration?: Readonly<Record<string, unknown>>;
  /** Service account in kube-system that gets an AWS identity, and the policy that AWS manages for it. */
  readonly identity?: { readonly serviceAccount: string; readonly policyArn: string };
}

/** The add-ons, in the order of their need ("Amazon EKS add-ons" in the Amazon EKS User Guide). */
const addonSpecs = {
  "eks-pod-identity-agent": { beforeCompute: true },
  "vpc-cni": {
    beforeCompute: true,
    // without this the cluster accepts network policies and enforces none
    configuration: { enableNetworkPolicy: "true" },
    identity: { serviceAccount: "aws-node", policyArn: "arn:aws:iam::aws:policy/AmazonEKS_CNI_Policy" },
  },
  "kube-proxy": { beforeCompute: false },
  coredns: { beforeCompute: false },
  "aws-ebs-csi-driver": {
    beforeCompute: false,
    identity: {
      serviceAccount: "ebs-csi-controller-sa",
      policyArn: "arn:aws:iam::aws:policy/service-role/AmazonEBSCSIDriverPolicy",
    },
  },
  // `kubectl top` and the HorizontalPodAutoscalers ask it
  "metrics-server": { beforeCompute: false },
} as const satisfies Record<string, AddonSpec>;

export type AddonName = keyof typeof addonSpecs;

export interface ClusterAddonsProps {
  readonly cluster: PlatformCluster;
  /** Exact build of each add-on, for example `v1.21.1-eksbuild.8`. */
  readonly versions: Readonly<Record<AddonName, string>>;
  /** Which half: what nodes need, or what needs nodes. */
  readonly phase: "before-compute" | "after-compute";
  /**
   * What to wait for.
   * @default - the cluster
   */
  readonly dependsOn?: readonly ITerraformDependable[];
}

/**
 * One half of the EKS managed add-ons. VPC CNI and the Pod Identity agent come before the nodes, else a node is never
 * ready; on destroy they outlive the nodes, so that no network interface is left behind. The agents that call AWS get their
 * identity from Pod Identity, and the node role stays without these rights.
 */
export class ClusterAddons extends Construct {
  public readonly addons: readonly ITerraformDependable[];

  constructor(scope: Construct, id: string, props: ClusterAddonsProps) {
    super(scope, id);
    const { cluster } = props;
    const wanted = (Object.entries(addonSpecs) as [AddonName, AddonSpec][]).filter(
      ([, spec]) => spec.beforeCompute === (props.phase === "before-compute"),
    );
    this.addons = wanted.map(([name, { configuration, identity }]) => {
      const identified = identity ? [this.identify(cluster, name, identity)] : [];
      return new EksAddon(this, name, {
        clusterName: cluster.clusterName,
        addonName: name,
        addonVersion: props.versions[name],
        // what the code says wins over what someone changed in the cluster
        resolveConflictsOnCreate: "OVERWRITE",
        resolveConflictsOnUpdate: "OVERWRITE",
        ...(configuration ? { configurationValues: JSON.stringify(configuration) } : {}),
        dependsOn: [...identified, ...(props.dependsOn ?? [])],
      });
    });
  }

  /** The association exists before the add-on: pods that start before it have no credentials. */
  private identify(
    cluster: PlatformCluster,
    name: AddonName,
    { serviceAccount, policyArn }: NonNullable<AddonSpec["identity"]>,
  ): EksPodIdentityAssociation {
    const role = new PodIdentityRole(this, `${name}-role`, {
      name: `${cluster.name}-${name}`,
      description: `EKS add-on ${name} of ${cluster.name}`,
      awsManagedPolicies: { "managed-policy": policyArn },
    });
    return new EksPodIdentityAssociation(this, `${name}-identity`, {
      clusterName: cluster.clusterName,
      namespace: "kube-system",
      serviceAccount,
      roleArn: role.roleArn,
      dependsOn: [...role.attachments],
    });
  }
}
