import { EksNodeGroup } from "@cdktf/provider-aws/lib/eks-node-group";
import { LaunchTemplate } from "@cdktf/provider-aws/lib/launch-template";
import type { ITerraformDependable } from "cdktf";
import { Construct } from "constructs";
import { ServiceRole } from "../iam";
import type { PlatformCluster } from "./cluster";

/** Policies of every node, of the system group and of Karpenter alike. */
export const nodePolicies = {
  "worker-node": "arn:aws:iam::aws:policy/AmazonEKSWorkerNodePolicy",
  // pull only: a node has no reason to list or describe repositories
  "image-pull": "arn:aws:iam::aws:policy/AmazonEC2ContainerRegistryPullOnly",
  // Session Manager instead of SSH keys and open ports
  "session-manager": "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore",
} as const;

export interface SystemNodesProps {
  readonly cluster: PlatformCluster;
  readonly kubernetesVersion: string;
  /** "Amazon EKS API Reference", CreateNodegroup, amiType; AL2023 or Bottlerocket. */
  readonly amiType: string;
  readonly subnetIds: readonly string[];
  /** Tried in order; all of one architecture. */
  readonly instanceTypes: readonly string[];
  /** 2 at least: Karpenter's replicas stand on different nodes. */
  readonly minSize: number;
  readonly maxSize: number;
  /** Root volume in GiB. */
  readonly diskGib: number;
  /** Add-ons without which a node never becomes ready. */
  readonly dependsOn: readonly ITerraformDependable[];
}

/**
 * The managed node group of what must run before Karpenter can: Karpenter itself, CoreDNS, Vault, monitoring. It is not
 * tainted, because Vault and monitoring come up before the first NodePool exists.
 */
export class SystemNodes extends Construct {
  /** What runs on the nodes waits for this. */
  public readonly ready: ITerraformDependable;

  constructor(scope: Construct, id: string, props: SystemNodesProps) {
    super(scope, id);
    const { name, clusterName } = props.cluster;
    const role = new ServiceRole(this, "role", {
      name: `${name}-system-nodes`,
      description: `System nodes of the EKS cluster ${name}`,
      service: "ec2.amazonaws.com",
      awsManagedPolicies: nodePolicies,
    });
    const tags = { Name: `${name}-system` };
    const template = new LaunchTemplate(this, "launch-template", {
      name: `${name}-system`,
      updateDefaultVersion: true,
      // IMDSv2 only, and one hop: a pod cannot take the node's credentials
      metadataOptions: { httpEndpoint: "enabled", httpTokens: "required", httpPutResponseHopLimit: 1 },
      blockDeviceMappings: [
        {
          deviceName: "/dev/xvda",
          ebs: {
            volumeType: "gp3",
            volumeSize: props.diskGib,
            encrypted: "true",
            deleteOnTermination: "true",
          },
        },
      ],
      tagSpecifications: ["instance", "volume"].map((resourceType) => ({ resourceType, tags })),
    });
    this.ready = new EksNodeGroup(this, "node-group", {
      clusterName,
      nodeGroupName: "system",
      nodeRoleArn: role.roleArn,
      subnetIds: [...props.subnetIds],
      version: props.kubernetesVersion,
      amiType: props.amiType,
      capacityType: "ON_DEMAND",
      instanceTypes: [...props.instanceTypes],
      launchTemplate: { id: template.id, version: template.getStringAttribute("latest_version") },
      scalingConfig: { minSize: props.minSize, maxSize: props.maxSize, desiredSize: props.minSize },
      updateConfig: { maxUnavailable: 1 },
      // Karpenter's chart prefers nodes with this label
      labels: { "karpenter.sh/controller": "true" },
      lifecycle: { ignoreChanges: ["scaling_config[0].desired_size"] },
      dependsOn: [...role.attachments, ...props.dependsOn],
    });
  }
}
