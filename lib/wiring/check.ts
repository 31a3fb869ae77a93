import {
  type App,
  DefaultTokenResolver,
  StringConcat,
  TerraformResource,
  TerraformStack,
  Tokenization,
} from "cdktf";
import type { IConstruct } from "constructs";
import { type External, type Fact, type Flow, factsOf, type Peer, type Workload } from "./facts";

/** Constructs that do not fit together; the message says every contradiction. */
export class WiringError extends Error {
  constructor(readonly problems: readonly string[]) {
    super(
      `The wiring check found ${problems.length === 1 ? "1 problem" : `${problems.length} problems`}; nothing was synthesized.\n\n${problems.map((problem) => `  ${problem}`).join("\n\n")}`,
    );
    this.name = "WiringError";
  }
}

const clusters = new WeakMap<TerraformStack, object>();

/** Says that these stacks make one cluster: what one of them brings, the others may count on. */
export function oneCluster(...stacks: readonly TerraformStack[]): void {
  const cluster = {};
  for (const stack of stacks) clusters.set(stack, cluster);
}

type Stated<K extends Fact["kind"]> = Extract<Fact, { readonly kind: K }> & { readonly by: IConstruct };

/** Everything that the constructs of one cluster stated. */
class Cluster {
  private readonly stated: (Fact & { readonly by: IConstruct })[] = [];

  add(by: IConstruct): void {
    for (const fact of factsOf(by)) this.stated.push({ ...fact, by });
  }

  all<K extends Fact["kind"]>(kind: K): Stated<K>[] {
    return this.stated.filter((fact): fact is Stated<K> => fact.kind === kind);
  }
}

const named = ({ namespace, name }: { readonly namespace: string; readonly name: string }): string =>
  `${namespace}/${name}`;

const listed = (names: readonly string[]): string => [...new Set(names)].sort().join(", ") || "none";

export const isExternal = (peer: Peer): peer is External => "external" in peer;

const peerName = (peer: Peer): string => (isExternal(peer) ? peer.external : named(peer));

const flowName = ({ from, to, port, protocol = "TCP" }: Flow): string =>
  `${peerName(from)} -> ${peerName(to)} ${protocol} ${port}`;

const matches = (
  selector: Readonly<Record<string, string>>,
  labels: Readonly<Record<string, string>>,
): boolean => Object.entries(selector).every(([key, value]) => labels[key] === value);

/** Whether a rule for one workload covers another: it is the same, or every pod of the namespace. */
const coversPeer = (rule: Peer, peer: Peer): boolean =>
  isExternal(rule) || isExternal(peer)
    ? peerName(rule) === peerName(peer)
    : rule.namespace === peer.namespace && matches(rule.podLabels, peer.podLabels);

const coversFlow = (rule: Flow, flow: Flow): boolean =>
  coversPeer(rule.from, flow.from) &&
  coversPeer(rule.to, flow.to) &&
  rule.port === flow.port &&
  (rule.protocol ?? "TCP") === (flow.protocol ?? "TCP");

/** Namespaces that every cluster has. */
const builtInNamespaces = ["default", "kube-node-lease", "kube-public", "kube-system"];

function* namespaceRules(cluster: Cluster): Generator<string> {
  const known = [...builtInNamespaces, ...cluster.all("namespace").map(({ name }) => name)];
  for (const { by, release } of cluster.all("release")) {
    if (!known.includes(release.namespace)) {
      yield `${by.node.path} installs the release "${release.name}" into the namespace "${release.namespace}", which nothing makes. Add a PlatformNamespace before it; there are ${listed(known)}.`;
    }
  }
}

function* claimRules(cluster: Cluster): Generator<string> {
  const claims: [what: string, key: string, by: IConstruct][] = [
    ...cluster
      .all("namespace")
      .map(({ by, name }): [string, string, IConstruct] => ["the namespace", name, by]),
    ...cluster
      .all("release")
      .map(({ by, release }): [string, string, IConstruct] => ["the release", named(release), by]),
    ...cluster
      .all("service")
      .map(({ by, service }): [string, string, IConstruct] => ["the Service", named(service), by]),
    ...cluster
      .all("service-account")
      .map(({ by, account }): [string, string, IConstruct] => ["the service account", named(account), by]),
  ];
  const owners = new Map<string, IConstruct>();
  for (const [what, key, by] of claims) {
    const claim = `${what} ${key}`;
    const owner = owners.get(claim);
    if (owner) {
      yield `${by.node.path} makes ${claim}, and so does ${owner.node.path}. Give one of them another name.`;
    } else owners.set(claim, by);
  }
}

