import type { ITerraformDependable } from "cdktf";
import { Construct } from "constructs";
import { type ChartSettings, CustomResources, type KubernetesObject, type NamespaceRef } from "../kubernetes";
import { crds, type EC2NodeClassSpec, type NodePoolSpec } from "./crds";

export type Architecture = "amd64" | "arm64";

/** A recurring time in which nodes are left alone. */
export interface QuietWindow {
  /** Beginning, as a cron expression in UTC: "0 7 * * mon-fri". */
  readonly schedule: string;
  /** Length in whole hours, 1 to 24. */
  readonly hours: number;
}

export interface NodePoolSettings {
  /** Most vCPUs of all nodes of the pool together. */
  readonly maxCpu: number;
  /** Most memory of all nodes of the pool together, in GiB. */
  readonly maxMemoryGib: number;
  /** Processor architectures; images must exist for each. */
  readonly architectures: readonly Architecture[];
  /**
   * Capacity, in the order of preference that Karpenter has anyway: spot where there is any.
   * @default - spot and on-demand
   */
  readonly capacityTypes?: readonly ("spot" | "on-demand")[];
}

/** What pods of Dagster's runs need in their spec to stand on the batch pool and to finish there. */
export const batchPods = {
  nodeSelector: { "dagster-eks/pool": "batch" },
  tolerations: [{ key: "dagster-eks/pool", operator: "Equal", value: "batch", effect: "NoSchedule" }],
  // a run that is moved is a run that failed
  annotations: { "karpenter.sh/do-not-disrupt": "true" },
} as const;

/** Device of the volume that holds images and container data, by AMI family ("Karpenter: NodeClasses", blockDeviceMappings). */
const dataDevices: Readonly<Record<string, string>> = { al2023: "/dev/xvda", bottlerocket: "/dev/xvdb" };

export interface NodePoolsProps {
  readonly namespace: NamespaceRef;
  readonly charts: ChartSettings;
  /** Name of the cluster: subnets and security groups are found by its tag `karpenter.sh/discovery`. */
  readonly clusterName: string;
  /** The nodes' IAM role; an instance profile where the controller cannot reach IAM (a VPC without a way out). */
  readonly nodeIdentity: { readonly roleName: string } | { readonly instanceProfileName: string };
  /** AMI alias with a date or version, for example `al2023@v20260903`. */
  readonly amiAlias: string;
  /** Root volume in GiB. */
  readonly diskGib: number;
  /** Services: the web server, the daemon, the API. */
  readonly default: NodePoolSettings;
  /** Dagster's runs, and nothing else. */
  readonly batch: NodePoolSettings;
  /** When no node of the default pool is replaced to save cost or to follow a new AMI. */
  readonly quietWindows: readonly QuietWindow[];
  /**
   * Days until a node is replaced, whatever its state.
   * @default 30
   */
  readonly expireAfterDays?: number;
  /** What the objects wait for: the controller, so that destroy removes the nodes while it lives. */
  readonly dependsOn: readonly ITerraformDependable[];
}

/** Refuses what Karpenter would accept and regret later. */
function* problems(props: NodePoolsProps): Generator<string> {
  const [family = "", version = ""] = props.amiAlias.split("@");
  if (!(family in dataDevices) || !/^v?\d/.test(version)) {
    yield `amiAlias is "${props.amiAlias}"; it must name ${Object.keys(dataDevices).join(" or ")} and a version, for example "al2023@vYYYYMMDD": with "latest" every new AMI would replace all nodes at once`;
  }
  for (const pool of ["default", "batch"] as const) {
    const { maxCpu, maxMemoryGib, architectures } = props[pool];
    for (const [setting, value] of Object.entries({ maxCpu, maxMemoryGib })) {
      if (!Number.isInteger(value) || value < 1) {
        yield `${pool}.${setting} is ${value}; it must be a whole number of at least 1: without a limit a fault in a workload buys nodes without end`;
      }
    }
    if (architectures.length === 0) {
      yield `${pool}.architectures is empty; it must name amd64, arm64 or both`;
    }
  }
  for (const [index, { schedule, hours }] of props.quietWindows.entries()) {
    if (!/^(@(annually|yearly|monthly|weekly|daily|midnight|hourly)|(\S+\s){4}\S+)$/.test(schedule)) {
      yield `quietWindows[${index}].schedule is "${schedule}"; it must be a cron expression of five fields in UTC, or one such as @daily`;
    }
    if (!Number.isInteger(hours) || hours < 1 || hours > 24) {
      yield `quietWindows[${index}].hours is ${hours}; it must be a whole number from 1 to 24`;
    }
  }
  const { expireAfterDays = 30 } = props;
  if (!Number.isInteger(expireAfterDays) || expireAfterDays < 1 || expireAfterDays > 90) {
    yield `expireAfterDays is ${expireAfterDays}; it must be a whole number from 1 to 90`;
  }
}

