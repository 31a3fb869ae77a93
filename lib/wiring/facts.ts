import type { TerraformResource } from "cdktf";
import type { IConstruct } from "constructs";

/** Pods that traffic starts from or goes to, by their labels. */
export interface Workload {
  readonly namespace: string;
  /** Name for people and for policies, unique in the namespace. */
  readonly name: string;
  /** Labels that only these pods carry; none means every pod of the namespace. */
  readonly podLabels: Readonly<Record<string, string>>;
  /** Name → number of the ports that the pods listen on. */
  readonly ports: Readonly<Record<string, number>>;
}

/** Something outside the cluster's pods, by its addresses or (DNS) by pods that we do not make. */
export interface External {
  readonly external: string;
  readonly blocks: readonly { readonly cidr: string; readonly except?: readonly string[] }[];
  /**
   * Pods that stand for it, where it runs in the cluster: namespace and labels.
   * @default - none
   */
  readonly pods?: { readonly namespace: string; readonly podLabels: Readonly<Record<string, string>> };
}

export type Peer = Workload | External;

export interface FlowPort {
  readonly port: number;
  /** @default "TCP" */
  readonly protocol?: "TCP" | "UDP";
}

/** Traffic from one peer to a port of another. */
export interface Flow extends FlowPort {
  readonly from: Peer;
  readonly to: Peer;
}

interface Named {
  readonly namespace: string;
  readonly name: string;
}

/** A Service and what stands behind it. */
export interface ServiceFact extends Named {
  readonly labels: Readonly<Record<string, string>>;
  readonly workload: Workload;
  /** Name → port of the Service and the port of the pods behind it. */
  readonly ports: Readonly<Record<string, { readonly port: number; readonly targetPort: number }>>;
}

/** A ServiceMonitor: which Services it selects, and the name of the port to scrape. */
export interface MonitorFact extends Named {
  readonly matchLabels: Readonly<Record<string, string>>;
  /** Namespace of the Services; a monitor of another namespace must name it. */
  readonly serviceNamespace: string;
  readonly port: string;
}

/** What one construct brings to the cluster or counts on there. */
export type Fact =
  | { readonly kind: "namespace"; readonly name: string }
  | { readonly kind: "service-account"; readonly account: Named }
  | { readonly kind: "uses-service-account"; readonly account: Named }
  | {
      readonly kind: "release";
      readonly release: Named;
      readonly chart: string;
      readonly version: string;
      /** Versions of the chart that this project knows the values of. */
      readonly knownVersions: readonly string[];
    }
  | { readonly kind: "service"; readonly service: ServiceFact }
  | { readonly kind: "workload"; readonly workload: Workload }
  | { readonly kind: "monitor"; readonly monitor: MonitorFact }
  /** The workload that scrapes every monitor. */
  | { readonly kind: "scraper"; readonly workload: Workload }
  /** Custom resource definitions that a release installs, as `group/Kind`. */
  | { readonly kind: "crds"; readonly crds: readonly string[]; readonly resource: TerraformResource }
  /** Custom resources that a release holds, as `group/Kind`. */
  | { readonly kind: "needs-crds"; readonly crds: readonly string[]; readonly resource: TerraformResource }
  /** Traffic without which the construct does not work. */
  | { readonly kind: "flow"; readonly flow: Flow }
  /** Only what is allowed reaches or leaves the pods of this namespace. */
  | { readonly kind: "isolated"; readonly namespace: string }
  /** Traffic that a network policy lets pass on one side. */
  | { readonly kind: "allowed"; readonly side: "ingress" | "egress"; readonly flow: Flow };

const facts = new WeakMap<IConstruct, Fact[]>();

/** States what a construct brings to the cluster and what it counts on; checkWiring compares all of it. */
export function state(construct: IConstruct, ...stated: readonly Fact[]): void {
  facts.set(construct, [...(facts.get(construct) ?? []), ...stated]);
}

export const factsOf = (construct: IConstruct): readonly Fact[] => facts.get(construct) ?? [];
