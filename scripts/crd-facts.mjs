#!/usr/bin/env node
// Turns custom resource definitions into what the code needs of them: TypeScript types, and schemas for the tests.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { compile } from "json-schema-to-typescript";
import { parse } from "yaml";

const usage = `Usage: node scripts/crd-facts.mjs CRD_DIR TYPES_FILE KIND…

Reads the definitions of the KINDs from the YAML files in CRD_DIR (the \`crds\` folder of an unpacked chart) and writes
TYPES_FILE (TypeScript) and test/facts/crds/KIND.json (schemas without descriptions). For example, for Karpenter:

  node scripts/crd-facts.mjs karpenter-crd/crds lib/karpenter/crds.ts NodePool EC2NodeClass

Exit codes: 0 written, 1 a kind was not found, 64 wrong usage.`;

const root = join(dirname(fileURLToPath(import.meta.url)), "..");

/** Prose and rules in CEL, which only the API server evaluates. */
const leftOut = new Set(["description", "x-kubernetes-validations"]);

/** A schema without what is left out; names of properties are kept whatever they are. */
function compact(schema) {
  if (Array.isArray(schema)) return schema.map(compact);
  if (typeof schema !== "object" || schema === null) return schema;
  return Object.fromEntries(
    Object.entries(schema)
      .filter(([key]) => !leftOut.has(key))
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, value]) => [
        key,
        key === "properties"
          ? Object.fromEntries(
              Object.entries(value)
                .sort(([a], [b]) => (a < b ? -1 : 1))
                .map(([name, property]) => [name, compact(property)]),
            )
          : compact(value),
      ]),
  );
}

/** Kind → its storage version's `apiVersion` and schema, of every definition in a folder. */
export function readDefinitions(folder) {
  const definitions = new Map();
  for (const file of readdirSync(folder).filter((name) => name.endsWith(".yaml"))) {
    const { spec } = parse(readFileSync(join(folder, file), "utf8"));
    const version = spec.versions.find(({ storage }) => storage);
    definitions.set(spec.names.kind, {
      apiVersion: `${spec.group}/${version.name}`,
      scope: spec.scope,
      schema: compact(version.schema.openAPIV3Schema),
    });
  }
  return definitions;
}

/** Schemas as they are committed: one line per file, with the line that a diff needs between the parts of the spec. */
export const printedSchema = ({ apiVersion, scope, schema }) =>
  `${JSON.stringify({ apiVersion, scope, schema }, null, 1)}\n`;

/** Kubernetes schemas say no more of objects than their properties; the API server refuses all others (strict). */
function forTypes(schema) {
  if (Array.isArray(schema)) return schema.map(forTypes);
  if (typeof schema !== "object" || schema === null) return schema;
  if (schema["x-kubernetes-int-or-string"]) return { type: ["string", "integer"] };
  // tuples of every length up to maxItems are no help to anyone
  const { minItems, maxItems, ...rest } = schema;
  return Object.fromEntries(
    Object.entries(rest).map(([key, value]) => [
      key,
      key === "properties"
        ? Object.fromEntries(Object.entries(value).map(([name, property]) => [name, forTypes(property)]))
        : forTypes(value),
    ]),
  );
}

/** Types of the specs of some kinds, formatted as the rest of the code. */
export async function printedTypes(definitions, kinds) {
  const parts = [];
  const crds = [];
  for (const kind of kinds) {
    const { apiVersion, schema } = definitions.get(kind);
    const types = await compile(forTypes(schema.properties.spec), `${kind}Spec`, {
      additionalProperties: false,
      bannerComment: "",
      format: false,
    });
    parts.push(`/** Spec of a ${kind}. */
${types.trim()}`);
    crds.push(`${kind}: { apiVersion: "${apiVersion}", kind: "${kind}" }`);
  }
  const text = `// Made by scripts/crd-facts.mjs from the custom resource definitions; change it there.\n\n${parts.join("\n\n")}\n\n/** What objects of these kinds begin with. */\nexport const crds = { ${crds.join(", ")} } as const;\n`;
  const { stdout, stderr, status } = spawnSync(
    join(root, "node_modules/.bin/biome"),
    ["format", "--stdin-file-path=lib/crds.ts"],
    { cwd: root, input: text, encoding: "utf8" },
  );
  if (status !== 0) throw new Error(stderr);
  return stdout;
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [folder, typesFile, ...kinds] = process.argv.slice(2);
  if (folder === "--help" || folder === "-h") {
    console.log(usage);
    process.exit(0);
  }
  if (kinds.length === 0 || !existsSync(folder)) {
    console.error(folder && !existsSync(folder) ? `There is no folder ${folder}.\n\n${usage}` : usage);
    process.exit(64);
  }
  const definitions = readDefinitions(folder);
  const missing = kinds.filter((kind) => !definitions.has(kind));
  if (missing.length > 0) {
    console.error(
      `${folder} defines no ${missing.join(", ")}; it has ${[...definitions.keys()].sort().join(", ")}.`,
    );
    process.exit(1);
  }
  mkdirSync(join(root, "test/facts/crds"), { recursive: true });
  for (const kind of kinds) {
    writeFileSync(join(root, `test/facts/crds/${kind}.json`), printedSchema(definitions.get(kind)));
  }
  writeFileSync(resolve(typesFile), await printedTypes(definitions, kinds));
}
