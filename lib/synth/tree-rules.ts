import {
  type App,
  Aspects,
  TerraformDataSource,
  type TerraformElement,
  TerraformLocal,
  TerraformOutput,
  TerraformProvider,
  TerraformResource,
  type TerraformStack,
  Token,
} from "cdktf";
import type { IConstruct } from "constructs";
import { elementAddress } from "./address";
import { booleanReadsOf, configurationOf } from "./checked";
import { isRecord, type StackOutput, type Violation, visitLeaves } from "./output-model";

/** Rules over the app: what is above the stacks. */
export function* appRules(app: App, stacks: readonly TerraformStack[]): Generator<Violation> {
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

/** Rules over the elements of one stack. */
export function* elementRules({ stack, elements }: StackOutput): Generator<Violation> {
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
          message: `"${path()}" is a number token, and arithmetic on one vanishes without a trace. Pass a number of the configuration, or an expression as a string (Token.asString).`,
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
          "was not built through a checked import, so dropped arguments would go unnoticed. Synthesize with scripts/synth.cjs (npm run synth).",
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

const canonicalKeys = new Map<string, string>();

/** A key without what differs between cdktf's camelCase and OpenTofu's snake_case. */
function canonical(key: string): string {
  let known = canonicalKeys.get(key);
  if (known === undefined) {
    known = key.replaceAll("_", "").toLowerCase();
    canonicalKeys.set(key, known);
  }
  return known;
}

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

/** Arguments that a provider class was given and did not write. */
export function* droppedArguments({ elements, json }: StackOutput): Generator<Violation> {
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
