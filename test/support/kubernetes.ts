import { existsSync } from "node:fs";
import { join } from "node:path";
import { HelmProvider } from "@cdktf/provider-helm/lib/provider";
import { KubernetesProvider } from "@cdktf/provider-kubernetes/lib/provider";
import { versions } from "../../config/versions";
import type { ChartSettings } from "../../lib/kubernetes";
import { clusterPeers, PlatformNamespace } from "../../lib/kubernetes";
import { type Block, synthStack, type Template, type TestStack } from "./synth";

/** Unpacked charts and CRDs to compare the project's own facts with: `CHARTS_DIR`, or a folder beside the checkout. */
export const chartFolder = process.env["CHARTS_DIR"] ?? join(__dirname, "../../../shared/charts");

/** `test` where the charts are, a counted skip that says why where they are not. */
export const withCharts = (name: string, run: () => void): void =>
  existsSync(chartFolder)
    ? test(name, run)
    : test.skip(`${name} [no unpacked charts here: set CHARTS_DIR to their folder]`, run);

export const charts: ChartSettings = { versions: versions.charts, checkout: "../../.." };

export const peers = clusterPeers({ nodeCidrs: ["10.0.0.0/16"], apiServerCidrs: ["10.0.0.0/16"] });

/** Synthesizes constructs in a stack that has the providers of a cluster. */
export const synthCluster = (build: (stack: TestStack) => void): Template =>
  synthStack((stack) => {
    new KubernetesProvider(stack, "kubernetes", { host: "https://cluster.example" });
    new HelmProvider(stack, "helm", { kubernetes: { host: "https://cluster.example" } });
    build(stack);
  });

export const namespace = (stack: TestStack, name: string): PlatformNamespace =>
  new PlatformNamespace(stack, `${name}-namespace`, { name });

const isMap = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const mergeAll = (documents: readonly Record<string, unknown>[]): Record<string, unknown> => {
  const result: Record<string, unknown> = {};
  for (const one of documents) {
    for (const [key, value] of Object.entries(one)) {
      const before = result[key];
      result[key] = isMap(before) && isMap(value) ? mergeAll([before, value]) : value;
    }
  }
  return result;
};

/** The values of a release, as Helm merges them. */
// biome-ignore lint/suspicious/noExplicitAny: values of a chart, read by path in assertions
export const valuesOf = (release: Block): any =>
  mergeAll((release["values"] as string[]).map((document) => JSON.parse(document)));
