import { readFileSync, rmSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import {
  type App,
  Aspects,
  TerraformDataSource,
  TerraformElement,
  TerraformLocal,
  TerraformOutput,
  TerraformProvider,
  TerraformResource,
  TerraformStack,
  Token,
} from "cdktf";
import type { IConstruct } from "constructs";
import { elementAddress } from "./address";
import { booleanReadsOf, configurationOf } from "./checked";
import { readExpressions } from "./expressions";

/** One thing that cdktf would have let pass. */
export interface Violation {
  /** Path of the construct, or `stack: block` where cdktf keeps no path. */
  readonly construct: string;
  readonly rule: string;
  readonly message: string;
}

/** The synthesized output is wrong in ways that cdktf does not report; it has been removed. */
export class SynthGuardError extends Error {
  constructor(readonly violations: readonly Violation[]) {
    const lines = violations.map(({ construct, rule, message }) => `  ${construct}\n    ${rule}: ${message}`);
    super(
      `The synth guard refused the output (${violations.length === 1 ? "1 problem" : `${violations.length} problems`}); nothing was left to deploy.\n\n${lines.join("\n\n")}`,
    );
    this.name = "SynthGuardError";
  }
}

type Block = Readonly<Record<string, unknown>>;
type Named = Readonly<Record<string, Block>>;

/** The parts of a cdk.tf.json that the guard reads. */
interface Configuration {
  readonly terraform?: Block;
  readonly provider?: Readonly<Record<string, readonly Block[]>>;
  readonly variable?: Named;
  readonly locals?: Block;
  readonly output?: Named;
  readonly resource?: Readonly<Record<string, Named>>;
  readonly data?: Readonly<Record<string, Named>>;
  readonly module?: Named;
}

interface StackOutput {
  readonly stack: TerraformStack;
  readonly elements: readonly TerraformElement[];
  readonly json: Configuration;
}

/** A block of the JSON with the name to report it by and its address. */
interface Addressed {
  readonly construct: string;
  readonly address: string;
  readonly block: Block;
}

const isRecord = (value: unknown): value is Block =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Visits every leaf of a plain tree; instances of classes other than Object are leaves (constructs, tokens). */
function visitLeaves(value: unknown, visit: (leaf: unknown, path: string) => void, path = ""): void {
  if (Array.isArray(value)) {
    value.forEach((item, index) => {
      visitLeaves(item, visit, `${path}[${index}]`);
    });
  } else if (isRecord(value) && Object.getPrototypeOf(value) === Object.prototype) {
    for (const [key, item] of Object.entries(value)) visitLeaves(item, visit, path ? `${path}.${key}` : key);
  } else {
    visit(value, path);
  }
}

/** Every addressable block of a stack's JSON. */
function blocksOf({ stack, json }: StackOutput): Addressed[] {
  const id = stack.node.id;
  const named = (kind: string, blocks: Named | undefined): Addressed[] =>
    Object.entries(blocks ?? {}).map(([name, block]) => {
      const metadata = (block["//"] as { metadata?: { path?: string } } | undefined)?.metadata;
      return { construct: metadata?.path ?? `${id}: ${kind}.${name}`, address: `${kind}.${name}`, block };
    });
  return [
    ...Object.entries(json.resource ?? {}).flatMap(([type, blocks]) => named(type, blocks)),
    ...Object.entries(json.data ?? {}).flatMap(([type, blocks]) => named(`data.${type}`, blocks)),
    ...named("var", json.variable),
    ...named("output", json.output),
    ...named("module", json.module),
    ...Object.entries(json.locals ?? {}).map(([name, value]) => ({
      construct: `${id}: local.${name}`,
      address: `local.${name}`,
      block: { value },
    })),
    ...Object.entries(json.provider ?? {}).flatMap(([type, blocks]) =>
      blocks.map((block) => ({ construct: `${id}: provider.${type}`, address: `provider.${type}`, block })),
    ),
    ...(json.terraform
      ? [{ construct: `${id}: terraform`, address: "terraform", block: json.terraform }]
      : []),
  ];
}

// ---- rules over the construct tree ----------------------------------------------------------------------------------

function* appRules(app: App, stacks: readonly TerraformStack[]): Generator<Violation> {
  const seen = new Map<string, TerraformStack>();
  for (const stack of stacks) {
    const other = seen.get(stack.node.id);
    if (other) {
      yield {
        construct: stack.node.path,
        rule: "stack-id",
        message: `has the id of ${other.node.path}; both write stacks/${stack.node.id}, and the last one wins. Give each stack of the app an id of its own.`,
      };
    }
    seen.set(stack.node.id, stack);
    for (let scope: IConstruct | undefined = stack.node.scope; scope; scope = scope.node.scope) {
      if (scope === app && stack !== stacks[0]) break; // the app's own aspects are reported once
      if (Aspects.of(scope).all.length > 0) {
        yield {
          construct: scope.node.path || "App",
          rule: "aspect-above-stack",
          message: "has an aspect, which cdktf never visits above a stack. Add it to each stack.",
        };
      }
    }
  }
}

function* elementRules({ stack, elements }: StackOutput): Generator<Violation> {
  const addresses = new Map<string, TerraformElement>();
  for (const element of elements) {
    const address = elementAddress(element);
    if (!address) continue;
    const other = addresses.get(address);
    if (other) {
      yield {
        construct: element.node.path,
        rule: "merged-ids",
        message: `has the address ${address}, as has ${other.node.path}; cdktf merges the two into one. Choose an id that differs in more than characters outside A-Z, a-z, 0-9, _ and -.`,
      };
    }
    addresses.set(address, element);
    if (!/^[A-Za-z_][\w-]*$/.test(element.friendlyUniqueId)) {
      yield {
        construct: element.node.path,
        rule: "invalid-name",
        message: `becomes the name "${element.friendlyUniqueId}", which OpenTofu refuses. Begin the id with a letter or an underscore.`,
      };
    }
  }

  for (const provider of elements.filter(TerraformProvider.isTerraformProvider)) {
    const same = elements.filter(
      (other): other is TerraformProvider =>
        TerraformProvider.isTerraformProvider(other) &&
        other.terraformResourceType === provider.terraformResourceType &&
        other.alias === provider.alias,
    );
    if (same.length > 1 && same[0] === provider) {
      yield {
        construct: provider.node.path,
        rule: "duplicate-provider",
        message: `configures provider "${provider.terraformResourceType}"${provider.alias ? ` as "${provider.alias}"` : " without an alias"}, and so does ${same
          .slice(1)
          .map((other) => other.node.path)
          .join(", ")}. Give all but one an alias of their own.`,
      };
    }
  }

  for (const element of elements) {
    for (const { attribute } of booleanReadsOf(element).filter((read) => !read.used)) {
      yield {
        construct: element.node.path,
        rule: "boolean-token",
        message: `its attribute "${attribute}" was read but is nowhere in the output: a condition on it was decided at synth, where every token is true. Use Fn.conditional, or decide on the configuration.`,
      };
    }
    const given =
      configurationOf(element) ??
      (TerraformOutput.isTerraformOutput(element) ? { value: element.value } : undefined) ??
      (element instanceof TerraformLocal ? { value: element.expression } : undefined);
    const numbers: Violation[] = [];
    visitLeaves(given, (leaf, path) => {
      if (typeof leaf === "number" && Token.isUnresolved(leaf)) {
        numbers.push({
          construct: element.node.path,
          rule: "number-token",
          message: `"${path}" is a number token, and arithmetic on one vanishes without a trace. Pass a number of the configuration, or an expression as a string (Token.asString).`,
        });
      }
    });
    yield* numbers;
    if (
      TerraformResource.isTerraformResource(element) &&
      element.terraformGeneratorMetadata &&
      configurationOf(element) === undefined
    ) {
      yield {
        construct: element.node.path,
        rule: "unchecked-import",
        message:
          "was not built through a checked import, so dropped arguments would go unnoticed. Synthesize with scripts/synth.mjs (npm run synth).",
      };
    }
  }

  for (const output of elements.filter(TerraformOutput.isTerraformOutput)) {
    if (output.friendlyUniqueId.startsWith("cross-stack-output-")) {
      yield {
        construct: `${stack.node.id}: output.${output.friendlyUniqueId}`,
        rule: "automatic-cross-stack",
        message:
          "another stack uses an attribute of this one directly. Such an output loses its sensitive mark and vanishes with its last reader; publish it in the outputs of the stack and read it from there.",
      };
    }
  }
}

const canonical = (key: string): string => key.replaceAll("_", "").toLowerCase();

/** Keys of `given` (at any depth) that have no counterpart in `written`. */
function* droppedKeys(given: unknown, written: unknown, path: string): Generator<string> {
  if (Array.isArray(given)) {
    const list = Array.isArray(written) ? written : [written];
    for (const [index, item] of given.entries()) {
      if (isRecord(item)) yield* droppedKeys(item, list[index], `${path}[${index}]`);
    }
    return;
  }
  if (!isRecord(given) || Object.getPrototypeOf(given) !== Object.prototype) return;
  // a single block is written as an object or as a list of one
  const block = Array.isArray(written) && written.length === 1 ? written[0] : written;
  if (typeof block === "string") return; // an expression for the whole
  const names = new Map(
    isRecord(block) ? Object.entries(block).map(([key, value]) => [canonical(key), value]) : [],
  );
  for (const [key, value] of Object.entries(given)) {
    if (value === undefined || value === null) continue;
    if (Array.isArray(value) && value.length === 0) continue;
    if (isRecord(value) && Object.values(value).every((item) => item === undefined)) continue;
    const here = path ? `${path}.${key}` : key;
    if (names.has(canonical(key))) yield* droppedKeys(value, names.get(canonical(key)), here);
    else yield here;
  }
}

/** cdktf writes this meta-argument under another name, or (provider) not under the class's control. */
const writtenElsewhere = new Set(["provisioners", "provider", "forEach"]);

function* droppedArguments({ elements, json }: StackOutput): Generator<Violation> {
  for (const element of elements) {
    const given = configurationOf(element);
    if (!isRecord(given)) continue;
    const written = TerraformResource.isTerraformResource(element)
      ? json.resource?.[element.terraformResourceType]?.[element.friendlyUniqueId]
      : TerraformDataSource.isTerraformDataSource(element)
        ? json.data?.[element.terraformResourceType]?.[element.friendlyUniqueId]
        : TerraformProvider.isTerraformProvider(element)
          ? json.provider?.[element.terraformResourceType]?.find((block) => block["alias"] === element.alias)
          : undefined;
    if (!written) continue;
    const own = Object.fromEntries(Object.entries(given).filter(([key]) => !writtenElsewhere.has(key)));
    for (const path of droppedKeys(own, written, "")) {
      yield {
        construct: element.node.path,
        rule: "unknown-argument",
        message: `was given "${path}", which the provider's class does not know and cdktf dropped. Correct the name; the type checker refuses it too, unless a cast or a variable hides it.`,
      };
    }
  }
}

// ---- rules over the JSON --------------------------------------------------------------------------------------------

const globalRoots = new Set(["each", "count", "self", "path", "terraform"]);

function* stringRules(
  { construct }: Addressed,
  text: string,
  known: ReadonlySet<string>,
  machinePaths: readonly string[],
): Generator<Violation> {
  if (/TfToken\[|TFTOKEN|tftoken\[/i.test(text)) {
    yield {
      construct,
      rule: "broken-token",
      message: `contains ${JSON.stringify(text)}: a string method (toUpperCase, slice, split …) ran on a token. Use the Fn of the same name.`,
    };
    return;
  }
  const machinePath = machinePaths.find((path) => text === path || text.includes(`${path}/`));
  if (machinePath) {
    yield {
      construct,
      rule: "absolute-path",
      message: `contains ${JSON.stringify(text)}, a path of this machine. Use a path relative to the stack's folder.`,
    };
  }
  const { sources, references, bareNames } = readExpressions(text);
  if (sources.some((source) => /=\s*(undefined|null\})/.test(source) || /\bundefined\b/.test(source))) {
    yield {
      construct,
      rule: "lost-value",
      message: `contains ${JSON.stringify(text)}: a token as a map key loses its value in Fn. Use JSON.stringify, or the provider's policy document data source.`,
    };
    return;
  }
  for (const name of bareNames) {
    yield {
      construct,
      rule: "unescaped-template",
      message: `contains "\${${name}}", which OpenTofu would evaluate. Write "$\${${name}}" for the literal text.`,
    };
  }
  for (const reference of references) {
    const parts = reference.split(".");
    const root = parts[0] ?? "";
    if (globalRoots.has(root)) continue;
    const address = parts.slice(0, root === "data" ? 3 : 2).join(".");
    if (!known.has(address)) {
      yield {
        construct,
        rule: "dangling-reference",
        message: `refers to ${address}, which is not in this stack. Pass the value through the outputs of the stack that owns it.`,
      };
    }
  }
}

function* jsonRules(output: StackOutput, machinePaths: readonly string[]): Generator<Violation> {
  const blocks = blocksOf(output);
  const known = new Set(blocks.map(({ address }) => address));
  for (const addressed of blocks) {
    const { construct, block } = addressed;
    const found: Violation[] = [];
    const { "//": _metadata, ...content } = block;
    visitLeaves(content, (leaf, path) => {
      if (typeof leaf === "string") found.push(...stringRules(addressed, leaf, known, machinePaths));
      if (typeof leaf === "number" && (Math.abs(leaf) > 1e280 || Number.isNaN(leaf))) {
        found.push({
          construct,
          rule: "number-token",
          message: `"${path}" is ${leaf}, what is left of a number token after arithmetic. Calculate in the expression (Token.asString), or with numbers of the configuration.`,
        });
      }
    });
    yield* found;

    for (const target of (block["depends_on"] as readonly string[] | undefined) ?? []) {
      if (!known.has(target)) {
        yield {
          construct,
          rule: "depends-on",
          message: `depends on "${target}", which is not a whole resource of this stack. Between stacks use stack.addDependency.`,
        };
      }
    }
    const ignored = (block["lifecycle"] as { ignore_changes?: readonly string[] | string } | undefined)
      ?.ignore_changes;
    for (const attribute of Array.isArray(ignored) ? (ignored as readonly string[]) : []) {
      if (/[A-Z]/.test(attribute.replace(/\[.*$/, ""))) {
        yield {
          construct,
          rule: "ignore-changes",
          message: `ignores changes of "${attribute}", which no argument is called. cdktf does not translate it: write it in snake_case.`,
        };
      }
    }
  }
}

/** What crosses stacks: every output that is read must exist, and nothing sensitive may cross. */
function* crossStackRules(outputs: readonly StackOutput[]): Generator<Violation> {
  const byId = new Map(outputs.map((output) => [output.stack.node.id, output]));
  for (const output of outputs) {
    const { json, stack } = output;
    const sensitive = new Set(
      Object.entries(json.variable ?? {})
        .filter(([, variable]) => variable["sensitive"] === true)
        .map(([name]) => `var.${name}`),
    );
    for (const [name, block] of Object.entries(json.output ?? {})) {
      const leaks: string[] = [];
      visitLeaves(block["value"], (leaf) => {
        if (typeof leaf !== "string") return;
        leaks.push(...readExpressions(leaf).references.filter((reference) => sensitive.has(reference)));
      });
      if (leaks.length > 0 && block["sensitive"] !== true) {
        yield {
          construct: `${stack.node.id}: output.${name}`,
          rule: "lost-sensitivity",
          message: `shows ${leaks.join(", ")}, which is sensitive. Mark the output sensitive, or do not publish it.`,
        };
      }
    }
    for (const { construct, block } of blocksOf(output)) {
      const found: Violation[] = [];
      visitLeaves(block, (leaf) => {
        if (typeof leaf !== "string") return;
        for (const reference of readExpressions(leaf).references) {
          const match = /^data\.terraform_remote_state\.([^.]+)\.outputs\.([^.]+)/.exec(reference);
          if (!match) continue;
          const [, producerId = "", name = ""] = match;
          const producer = byId.get(producerId);
          const read = producer?.json.output?.[name];
          if (producer && !read) {
            found.push({
              construct,
              rule: "dangling-reference",
              message: `reads output "${name}" of stack ${producerId}, which publishes no such output.`,
            });
          }
          if (read?.["sensitive"] === true) {
            found.push({
              construct,
              rule: "lost-sensitivity",
              message: `reads the sensitive output "${name}" of stack ${producerId}: its mark is lost on the way and the value would show in plans. Secrets cross no stack; read it from Vault.`,
            });
          }
        }
      });
      yield* found;
    }
  }
}

/**
 * Reads back what `app.synth()` wrote and refuses what cdktf got wrong without saying so.
 *
 * @throws SynthGuardError with every violation; the stacks and the manifest are then removed from the output folder, so that
 * nothing can deploy them
 */
export function guardOutput(app: App): void {
  const stacks = app.node.findAll().filter(TerraformStack.isStack);
  const outputs = stacks.map(
    (stack): StackOutput => ({
      stack,
      elements: stack.node.findAll().filter(TerraformElement.isTerraformElement),
      json: JSON.parse(
        readFileSync(join(app.outdir, "stacks", stack.node.id, "cdk.tf.json"), "utf8"),
      ) as Configuration,
    }),
  );
  const machinePaths = [process.cwd(), homedir()].filter((path) => path.length > 1);
  const violations = [
    ...appRules(app, stacks),
    ...outputs.flatMap((output) => [
      ...elementRules(output),
      ...droppedArguments(output),
      ...jsonRules(output, machinePaths),
    ]),
    ...crossStackRules(outputs),
  ];
  if (violations.length === 0) return;
  rmSync(join(app.outdir, "stacks"), { recursive: true, force: true });
  rmSync(join(app.outdir, "manifest.json"), { force: true });
  throw new SynthGuardError(violations);
}