function* versionRules(cluster: Cluster): Generator<string> {
  for (const { by, chart, version, knownVersions } of cluster.all("release")) {
    if (!knownVersions.includes(version)) {
      yield `${by.node.path} installs version "${version}" of the chart ${chart}, but the values are checked against ${listed(knownVersions)}. Run scripts/chart-keys.mjs on the chart's new version and review what it changes, or pin a known version in config/versions.ts.`;
    }
  }
}

function* serviceAccountRules(cluster: Cluster): Generator<string> {
  const made = cluster.all("service-account").map(({ account }) => named(account));
  for (const { by, account } of cluster.all("uses-service-account")) {
    if (!made.includes(named(account))) {
      yield `${by.node.path} uses the service account ${named(account)}, which nothing makes. There are ${listed(made)}.`;
    }
  }
}

/** Addresses in `depends_on`, which cdktf keeps as tokens. */
const dependencies = (resource: TerraformResource): readonly string[] =>
  Tokenization.resolve(resource.dependsOn ?? [], {
    scope: TerraformStack.of(resource),
    resolver: new DefaultTokenResolver(new StringConcat()),
    preparing: false,
  });

/** Address → resource, for every resource of a stack. */
const byAddress = (stack: TerraformStack): ReadonlyMap<string, TerraformResource> =>
  new Map(
    stack.node
      .findAll()
      .filter(TerraformResource.isTerraformResource)
      .map((one) => [`${one.terraformResourceType}.${one.friendlyUniqueId}`, one]),
  );

/** What a resource waits for in its stack, directly or through others; itself included. */
function awaitedBy(resource: TerraformResource): ReadonlySet<TerraformResource> {
  const resources = byAddress(TerraformStack.of(resource));
  const seen = new Set<TerraformResource>();
  const visit = (one: TerraformResource): void => {
    if (seen.has(one)) return;
    seen.add(one);
    for (const address of dependencies(one)) {
      const next = resources.get(address);
      if (next) visit(next);
    }
  };
  visit(resource);
  return seen;
}

function isDeployedAfter(stack: TerraformStack, earlier: TerraformStack): boolean {
  return stack.dependencies.some((next) => next === earlier || isDeployedAfter(next, earlier));
}

function* crdRules(cluster: Cluster): Generator<string> {
  const providers = new Map(cluster.all("crds").flatMap((fact) => fact.crds.map((crd) => [crd, fact])));
  for (const { by, crds, resource } of cluster.all("needs-crds")) {
    const stack = TerraformStack.of(resource);
    const awaited = awaitedBy(resource);
    for (const crd of crds) {
      const provider = providers.get(crd);
      if (!provider) {
        yield `${by.node.path} holds objects of ${crd}, but no release of this cluster installs that CRD. There are ${listed([...providers.keys()])}.`;
        continue;
      }
      const other = TerraformStack.of(provider.resource);
      const ordered = stack === other ? awaited.has(provider.resource) : isDeployedAfter(stack, other);
      if (!ordered) {
        yield `${by.node.path} holds objects of ${crd}, whose CRD ${provider.by.node.path} installs, but does not come after it. ${
          stack === other
            ? `Add ${provider.by.node.path} to its dependsOn.`
            : `Let the stack ${stack.node.id} depend on ${other.node.id}.`
        }`;
      }
    }
  }
}

/** The Services that a monitor selects and that have its port. */
const scraped = (cluster: Cluster, { monitor }: Stated<"monitor">) =>
  cluster
    .all("service")
    .filter(
      ({ service }) =>
        service.namespace === monitor.serviceNamespace &&
        matches(monitor.matchLabels, service.labels) &&
        service.ports[monitor.port] !== undefined,
    );

