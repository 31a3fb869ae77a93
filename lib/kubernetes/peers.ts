import type { External, FlowPort } from "../wiring";

/** Addresses that differ between environments. */
export interface ClusterAddresses {
  /** Where nodes, and with them host-network pods, have their addresses. */
  readonly nodeCidrs: readonly string[];
  /** Addresses of the API server, as pods see them: behind its Service, and the Service's own. */
  readonly apiServerCidrs: readonly string[];
}

/** What pods talk to that is no pod of ours. */
export interface ClusterPeers {
  /** CoreDNS. */
  readonly dns: External;
  /** The Kubernetes API; also what calls webhooks. */
  readonly apiServer: External;
  /** Kubelets, and whatever else listens on the nodes' own addresses. */
  readonly nodes: External;
  /** The agent that hands out credentials ("EKS Pod Identity"), on every node. */
  readonly podIdentity: External;
  /** AWS, through NAT or interface endpoints, and everything else outside: never the instance metadata. */
  readonly internet: External;
}

export const dnsPorts: readonly FlowPort[] = [{ port: 53, protocol: "UDP" }, { port: 53 }];

/** Port of the Pod Identity agent. */
export const podIdentityPort = 80;

const blocks = (cidrs: readonly string[]) => cidrs.map((cidr) => ({ cidr }));

export const clusterPeers = ({ nodeCidrs, apiServerCidrs }: ClusterAddresses): ClusterPeers => ({
  dns: {
    external: "dns",
    blocks: [],
    pods: { namespace: "kube-system", podLabels: { "k8s-app": "kube-dns" } },
  },
  apiServer: { external: "api-server", blocks: blocks(apiServerCidrs) },
  nodes: { external: "nodes", blocks: blocks(nodeCidrs) },
  podIdentity: { external: "pod-identity", blocks: blocks(["169.254.170.23/32"]) },
  internet: { external: "internet", blocks: [{ cidr: "0.0.0.0/0", except: ["169.254.0.0/16"] }] },
});
