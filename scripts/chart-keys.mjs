#!/usr/bin/env node
// Reads which values a Helm chart knows, as names only: the synth refuses a value that the chart would silently ignore.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { parse } from "yaml";

const usage = `Usage: node scripts/chart-keys.mjs CHART_DIR [VERSION] > lib/kubernetes/chart-keys/NAME.json

Prints the chart's name, its versions and the names of its values, as JSON. CHART_DIR is an unpacked chart
(helm pull CHART --version VERSION --untar). Names come from values.yaml, from values.schema.json where there is one, and
from the subcharts. VERSION replaces the one in Chart.yaml, for a source that is stamped at its release. A value whose content is free (labels, resources, a list) is \`true\`: below it anything goes.

Exit codes: 0 printed, 1 the folder holds no chart, 64 wrong usage.`;

/** Values that are maps of the user's own names, although the chart's defaults fill some in. */
const freeForm =
  /((annotations|labels|selectors?|securityContext|resources|affinity|strategy|\.ini)|^(env|config|data|datasources|web))$/i;

const isMap = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

/** Names below a map of defaults; `true` where anything goes. */
function keysOf(defaults) {
  if (!isMap(defaults) || Object.keys(defaults).length === 0) return true;
  return Object.fromEntries(
    Object.entries(defaults).map(([key, value]) => [key, freeForm.test(key) ? true : keysOf(value)]),
  );
}

/** Names that a JSON schema lists. */
function schemaKeys(schema) {
  if (!isMap(schema?.properties) || Object.keys(schema.properties).length === 0) return true;
  return Object.fromEntries(
    Object.entries(schema.properties).map(([key, value]) => [
      key,
      freeForm.test(key) ? true : schemaKeys(value),
    ]),
  );
}

/** Everything that either side knows. A plain value on one side and names on the other: the names count. */
function union(a, b) {
  if (a === true || a === undefined) return b ?? a;
  if (b === true || b === undefined) return a;
  const keys = [...new Set([...Object.keys(a), ...Object.keys(b)])];
  return Object.fromEntries(keys.map((key) => [key, union(a[key], b[key])]));
}

const sorted = (value) =>
  isMap(value)
    ? Object.fromEntries(
        Object.keys(value)
          .sort()
          .map((key) => [key, sorted(value[key])]),
      )
    : value;

const read = (file, otherwise) => (existsSync(file) ? parse(readFileSync(file, "utf8")) : otherwise);

/** What a chart folder says about its values. */
export function chartFacts(folder) {
  const {
    name,
    version,
    appVersion,
    kubeVersion,
    dependencies = [],
  } = parse(readFileSync(join(folder, "Chart.yaml"), "utf8"));
  let keys = keysOf(read(join(folder, "values.yaml"), {}) ?? {});
  keys = union(keys, schemaKeys(read(join(folder, "values.schema.json"))));
  for (const dependency of dependencies) {
    const subchart = join(folder, "charts", dependency.name);
    if (!existsSync(join(subchart, "Chart.yaml"))) continue;
    keys = union(keys, { [dependency.alias ?? dependency.name]: chartFacts(subchart).keys });
  }
  return {
    chart: name,
    version: String(version),
    ...(appVersion ? { appVersion: String(appVersion) } : {}),
    ...(kubeVersion ? { kubeVersion } : {}),
    keys: sorted(keys),
  };
}

/** The facts as they are committed: one line per top-level value, so that a diff names what a new version changed. */
export function printed(folder, version) {
  const { keys, ...own } = chartFacts(folder);
  const facts = version ? { ...own, version } : own;
  const lines = Object.entries(keys === true ? {} : keys).map(
    ([key, value]) => `    ${JSON.stringify(key)}: ${JSON.stringify(value)}`,
  );
  const head = Object.entries(facts).map(
    ([key, value]) => `  ${JSON.stringify(key)}: ${JSON.stringify(value)}`,
  );
  return `{\n${[...head, `  "keys": {\n${lines.join(",\n")}\n  }`].join(",\n")}\n}\n`;
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [folder, version, ...rest] = process.argv.slice(2);
  if (folder === "--help" || folder === "-h") {
    console.log(usage);
    process.exit(0);
  }
  if (folder === undefined || rest.length > 0) {
    console.error(usage);
    process.exit(64);
  }
  if (!existsSync(join(folder, "Chart.yaml"))) {
    console.error(
      `${folder} holds no Chart.yaml. Unpack the chart with \`helm pull --untar\` and name its folder.`,
    );
    process.exit(1);
  }
  process.stdout.write(printed(folder, version));
}
