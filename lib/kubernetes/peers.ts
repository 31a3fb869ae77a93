import type { External, Flow, FlowPort, Peer, Workload } from "../wiring";

/** The other end of a flow, and the ports on the receiving side. */
export interface Reach {
  readonly peer: Peer;
  readonly ports: readonly FlowPort[];
}

/** TCP ports. */
export const tcp = (...ports: readonly number[]): readonly FlowPort[] => ports.map((port) => ({ port }));

/** The flows of a workload that reaches all of these. */
export const flowsTo = (from: Workload, ...reached: readonly Reach[]): Flow[] =>
  reached.flatMap(({ peer, ports }) => ports.map((port) => ({ from, to: peer, ...port })));

/** Addresses and ports that differ between clusters. */
export interface ClusterAddresses {
  /** Where nodes, and with them host-network pods, have their addresses. */
  readonly nodeCidrs: readonly string[];
  /** Addresses of the API server as pods see them: its Service's and those behind it. */
  readonly apiServerCidrs: readonly string[];
  /**
   * Ports of the API server, likewise.
   * @default 443
   */
  readonly apiServerPorts?: readonly number[] | undefined;
}

/** What pods talk to that is no pod of ours. */
export interface ClusterPeers {
  /** CoreDNS. */
  readonly dns: Reach;
  /** The Kubernetes API. */
  readonly apiServer: Reach;
  /** The agent that hands out credentials on every node ("EKS Pod Identity"). */
  readonly podIdentity: Reach;
  /** HTTPS to AWS, through NAT or interface endpoints, and to everything else outside; never the instance metadata. */
  readonly internet: Reach;
  /** What listens on the nodes' own addresses. */
  readonly nodes: External;
}

export function clusterPeers({
  nodeCidrs,
  apiServerCidrs,
  apiServerPorts = [443],
}: ClusterAddresses): ClusterPeers {
  const outside = (external: string, cidrs: readonly string[], except?: readonly string[]): External => ({
    external,
    blocks: cidrs.map((cidr) => ({ cidr, ...(except ? { except } : {}) })),
  });
  return {
    dns: {
      peer: {
        external: "dns",
        blocks: [],
        pods: { namespace: "kube-system", podLabels: { "k8s-app": "kube-dns" } },
      },
      ports: [{ port: 53, protocol: "UDP" }, { port: 53 }],
    },
    apiServer: { peer: outside("api-server", apiServerCidrs), ports: tcp(...apiServerPorts) },
    podIdentity: { peer: outside("pod-identity", ["169.254.170.23/32"]), ports: tcp(80) },
    internet: { peer: outside("internet", ["0.0.0.0/0"], ["169.254.0.0/16"]), ports: tcp(443) },
    nodes: outside("nodes", nodeCidrs),
  };
}
