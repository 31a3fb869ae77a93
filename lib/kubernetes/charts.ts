import { distance } from "fastest-levenshtein";
import customResources from "./chart-keys/custom-resources.json";
import dagster from "./chart-keys/dagster.json";
import karpenter from "./chart-keys/karpenter.json";
import karpenterCrd from "./chart-keys/karpenter-crd.json";
import kubePrometheusStack from "./chart-keys/kube-prometheus-stack.json";
import vault from "./chart-keys/vault.json";

/** Names of a chart's values; `true` where anything goes. Made by scripts/chart-keys.mjs. */
type Keys = true | { readonly [key: string]: Keys };

interface ChartFacts {
  readonly chart: string;
  readonly version: string;
  readonly appVersion?: string;
  readonly keys: Keys;
}

/** Where a chart comes from. */
export type ChartSource =
  /** A classic repository (`index.yaml`). */
  | { readonly repository: string }
  /** A folder of an OCI registry that holds the chart under its name. */
  | { readonly oci: string }
  /** An unpacked chart, from the root of the checkout. */
  | { readonly path: string };

/** The charts of this platform: where they come from, and what is known of their values. */
const charts = {
  "karpenter-crd": { source: { oci: "oci://public.ecr.aws/karpenter" }, facts: karpenterCrd as ChartFacts },
  karpenter: { source: { oci: "oci://public.ecr.aws/karpenter" }, facts: karpenter as ChartFacts },
  vault: { source: { repository: "https://helm.releases.hashicorp.com" }, facts: vault as ChartFacts },
  "kube-prometheus-stack": {
    source: { repository: "https://prometheus-community.github.io/helm-charts" },
    facts: kubePrometheusStack as ChartFacts,
  },
  dagster: { source: { repository: "https://dagster-io.github.io/helm" }, facts: dagster as ChartFacts },
  "custom-resources": { source: { path: "charts/custom-resources" }, facts: customResources as ChartFacts },
} as const satisfies Record<string, { readonly source: ChartSource; readonly facts: ChartFacts }>;

export type ChartName = keyof typeof charts;

/** Where this environment takes charts and images from. */
export interface ChartSettings {
  /** Exact version of each chart, as in its Chart.yaml. */
  readonly versions: Readonly<Record<ChartName, string>>;
  /** From the folder in which OpenTofu runs up to the checkout. */
  readonly checkout: string;
  /**
   * A copy of the charts to use instead of their homes: a folder with `NAME-VERSION.tgz` (what `helm pull` writes) from the
   * root of the checkout, or a folder of an OCI registry.
   * @default - the charts' homes
   */
  readonly mirror?: { readonly folder: string } | { readonly oci: string } | undefined;
  /**
   * Registry to pull every image from, with an optional path: `registry.example.com/mirror`.
   * @default - each image's home
   */
  readonly imageRegistry?: string | undefined;
}

/** The arguments of a release that say which chart it is. */
export interface ChartArguments {
  readonly chart: string;
  readonly repository?: string;
  readonly version: string;
}

export function chartArguments(name: ChartName, settings: ChartSettings): ChartArguments {
  const version = settings.versions[name];
  const { mirror, checkout } = settings;
  const source: ChartSource = charts[name].source;
  if ("path" in source) return { chart: `${checkout}/${source.path}`, version };
  if (mirror && "folder" in mirror) {
    return { chart: `${checkout}/${mirror.folder}/${name}-${version}.tgz`, version };
  }
  if (mirror) return { repository: mirror.oci, chart: name, version };
  return { repository: "oci" in source ? source.oci : source.repository, chart: name, version };
}

/** Versions of a chart whose values are known. */
export const knownVersions = (name: ChartName): readonly string[] => [charts[name].facts.version];

/** An image's name in the registry of the environment: the part after the home registry stays. */
export const mirroredImage = (home: string, repository: string, imageRegistry: string | undefined): string =>
  `${imageRegistry ?? home}/${repository}`.replace(/^\//, "");

const isMap = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function* unknownKeys(
  values: unknown,
  keys: Keys,
  path: readonly string[],
): Generator<{ readonly path: string; readonly nearest: string | undefined }> {
  if (keys === true || !isMap(values)) return;
  const known = Object.keys(keys);
  for (const [key, value] of Object.entries(values)) {
    if (value === undefined) continue;
    const here = [...path, key];
    const below = keys[key];
    if (below !== undefined) {
      yield* unknownKeys(value, below, here);
      continue;
    }
    const [best] = known
      .map((name) => ({ name, edits: distance(name.toLowerCase(), key.toLowerCase()) }))
      .sort((a, b) => a.edits - b.edits || (a.name < b.name ? -1 : 1));
    // further away than half its length it is another word
    const near =
      best && best.edits <= Math.max(2, key.length / 2) ? [...path, best.name].join(".") : undefined;
    yield { path: here.join("."), nearest: near };
  }
}

/** Values that a chart would silently ignore, as sentences. */
export function unknownValues(name: ChartName, values: Readonly<Record<string, unknown>>): string[] {
  const { version, keys } = charts[name].facts;
  return [...unknownKeys(values, keys, [])].map(
    ({ path, nearest }) =>
      `"${path}" is no value of the chart ${name} ${version}, which would ignore it.${nearest ? ` Did you mean "${nearest}"?` : ""}`,
  );
}