function nodeClass({ clusterName, nodeIdentity, amiAlias, diskGib }: NodePoolsProps) {
  const discovered = [{ tags: { "karpenter.sh/discovery": clusterName } }];
  const spec: EC2NodeClassSpec = {
    amiSelectorTerms: [{ alias: amiAlias }],
    ...("roleName" in nodeIdentity
      ? { role: nodeIdentity.roleName }
      : { instanceProfile: nodeIdentity.instanceProfileName }),
    subnetSelectorTerms: discovered,
    securityGroupSelectorTerms: discovered,
    // IMDSv2 only, and one hop: a pod cannot take the node's credentials
    metadataOptions: { httpEndpoint: "enabled", httpTokens: "required", httpPutResponseHopLimit: 1 },
    blockDeviceMappings: [
      {
        deviceName: dataDevices[amiAlias.split("@")[0] ?? ""] ?? "",
        ebs: { volumeType: "gp3", volumeSize: `${diskGib}Gi`, encrypted: true, deleteOnTermination: true },
      },
    ],
    tags: { "karpenter.sh/discovery": clusterName, Name: `${clusterName}-karpenter` },
  };
  return { ...crds.EC2NodeClass, metadata: { name: "default" }, spec };
}

function nodePool(
  name: string,
  settings: NodePoolSettings,
  expireAfterDays: number,
  disruption: NonNullable<NodePoolSpec["disruption"]>,
  extra: Partial<NodePoolSpec["template"]["spec"]> = {},
) {
  const { architectures, capacityTypes = ["spot", "on-demand"] } = settings;
  const spec: NodePoolSpec = {
    template: {
      metadata: { labels: { "dagster-eks/pool": name } },
      spec: {
        nodeClassRef: { group: "karpenter.k8s.aws", kind: crds.EC2NodeClass.kind, name: "default" },
        requirements: [
          { key: "kubernetes.io/os", operator: "In", values: ["linux"] },
          { key: "kubernetes.io/arch", operator: "In", values: [...architectures] },
          { key: "karpenter.sh/capacity-type", operator: "In", values: [...capacityTypes] },
          { key: "karpenter.k8s.aws/instance-category", operator: "In", values: ["c", "m", "r"] },
          { key: "karpenter.k8s.aws/instance-generation", operator: "Gt", values: ["4"] },
        ],
        expireAfter: `${expireAfterDays * 24}h`,
        // a node that cannot be drained is taken down after this, whatever stands on it
        terminationGracePeriod: "24h",
        ...extra,
      },
    },
    limits: { cpu: String(settings.maxCpu), memory: `${settings.maxMemoryGib}Gi` },
    disruption,
  };
  return { ...crds.NodePool, metadata: { name }, spec };
}

/** The objects by their stable ids. */
export function nodePoolObjects(props: NodePoolsProps): Readonly<Record<string, KubernetesObject>> {
  const { expireAfterDays = 30 } = props;
  return {
    "node-class": nodeClass(props),
    "default-pool": nodePool("default", props.default, expireAfterDays, {
      consolidationPolicy: "WhenEmptyOrUnderutilized",
      consolidateAfter: "30s",
      budgets: [
        { nodes: "10%" },
        ...props.quietWindows.map(({ schedule, hours }) => ({
          nodes: "0",
          schedule,
          duration: `${hours}h`,
          // empty nodes may always go
          reasons: ["Drifted" as const, "Underutilized" as const],
        })),
      ],
    }),
    "batch-pool": nodePool(
      "batch",
      props.batch,
      expireAfterDays,
      {
        consolidationPolicy: "WhenEmpty",
        consolidateAfter: "30s",
        budgets: [
          { nodes: "100%", reasons: ["Empty"] },
          { nodes: "10%", reasons: ["Drifted", "Underutilized"] },
        ],
      },
      { taints: [{ key: "dagster-eks/pool", value: "batch", effect: "NoSchedule" }] },
    ),
  };
}

/**
 * The pools that Karpenter makes nodes for: `default` for services and `batch` for Dagster's runs, with one node class. Every
 * pool has a limit. They are a release of their own that comes after the controller, so that destroy removes the nodes first.
 */
export class NodePools extends Construct {
  public readonly ready: ITerraformDependable;

  /** @throws Error with every setting that is refused */
  constructor(scope: Construct, id: string, props: NodePoolsProps) {
    super(scope, id);
    const found = [...problems(props)];
    if (found.length > 0) {
      throw new Error(found.map((problem) => `${this.node.path}: ${problem}`).join("\n"));
    }
    this.ready = new CustomResources(this, "pools", {
      releaseName: "node-pools",
      namespace: props.namespace,
      charts: props.charts,
      objects: nodePoolObjects(props),
      // the last node must be gone before the release is: draining takes minutes
      timeoutSeconds: 900,
      dependsOn: props.dependsOn,
    }).ready;
  }
}
