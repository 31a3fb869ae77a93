import { readFileSync } from "node:fs";
import * as z from "zod";
import { dev } from "./dev";
import { local } from "./local";
import { prod } from "./prod";
import { crossRules, type Environment, environmentSchema, guidance, type Problem } from "./schema";
import { versionConflicts, versions } from "./versions";

/** A configuration that was refused; the message lists every problem. */
export class ConfigurationError extends Error {
  constructor(source: string, problems: readonly string[]) {
    const plural = problems.length === 1 ? "1 error" : `${problems.length} errors`;
    super(`${source}: ${plural}\n\n${problems.join("\n\n")}\n\nNothing was synthesized.`);
    this.name = "ConfigurationError";
  }
}

const environments = { local, dev, prod };

type Section = keyof typeof environmentSchema.shape;

/** The schema at a path of the input, through wrappers and unions. */
function schemaAt(schema: z.ZodType, path: readonly PropertyKey[]): z.ZodType | undefined {
  if (schema instanceof z.ZodOptional) return schemaAt(schema.unwrap() as z.ZodType, path);
  const [head, ...rest] = path;
  if (head === undefined) return schema;
  if (schema instanceof z.ZodObject) {
    const next = (schema.shape as Record<PropertyKey, z.ZodType | undefined>)[head];
    return next && schemaAt(next, rest);
  }
  if (schema instanceof z.ZodArray) return schemaAt(schema.element as z.ZodType, rest) ?? schema;
  if (schema instanceof z.ZodDiscriminatedUnion) {
    for (const option of schema.options) {
      const found = schemaAt(option as z.ZodType, path);
      if (found) return found;
    }
  }
  return undefined;
}

/** The guidance of the setting at a path, or of the nearest setting above it (an element of a list has none of its own). */
function guidanceAt(path: readonly PropertyKey[]) {
  for (let length = path.length; length > 0; length--) {
    const schema = schemaAt(environmentSchema, path.slice(0, length));
    const found = schema && guidance.get(schema);
    if (found) return found;
  }
  return undefined;
}

const valueAt = (input: unknown, path: readonly PropertyKey[]): unknown =>
  path.reduce<unknown>(
    (value, key) =>
      typeof value === "object" && value !== null ? (value as Record<PropertyKey, unknown>)[key] : undefined,
    input,
  );

const pathText = (path: readonly PropertyKey[]): string =>
  path
    .map((key) => (typeof key === "number" ? `[${key}]` : `.${String(key)}`))
    .join("")
    .replace(/^\./, "");

function problemsOf(issue: z.core.$ZodIssue, input: unknown): Problem[] {
  if (issue.code === "unrecognized_keys") {
    const section = schemaAt(environmentSchema, issue.path);
    const known =
      section instanceof z.ZodObject ? Object.keys(section.shape).filter((key) => key !== "$schema") : [];
    return issue.keys.map((key) => ({
      path: pathText([...issue.path, key]),
      value: valueAt(input, [...issue.path, key]),
      legal: `one of the settings ${known.join(", ")}`,
      fix: "remove it, or correct its spelling",
    }));
  }
  const found = guidanceAt(issue.path);
  return [
    {
      path: pathText(issue.path) || "(the whole configuration)",
      value: valueAt(input, issue.path),
      legal: found?.legal ?? issue.message,
      fix: found?.fix ?? "compare with config/local.ts",
    },
  ];
}

const render = ({ path, value, legal, fix }: Problem): string =>
  [
    `  ${path}`,
    `    value  ${value === undefined ? "missing" : JSON.stringify(value)}`,
    `    legal  ${legal}`,
    `    fix    ${fix}`,
  ].join("\n");

/** The sections that are valid by themselves, whatever the others are. */
function validSections(input: unknown): Partial<Environment> {
  return Object.fromEntries(
    Object.entries(environmentSchema.shape).flatMap(([section, schema]) => {
      const parsed = schema.safeParse(valueAt(input, [section]));
      return parsed.success ? [[section, parsed.data]] : [];
    }),
  );
}

/** What is wrong between settings, as far as their sections are valid. */
const crossProblems = (sections: Partial<Environment>): Problem[] =>
  crossRules
    .filter((rule) => rule.needs.every((section: Section) => section in sections))
    .flatMap((rule) => rule.check(sections as Environment) ?? []);

/**
 * Validates one environment's configuration.
 *
 * @param input the configuration, of any shape
 * @param source where it came from, for the message
 * @throws ConfigurationError with all problems: path, value, legal range and remedy of each
 */
export function parseEnvironment(input: unknown, source: string): Environment {
  const parsed = environmentSchema.safeParse(input);
  const problems = [
    ...(parsed.success ? [] : parsed.error.issues.flatMap((issue) => problemsOf(issue, input))),
    ...crossProblems(parsed.success ? parsed.data : validSections(input)),
  ].map(render);
  const conflicts = versionConflicts(versions).map((conflict) => `  ${conflict}`);
  if (!parsed.success || problems.length + conflicts.length > 0) {
    throw new ConfigurationError(source, [...problems, ...conflicts]);
  }
  return parsed.data;
}

/**
 * Loads the environment that the process asks for.
 *
 * `PLATFORM_CONFIG` names a JSON file (its `$schema` is config/environment.schema.json); otherwise `PLATFORM_ENV` selects
 * local, dev or prod. Without either it is `local`, so that nobody touches an account by accident.
 *
 * @throws ConfigurationError when the environment is unknown, the file is not JSON, or a setting is refused
 */
export function loadEnvironment(variables: Readonly<Record<string, string | undefined>>): Environment {
  const file = variables["PLATFORM_CONFIG"];
  if (file) {
    let input: unknown;
    try {
      input = JSON.parse(readFileSync(file, "utf8"));
    } catch (error) {
      throw new ConfigurationError(`PLATFORM_CONFIG=${file}`, [
        `  cannot be read as JSON: ${error instanceof Error ? error.message : String(error)}\n    fix    give the path of a JSON file that follows config/environment.schema.json`,
      ]);
    }
    return parseEnvironment(input, file);
  }
  const name = variables["PLATFORM_ENV"] || "local";
  if (!Object.hasOwn(environments, name)) {
    throw new ConfigurationError("PLATFORM_ENV", [
      render({
        path: "PLATFORM_ENV",
        value: name,
        legal: Object.keys(environments).join(", "),
        fix: "choose one of them, or describe another environment in a JSON file and set PLATFORM_CONFIG to its path",
      }),
    ]);
  }
  const environment = environments[name as keyof typeof environments];
  return parseEnvironment(environment(variables), `config/${name}.ts`);
}
