import { NetworkPolicyV1 } from "@cdktf/provider-kubernetes/lib/network-policy-v1";
import { Construct } from "constructs";
import { type FlowPort, isExternal, type Peer, state, type Workload } from "../wiring";
import type { NamespaceRef } from "./namespace";
import type { Reach } from "./peers";

/** What one workload may receive and send; everything else is refused. */
export interface WorkloadPolicy {
  readonly workload: Workload;
  /** @default - nothing may come in */
  readonly allowFrom?: readonly Reach[];
  /** @default - nothing may go out */
  readonly allowTo?: readonly Reach[];
}

/** A workload that stands for every pod of a namespace. */
export const everyPod = (namespace: string): Workload => ({
  namespace,
  name: "every-pod",
  podLabels: {},
  ports: {},
});

export interface NetworkPoliciesProps {
  readonly namespace: NamespaceRef;
  readonly workloads: readonly WorkloadPolicy[];
  /**
   * Whether this denies everything else. An earlier stack that made the namespace may have done so.
   * @default true
   */
  readonly defaultDeny?: boolean;
  /**
   * Begins the names of the policies, where another stack has some in the namespace.
   * @default - nothing
   */
  readonly prefix?: string;
}

/** A peer as the provider wants it: pods by namespace and labels, or blocks of addresses. */
function peerArguments(peer: Peer) {
  const pods = (namespace: string, matchLabels: Readonly<Record<string, string>>) => ({
    namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": namespace } },
    podSelector: { matchLabels: { ...matchLabels } },
  });
  if (!isExternal(peer)) return [pods(peer.namespace, peer.podLabels)];
  return [
    ...(peer.pods ? [pods(peer.pods.namespace, peer.pods.podLabels)] : []),
    ...peer.blocks.map(({ cidr, except }) => ({
      ipBlock: { cidr, ...(except ? { except: [...except] } : {}) },
    })),
  ];
}

const portArguments = (ports: readonly FlowPort[]) =>
  ports.map(({ port, protocol = "TCP" }) => ({ port: String(port), protocol }));

/**
 * Default deny for a namespace, both ways, and one policy per workload with what it may receive and send. What each rule is for,
 * the constructs say that need the flow: the wiring check refuses a flow without a rule and a rule without a flow.
 */
export class NetworkPolicies extends Construct {
  /** @throws Error when a workload stands in another namespace or has two policies */
  constructor(scope: Construct, id: string, props: NetworkPoliciesProps) {
    super(scope, id);
    const { namespace, workloads, defaultDeny = true, prefix = "" } = props;
    const { namespaceName } = namespace;
    const policy = (
      constructId: string,
      spec: ConstructorParameters<typeof NetworkPolicyV1>[2]["spec"],
    ): NetworkPolicyV1 =>
      new NetworkPolicyV1(this, constructId, {
        metadata: { namespace: namespaceName, name: `${prefix}${constructId}` },
        spec,
        dependsOn: [...namespace.ready],
      });
    if (defaultDeny) {
      policy("default-deny", { podSelector: {}, policyTypes: ["Ingress", "Egress"] });
      state(this, { kind: "isolated", namespace: namespaceName });
    }

    const seen = new Set<string>();
    for (const { workload, allowFrom = [], allowTo = [] } of workloads) {
      if (workload.namespace !== namespaceName) {
        throw new Error(
          `${this.node.path}: workload "${workload.name}" runs in "${workload.namespace}"; these are the policies of "${namespaceName}"`,
        );
      }
      if (seen.has(workload.name)) {
        throw new Error(`${this.node.path}: workload "${workload.name}" has two policies; join their lists`);
      }
      seen.add(workload.name);
      if (allowFrom.length + allowTo.length === 0) continue;
      policy(workload.name, {
        podSelector: { matchLabels: { ...workload.podLabels } },
        policyTypes: [
          ...(allowFrom.length > 0 ? ["Ingress"] : []),
          ...(allowTo.length > 0 ? ["Egress"] : []),
        ],
        ...(allowFrom.length > 0
          ? {
              ingress: allowFrom.map(({ peer, ports }) => ({
                from: peerArguments(peer),
                ports: portArguments(ports),
              })),
            }
          : {}),
        ...(allowTo.length > 0
          ? {
              egress: allowTo.map(({ peer, ports }) => ({
                to: peerArguments(peer),
                ports: portArguments(ports),
              })),
            }
          : {}),
      });
      for (const { peer, ports } of allowFrom) {
        for (const port of ports) {
          state(this, { kind: "allowed", side: "ingress", flow: { from: peer, to: workload, ...port } });
        }
      }
      for (const { peer, ports } of allowTo) {
        for (const port of ports) {
          state(this, { kind: "allowed", side: "egress", flow: { from: workload, to: peer, ...port } });
        }
      }
    }
  }
}
