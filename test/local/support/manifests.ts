import type { Block, Template } from "../../support/synth";

/** Resource types whose arguments are a Kubernetes object in snake_case. */
const kinds: Readonly<
  Record<string, { readonly apiVersion: string; readonly kind: string; readonly body?: "spec" }>
> = {
  kubernetes_config_map_v1: { apiVersion: "v1", kind: "ConfigMap" },
  kubernetes_namespace_v1: { apiVersion: "v1", kind: "Namespace" },
  kubernetes_network_policy_v1: { apiVersion: "networking.k8s.io/v1", kind: "NetworkPolicy", body: "spec" },
  kubernetes_secret_v1: { apiVersion: "v1", kind: "Secret" },
  kubernetes_service_account_v1: { apiVersion: "v1", kind: "ServiceAccount" },
  kubernetes_storage_class_v1: { apiVersion: "storage.k8s.io/v1", kind: "StorageClass" },
};

/** Keys below which names are the user's own: labels, annotations, parameters. */
const freeForm = new Set(["labels", "annotations", "match_labels", "parameters", "data", "data_wo"]);
/** Fields that Kubernetes has as an object and the provider as an argument of its own name. */
const renamed: Readonly<Record<string, string>> = {
  storage_provisioner: "provisioner",
  data_wo: "stringData",
};
/** Arguments of the provider and of OpenTofu that are no field of the object. */
const notFields = new Set([
  "//",
  "depends_on",
  "lifecycle",
  "wait_for_default_service_account",
  "timeouts",
  "data_wo_revision",
]);
/** Fields that are lists in Kubernetes even with one element. */
const lists = new Set(["ingress", "egress", "from", "to", "ports"]);

const camelCase = (name: string): string =>
  name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());

function toObject(value: unknown, key = ""): unknown {
  if (Array.isArray(value)) return value.map((item) => toObject(item));
  if (typeof value !== "object" || value === null) {
    return key === "port" && /^\d+$/.test(String(value)) ? Number(value) : value;
  }
  return Object.fromEntries(
    Object.entries(value)
      .filter(([name]) => !notFields.has(name))
      .map(([name, item]) => {
        if (freeForm.has(name)) return [renamed[name] ?? camelCase(name), item];
        const converted = toObject(item, name);
        const single = lists.has(name) && !Array.isArray(converted);
        return [renamed[name] ?? camelCase(name), single ? [converted] : converted];
      }),
  );
}

/** What OpenTofu makes of a string: expressions become a sample, escapes the text that they stand for. */
export const evaluated = (text: string): string =>
  text
    .replace(/(?<!\$)\$\{[^}]*\}/g, "https://sample.example")
    .replaceAll("$${", "${")
    .replaceAll("%%{", "%{");

/**
 * The Kubernetes objects that the kubernetes provider would make of a stack's resources.
 *
 * @throws Error for a resource type that is not known here: it is never skipped
 */
export function manifestsOf(template: Template): Record<string, unknown>[] {
  return (
    template.types
      .filter((type) => type.startsWith("kubernetes_"))
      // namespaces first: OpenTofu has the order from depends_on, kubectl from the file
      .sort((a, b) => Number(b.includes("namespace")) - Number(a.includes("namespace")))
      .flatMap((type) => {
        const known = kinds[type];
        if (!known) throw new Error(`${type} is not known to test/local/support/manifests.ts; add it there`);
        return Object.values(template.resources(type)).map((block: Block) => ({
          apiVersion: known.apiVersion,
          kind: known.kind,
          ...(JSON.parse(evaluated(JSON.stringify(toObject(block)))) as Record<string, unknown>),
        }));
      })
  );
}
