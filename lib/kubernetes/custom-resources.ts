import type { ITerraformDependable } from "cdktf";
import { Construct } from "constructs";
import type { ChartSettings } from "./charts";
import { requireDnsLabel } from "./names";
import type { NamespaceRef } from "./namespace";
import { type ReleaseFacts, TypedRelease } from "./release";

/** A Kubernetes object: what identifies it, and the rest as its type says. */
export interface KubernetesObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
}

export interface CustomResourcesProps {
  /** Name of the release that holds the objects. */
  readonly releaseName: string;
  readonly namespace: NamespaceRef;
  readonly charts: ChartSettings;
  /** Stable id → object. */
  readonly objects: Readonly<Record<string, KubernetesObject>>;
  /** What the objects count on, beside their CRDs. */
  readonly facts?: Omit<ReleaseFacts, "crds" | "needsCrds">;
  /**
   * Seconds until the objects must be gone or made.
   * @default 300
   */
  readonly timeoutSeconds?: number;
  /** @default - nothing beside the namespace */
  readonly dependsOn?: readonly ITerraformDependable[];
}

/** `group/Kind` of an object, as CRDs are called here. */
export const crdOf = ({ apiVersion, kind }: Pick<KubernetesObject, "apiVersion" | "kind">): string =>
  `${apiVersion.split("/")[0]}/${kind}`;

/**
 * Custom resources as one Helm release of the chart in `charts/custom-resources`. A plan then needs no CRD in the cluster
 * (hashicorp/terraform-provider-kubernetes #1367), and destroy removes the objects while their controller lives.
 */
export class CustomResources extends Construct {
  public readonly ready: ITerraformDependable;

  /** @throws Error when there is no object, or two have one kind, namespace and name */
  constructor(scope: Construct, id: string, props: CustomResourcesProps) {
    super(scope, id);
    const objects = Object.entries(props.objects);
    if (objects.length === 0) throw new Error(`${this.node.path}: holds no object; leave it out`);
    const seen = new Map<string, string>();
    for (const [key, { apiVersion, kind, metadata }] of objects) {
      requireDnsLabel(this, key, "name of the object", metadata.name, 253);
      const what = `${apiVersion}/${kind} ${metadata.namespace ?? props.namespace.namespaceName}/${metadata.name}`;
      const other = seen.get(what);
      if (other !== undefined) {
        throw new Error(`${this.node.path}: "${key}" is ${what}, and so is "${other}"`);
      }
      seen.set(what, key);
    }
    const release = new TypedRelease(this, "objects", {
      releaseName: props.releaseName,
      namespace: props.namespace,
      chart: "custom-resources",
      charts: props.charts,
      values: { objects: props.objects },
      split: ["objects"],
      timeoutSeconds: props.timeoutSeconds ?? 300,
      facts: {
        ...props.facts,
        needsCrds: [...new Set(objects.map(([, object]) => crdOf(object)))].sort(),
      },
      ...(props.dependsOn ? { dependsOn: props.dependsOn } : {}),
    });
    this.ready = release.ready;
  }
}
