import type { ITerraformDependable } from "cdktf";
import { Construct } from "constructs";
import {
  type ChartSettings,
  type ClusterPeers,
  flowsTo,
  mirroredImage,
  type NamespaceRef,
  TypedRelease,
} from "../kubernetes";
import { state, type Workload } from "../wiring";
import { karpenterServiceAccount } from "./infrastructure";
import type { KarpenterValues } from "./values";

/** How the controller gets its AWS role. */
export type ControllerIdentity =
  /** An association that exists before the release (KarpenterInfrastructure makes it). */
  | { readonly kind: "pod-identity" }
  /** An annotation on the service account, where Pod Identity is not available. */
  | { readonly kind: "irsa"; readonly roleArn: string };

export interface KarpenterReleasesProps {
  readonly namespace: NamespaceRef;
  readonly charts: ChartSettings;
  readonly peers: ClusterPeers;
  readonly clusterName: string;
  /** URL of the API server: given, the controller need not ask EKS for it. */
  readonly clusterEndpoint: string;
  /** Name of the interruption queue. */
  readonly queueName: string;
  /** Replicas, each on a node of its own; 2 keep one leader through the loss of a node. */
  readonly replicas: number;
  /** CPU of one replica, request and limit, as Kubernetes writes it: "1", "500m". */
  readonly cpu: string;
  /** Memory of one replica, request and limit, for example "1Gi". */
  readonly memory: string;
  /** Whether the VPC has no way out but interface endpoints: the price list cannot be asked then. */
  readonly isolatedVpc: boolean;
  /** @default - Pod Identity */
  readonly identity?: ControllerIdentity;
  /**
   * Values merged last into those of the chart `karpenter`.
   * @default - none
   */
  readonly overrides?: Readonly<Record<string, unknown>> | undefined;
  /**
   * What to wait for: the CRDs of the Prometheus operator.
   * @default - nothing
   */
  readonly dependsOn?: readonly ITerraformDependable[];
}

const labels = { "app.kubernetes.io/name": "karpenter", "app.kubernetes.io/instance": "karpenter" };

/** Port of the controller's metrics. */
const metricsPort = 8080;

/**
 * Karpenter's CRDs as a release of their own, so that an upgrade brings the new ones (Helm never updates a chart's `crds` folder),
 * and then the controller on the system nodes.
 */
export class KarpenterReleases extends Construct {
  public readonly controller: Workload;
  /** What holds NodePools waits for this: on destroy they then go while the controller lives. */
  public readonly ready: ITerraformDependable;

  constructor(scope: Construct, id: string, props: KarpenterReleasesProps) {
    super(scope, id);
    const { namespace, charts, peers, identity = { kind: "pod-identity" } } = props;
    const { namespaceName } = namespace;
    const crds = new TypedRelease<object>(this, "crds", {
      releaseName: "karpenter-crd",
      namespace,
      chart: "karpenter-crd",
      charts,
      values: {},
      facts: {
        crds: [
          "autoscaling.x-k8s.io/CapacityBuffer",
          "karpenter.k8s.aws/EC2NodeClass",
          "karpenter.sh/NodeClaim",
          "karpenter.sh/NodeOverlay",
          "karpenter.sh/NodePool",
        ],
      },
    });

    this.controller = {
      namespace: namespaceName,
      name: "karpenter",
      podLabels: labels,
      ports: { "http-metrics": metricsPort },
    };
    const { name } = karpenterServiceAccount;
    const size = { cpu: props.cpu, memory: props.memory };
    const release = new TypedRelease<KarpenterValues>(this, "controller", {
      releaseName: "karpenter",
      namespace,
      chart: "karpenter",
      charts,
      skipCrds: true,
      values: {
        replicas: props.replicas,
        serviceAccount: {
          create: true,
          name,
          ...(identity.kind === "irsa"
            ? { annotations: { "eks.amazonaws.com/role-arn": identity.roleArn } }
            : {}),
        },
        controller: {
          // requests equal limits: the last thing to be evicted is what makes nodes
          resources: { requests: size, limits: size },
          ...(charts.imageRegistry
            ? { image: { repository: mirroredImage("", "karpenter/controller", charts.imageRegistry) } }
            : {}),
        },
        serviceMonitor: { enabled: true },
        settings: {
          clusterName: props.clusterName,
          clusterEndpoint: props.clusterEndpoint,
          interruptionQueue: props.queueName,
          eksControlPlane: true,
          enableZonalShift: true,
          isolatedVPC: props.isolatedVpc,
        },
      },
      overrides: props.overrides,
      facts: {
        serviceAccounts: [name],
        workloads: [this.controller],
        services: [
          {
            namespace: namespaceName,
            name: "karpenter",
            labels,
            workload: this.controller,
            ports: { "http-metrics": { port: metricsPort, targetPort: metricsPort } },
          },
        ],
        monitors: [
          {
            namespace: namespaceName,
            name: "karpenter",
            serviceNamespace: namespaceName,
            matchLabels: labels,
            port: "http-metrics",
          },
        ],
        needsCrds: [
          "karpenter.k8s.aws/EC2NodeClass",
          "karpenter.sh/NodeClaim",
          "karpenter.sh/NodePool",
          "monitoring.coreos.com/ServiceMonitor",
        ],
        flows: flowsTo(
          this.controller,
          peers.dns,
          peers.apiServer,
          peers.internet,
          ...(identity.kind === "pod-identity" ? [peers.podIdentity] : []),
        ),
      },
      dependsOn: [crds.ready, ...(props.dependsOn ?? [])],
    });
    this.ready = release.ready;
    // the role of the controller is bound to this account in another stack
    state(this, { kind: "uses-service-account", account: karpenterServiceAccount });
  }
}
