import { ConfigMapV1 } from "@cdktf/provider-kubernetes/lib/config-map-v1";
import { Fn, type ITerraformDependable } from "cdktf";
import { Construct } from "constructs";
import type { NamespaceRef } from "../kubernetes";

/** The dashboards of this repository, by the name of their rendered file. */
export type DashboardName = "cluster" | "dagster" | "node-exporter" | "products-api" | "prometheus";

export interface DashboardsProps {
  readonly namespace: NamespaceRef;
  /** From the folder in which OpenTofu runs up to the checkout. */
  readonly checkout: string;
  readonly dashboards: readonly DashboardName[];
  /** Folder in Grafana. */
  readonly folder: string;
}

/**
 * Dashboards as ConfigMaps that Grafana's sidecar picks up. OpenTofu reads the rendered files (dashboards/rendered, made by
 * `npm run generate`), so that neither the synth nor its output carries them.
 */
export class Dashboards extends Construct {
  public readonly ready: readonly ITerraformDependable[];

  constructor(scope: Construct, id: string, props: DashboardsProps) {
    super(scope, id);
    this.ready = props.dashboards.map(
      (name) =>
        new ConfigMapV1(this, name, {
          metadata: {
            namespace: props.namespace.namespaceName,
            name: `dashboard-${name}`,
            labels: { grafana_dashboard: "1" },
            annotations: { grafana_folder: props.folder },
          },
          data: { [`${name}.json`]: Fn.file(`${props.checkout}/dashboards/rendered/${name}.json`) },
          dependsOn: [...props.namespace.ready],
        }),
    );
  }
}
