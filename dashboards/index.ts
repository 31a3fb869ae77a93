import type { DashboardSpec } from "./build";
import { cluster } from "./cluster";
import { dagster } from "./dagster";
import { nodeExporter } from "./node-exporter";
import { productsApi } from "./products-api";
import { prometheus } from "./prometheus";

export { type DashboardSpec, renderDashboard } from "./build";

/** Name of the rendered file → dashboard. */
export const dashboards: Readonly<Record<string, DashboardSpec>> = {
  cluster,
  dagster,
  "node-exporter": nodeExporter,
  "products-api": productsApi,
  prometheus,
};
