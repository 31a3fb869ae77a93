import { Release } from "@cdktf/provider-helm/lib/release";
import type { ITerraformDependable } from "cdktf";
import { Construct } from "constructs";
import type { ServiceAccount } from "../iam";
import { type Flow, type MonitorFact, type ServiceFact, state, type Workload } from "../wiring";
import { type ChartName, type ChartSettings, chartArguments, knownVersions, unknownValues } from "./charts";
import { document, merged } from "./document";
import { releaseNameLimit, requireDnsLabel } from "./names";
import type { NamespaceRef } from "./namespace";

/** What a release brings to the cluster and counts on there, for the wiring check. */
export interface ReleaseFacts {
  readonly serviceAccounts?: readonly string[];
  readonly services?: readonly ServiceFact[];
  readonly workloads?: readonly Workload[];
  /** Custom resource definitions that it installs, as `group/Kind`. */
  readonly crds?: readonly string[];
  /** Custom resources among its objects, as `group/Kind`. */
  readonly needsCrds?: readonly string[];
  readonly monitors?: readonly MonitorFact[];
  readonly flows?: readonly Flow[];
}

export interface TypedReleaseProps<V extends object> {
  /** Name of the release: objects are named after it. */
  readonly releaseName: string;
  readonly namespace: NamespaceRef;
  readonly chart: ChartName;
  readonly charts: ChartSettings;
  readonly values: V;
  /**
   * The escape hatch: values that the interface does not have, merged last. They are checked like all others, so that a
   * misspelt one does not go unnoticed.
   * @default - none
   */
  readonly overrides?: Readonly<Record<string, unknown>> | undefined;
  /**
   * Top-level values that get a document per entry, where each entry is an object of its own.
   * @default - none
   */
  readonly split?: readonly string[];
  /**
   * Leaves out the chart's `crds` folder, where a release of its own brings them.
   * @default false
   */
  readonly skipCrds?: boolean;
  /**
   * Seconds until an install or upgrade counts as failed and is rolled back, 60 to 1800.
   * @default 600
   */
  readonly timeoutSeconds?: number;
  readonly facts?: ReleaseFacts;
  /**
   * What to wait for beside the namespace.
   * @default - nothing
   */
  readonly dependsOn?: readonly ITerraformDependable[];
}

/** One small document per top-level value, or per entry of one that is split; Helm merges them. */
function documents(values: Readonly<Record<string, unknown>>, split: readonly string[]): string[] {
  return Object.keys(values)
    .sort()
    .filter((key) => values[key] !== undefined)
    .flatMap((key) => {
      const value = values[key];
      if (!split.includes(key)) return [document({ [key]: value })];
      const entries = value as Readonly<Record<string, unknown>>;
      return Object.keys(entries)
        .sort()
        .map((entry) => document({ [key]: { [entry]: entries[entry] } }));
    });
}

/**
 * A Helm release whose values are typed and known to the chart. It installs or rolls back as a whole. The values go to Helm as
 * one small document per top-level key, sorted, so that a plan shows which one changed.
 */
export class TypedRelease<V extends object> extends Construct {
  public readonly releaseName: string;
  public readonly namespaceName: string;
  /** What needs the release waits for this. */
  public readonly ready: Release;

  /** @throws Error when the name or the time-out is refused, or the chart does not know a value */
  constructor(scope: Construct, id: string, props: TypedReleaseProps<V>) {
    super(scope, id);
    const { chart, charts, namespace, facts = {}, timeoutSeconds = 600 } = props;
    requireDnsLabel(scope, id, "name of the release", props.releaseName, releaseNameLimit);
    if (!Number.isInteger(timeoutSeconds) || timeoutSeconds < 60 || timeoutSeconds > 1800) {
      throw new Error(
        `${this.node.path}: timeoutSeconds is ${timeoutSeconds}; it must be a whole number from 60 to 1800`,
      );
    }
    const values = merged(props.values as Readonly<Record<string, unknown>>, props.overrides ?? {});
    const unknown = unknownValues(chart, values);
    if (unknown.length > 0) {
      throw new Error(`${this.node.path}: ${unknown.join("\n")}`);
    }
    this.releaseName = props.releaseName;
    this.namespaceName = namespace.namespaceName;

    const source = chartArguments(chart, charts);
    this.ready = new Release(this, "release", {
      ...source,
      name: props.releaseName,
      namespace: namespace.namespaceName,
      createNamespace: false,
      values: documents(values, props.split ?? []),
      atomic: true,
      cleanupOnFail: true,
      wait: true,
      waitForJobs: true,
      timeout: timeoutSeconds,
      maxHistory: 5,
      ...(props.skipCrds ? { skipCrds: true } : {}),
      dependsOn: [...namespace.ready, ...(props.dependsOn ?? [])],
    });

    const here = namespace.namespaceName;
    state(
      this,
      {
        kind: "release",
        release: { namespace: here, name: props.releaseName },
        chart,
        version: source.version,
        knownVersions: knownVersions(chart),
      },
      ...(facts.serviceAccounts ?? []).map((name) => ({
        kind: "service-account" as const,
        account: { namespace: here, name },
      })),
      ...(facts.services ?? []).map((service) => ({ kind: "service" as const, service })),
      ...(facts.workloads ?? []).map((workload) => ({ kind: "workload" as const, workload })),
      ...(facts.monitors ?? []).map((monitor) => ({ kind: "monitor" as const, monitor })),
      ...(facts.flows ?? []).map((flow) => ({ kind: "flow" as const, flow })),
      ...(facts.crds ? [{ kind: "crds" as const, crds: facts.crds, resource: this.ready }] : []),
      ...(facts.needsCrds
        ? [{ kind: "needs-crds" as const, crds: facts.needsCrds, resource: this.ready }]
        : []),
    );
  }

  /** States that pods of this release run as an account and get what was given to it elsewhere. */
  protected usesServiceAccount(account: ServiceAccount): void {
    state(this, { kind: "uses-service-account", account });
  }
}