function* monitorRules(cluster: Cluster): Generator<string> {
  for (const fact of cluster.all("monitor")) {
    if (scraped(cluster, fact).length > 0) continue;
    const { by, monitor } = fact;
    const there = cluster
      .all("service")
      .filter(({ service }) => service.namespace === monitor.serviceNamespace)
      .map(({ service }) => `${service.name} (ports ${Object.keys(service.ports).sort().join(", ")})`);
    const labels = Object.entries(monitor.matchLabels)
      .map(([key, value]) => `${key}=${value}`)
      .sort();
    yield `${by.node.path}: the ServiceMonitor ${named(monitor)} selects nothing: no Service in "${monitor.serviceNamespace}" has the labels ${listed(labels)} and a port called "${monitor.port}". There are ${listed(there)}.`;
  }
}

function* flowRules(cluster: Cluster): Generator<string> {
  const scrapers = cluster.all("scraper");
  /** Flows that constructs stated, and those that follow from a monitor. */
  const needed = [
    ...cluster.all("flow").map(({ by, flow }) => ({ flow, why: by.node.path })),
    ...cluster.all("monitor").flatMap((fact) =>
      scraped(cluster, fact).flatMap(({ service }) =>
        scrapers.map(({ workload }) => ({
          flow: {
            from: workload,
            to: service.workload,
            port: service.ports[fact.monitor.port]?.targetPort ?? 0,
          },
          why: `${fact.by.node.path} (ServiceMonitor ${named(fact.monitor)})`,
        })),
      ),
    ),
  ];
  const isolated = new Set(cluster.all("isolated").map(({ namespace }) => namespace));
  const allowed = cluster.all("allowed");
  const reported = new Set<string>();
  for (const { flow, why } of needed) {
    for (const [side, end] of [
      ["egress", flow.from],
      ["ingress", flow.to],
    ] as const) {
      if (isExternal(end) || !isolated.has(end.namespace)) continue;
      if (allowed.some((one) => one.side === side && coversFlow(one.flow, flow))) continue;
      const key = `${side} ${flowName(flow)}`;
      if (reported.has(key)) continue;
      reported.add(key);
      yield `${why} needs ${flowName(flow)}, but the network policies of "${end.namespace}" do not let it ${side === "egress" ? "out" : "in"}. Add it to ${side === "egress" ? "allowTo" : "allowFrom"} of ${named(end)}.`;
    }
  }
  for (const { by, side, flow } of allowed) {
    if (!needed.some((one) => coversFlow(flow, one.flow))) {
      yield `${by.node.path} allows ${flowName(flow)} (${side}), which nothing needs. Remove it, or state the flow where it is needed.`;
    }
  }
  const workloads = new Set(cluster.all("workload").map(({ workload }) => named(workload)));
  const ends = [...needed.map(({ flow }) => flow), ...allowed.map(({ flow }) => flow)].flatMap(
    ({ from, to }) => [from, to],
  );
  const unknown = ends.filter(
    (peer): peer is Workload =>
      !isExternal(peer) && Object.keys(peer.podLabels).length > 0 && !workloads.has(named(peer)),
  );
  for (const name of [...new Set(unknown.map(named))].sort()) {
    yield `A flow names the workload ${name}, which nothing runs. There are ${listed([...workloads])}.`;
  }
}

const rules = [
  claimRules,
  namespaceRules,
  versionRules,
  serviceAccountRules,
  crdRules,
  monitorRules,
  flowRules,
];

/**
 * Compares what the constructs of each cluster bring with what they count on. A stack is a cluster of its own unless
 * oneCluster said otherwise.
 *
 * @throws WiringError with every contradiction, each a sentence that names the constructs
 */
export function checkWiring(app: App): void {
  const found = new Map<object, Cluster>();
  for (const construct of app.node.findAll()) {
    if (factsOf(construct).length === 0) continue;
    const stack = TerraformStack.of(construct);
    const key = clusters.get(stack) ?? stack;
    const cluster = found.get(key) ?? new Cluster();
    cluster.add(construct);
    found.set(key, cluster);
  }
  const problems = [...found.values()].flatMap((cluster) => rules.flatMap((rule) => [...rule(cluster)]));
  if (problems.length > 0) throw new WiringError(problems);
}
