import { readFileSync } from "node:fs";
import { join } from "node:path";
import { TerraformElement, type TerraformStack } from "cdktf";
import { type Expressions, readExpressions } from "./expressions";

/** One thing that cdktf would have let pass. */
export interface Violation {
  /** Path of the construct, or `stack: block` where cdktf keeps no path. */
  readonly construct: string;
  readonly rule: string;
  readonly message: string;
}

export type Block = Readonly<Record<string, unknown>>;
type Named = Readonly<Record<string, Block>>;

/** The parts of a cdk.tf.json that the guard reads. */
export interface Configuration {
  readonly terraform?: Block;
  readonly provider?: Readonly<Record<string, readonly Block[]>>;
  readonly variable?: Named;
  readonly locals?: Block;
  readonly output?: Named;
  readonly resource?: Readonly<Record<string, Named>>;
  readonly data?: Readonly<Record<string, Named>>;
  readonly module?: Named;
}

/** A block of the JSON with the name to report it by, its address and what its strings say. */
export interface Addressed {
  readonly construct: string;
  readonly address: string;
  readonly block: Block;
  /** Every string of the block that holds a template, read. */
  readonly templates: readonly (Expressions & { readonly text: string })[];
  /** Every other string. */
  readonly plain: readonly string[];
  /** Every number, with its path. */
  readonly numbers: readonly { readonly value: number; readonly path: string }[];
}

export interface StackOutput {
  readonly stack: TerraformStack;
  readonly elements: readonly TerraformElement[];
  readonly json: Configuration;
  readonly blocks: readonly Addressed[];
}

export const isRecord = (value: unknown): value is Block =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/**
 * Visits every leaf of a plain tree; instances of classes other than Object are leaves (constructs, tokens). The path is
 * built only when someone asks for it: most leaves are fine.
 */
export function visitLeaves(
  value: unknown,
  visit: (leaf: unknown, path: () => string) => void,
  keys: (string | number)[] = [],
): void {
  if (Array.isArray(value)) {
    value.forEach((item, index) => {
      keys.push(index);
      visitLeaves(item, visit, keys);
      keys.pop();
    });
  } else if (isRecord(value) && Object.getPrototypeOf(value) === Object.prototype) {
    for (const key in value) {
      keys.push(key);
      visitLeaves(value[key], visit, keys);
      keys.pop();
    }
  } else {
    visit(value, () =>
      keys
        .map((key) => (typeof key === "number" ? `[${key}]` : `.${key}`))
        .join("")
        .replace(/^\./, ""),
    );
  }
}

function readBlock(construct: string, address: string, block: Block): Addressed {
  const templates: Addressed["templates"][number][] = [];
  const plain: string[] = [];
  const numbers: Addressed["numbers"][number][] = [];
  const { "//": _metadata, ...content } = block;
  visitLeaves(content, (leaf, path) => {
    if (typeof leaf === "number" && !Number.isSafeInteger(leaf)) numbers.push({ value: leaf, path: path() });
    if (typeof leaf !== "string") return;
    if (leaf.includes("${") || leaf.includes("%{")) templates.push({ text: leaf, ...readExpressions(leaf) });
    else plain.push(leaf);
  });
  return { construct, address, block, templates, plain, numbers };
}

/** Every addressable block of a stack's JSON. */
function readBlocks(id: string, json: Configuration): Addressed[] {
  const named = (kind: string, blocks: Named | undefined): Addressed[] =>
    Object.entries(blocks ?? {}).map(([name, block]) => {
      const metadata = (block["//"] as { metadata?: { path?: string } } | undefined)?.metadata;
      return readBlock(metadata?.path ?? `${id}: ${kind}.${name}`, `${kind}.${name}`, block);
    });
  return [
    ...Object.entries(json.resource ?? {}).flatMap(([type, blocks]) => named(type, blocks)),
    ...Object.entries(json.data ?? {}).flatMap(([type, blocks]) => named(`data.${type}`, blocks)),
    ...named("var", json.variable),
    ...named("output", json.output),
    ...named("module", json.module),
    ...Object.entries(json.locals ?? {}).map(([name, value]) =>
      readBlock(`${id}: local.${name}`, `local.${name}`, { value }),
    ),
    ...Object.entries(json.provider ?? {}).flatMap(([type, blocks]) =>
      blocks.map((block) => readBlock(`${id}: provider.${type}`, `provider.${type}`, block)),
    ),
    ...(json.terraform ? [readBlock(`${id}: terraform`, "terraform", json.terraform)] : []),
  ];
}

/** Reads back what a stack wrote. */
export function readOutput(outdir: string, stack: TerraformStack): StackOutput {
  const { id } = stack.node;
  const json = JSON.parse(readFileSync(join(outdir, "stacks", id, "cdk.tf.json"), "utf8")) as Configuration;
  return {
    stack,
    elements: stack.node.findAll().filter(TerraformElement.isTerraformElement),
    json,
    blocks: readBlocks(id, json),
  };
}
