import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import Ajv from "ajv";
import { parse } from "yaml";
import { chartFolder } from "./kubernetes";

type Schema = Record<string, unknown>;

interface Definition {
  readonly apiVersion: string;
  readonly schema: Schema;
}

const isMap = (value: unknown): value is Schema =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** The same schema as the API server applies it with strict field validation: an unknown field is an error. */
function strict(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(strict);
  if (!isMap(schema)) return schema;
  const result = Object.fromEntries(
    Object.entries(schema).map(([key, value]) => [
      key,
      key === "properties" && isMap(value)
        ? Object.fromEntries(Object.entries(value).map(([name, property]) => [name, strict(property)]))
        : strict(value),
    ]),
  );
  return isMap(schema["properties"]) && schema["additionalProperties"] === undefined
    ? { ...result, additionalProperties: false }
    : result;
}

/** The project's own copy of a definition's schema (scripts/crd-facts.mjs). */
export const committedDefinition = (kind: string): Definition =>
  JSON.parse(readFileSync(join(__dirname, `../facts/crds/${kind}.json`), "utf8"));

/** A definition from the unpacked chart, where it is. */
function upstreamDefinition(chart: string, kind: string): Definition | undefined {
  const folder = join(chartFolder, chart, "crds");
  if (!existsSync(folder)) return undefined;
  for (const file of readdirSync(folder)) {
    const { spec } = parse(readFileSync(join(folder, file), "utf8"));
    if (spec.names.kind !== kind) continue;
    const version = spec.versions.find(({ storage }: { storage: boolean }) => storage);
    return { apiVersion: `${spec.group}/${version.name}`, schema: version.schema.openAPIV3Schema };
  }
  return undefined;
}

/** Says where the schemas come from, for the names of tests. */
export const schemaSource = (chart: string): string =>
  existsSync(join(chartFolder, chart, "crds"))
    ? `the CRDs of the chart ${chart}`
    : "the project's copy of the CRDs";

/** What the CRD's schema finds wrong with an object; empty when the API server would take it. */
export function crdErrors(
  chart: string,
  object: { readonly apiVersion: string; readonly kind: string },
): string[] {
  const definition = upstreamDefinition(chart, object.kind) ?? committedDefinition(object.kind);
  if (definition.apiVersion !== object.apiVersion) {
    return [`apiVersion is ${object.apiVersion}, the CRD stores ${definition.apiVersion}`];
  }
  const schema = strict(definition.schema) as Schema;
  const metadata = { type: "object", required: ["name"] };
  const validate = new Ajv({ strict: false, allErrors: true, validateFormats: false }).compile({
    ...schema,
    properties: { ...(schema["properties"] as Schema), metadata },
  });
  return validate(object)
    ? []
    : (validate.errors ?? []).map(({ instancePath, message, params }) =>
        `${instancePath} ${message} ${"additionalProperty" in params ? params["additionalProperty"] : ""}`.trim(),
      );
}
