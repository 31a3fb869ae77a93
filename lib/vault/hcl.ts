/** A value of an HCL attribute, or blocks: `["tcp", {…}]` is a labelled block, a list of bodies is repeated blocks. */
type Attribute = string | number | boolean;
export type HclBody = { readonly [name: string]: Attribute | HclBlock | readonly HclBlock[] };
export interface HclBlock {
  readonly label?: string;
  readonly body: HclBody;
}

const isBlock = (value: unknown): value is HclBlock =>
  typeof value === "object" && value !== null && "body" in value;

/**
 * Text in HCL, as Vault reads its configuration. The chart wants text: it decides by another value whether a map is one
 * (hashicorp/vault-helm, server-config-configmap). Strings must hold neither quotes nor braces that Helm would evaluate.
 *
 * @throws Error when a string holds a quote, a backslash, a line break or `{{`
 */
export function hcl(body: HclBody, indent = ""): string {
  const lines: string[] = [];
  for (const [name, value] of Object.entries(body)) {
    const blocks = isBlock(value)
      ? [value]
      : Array.isArray(value)
        ? (value as readonly HclBlock[])
        : undefined;
    if (blocks === undefined) {
      if (typeof value === "string" && /["\\\n]|\{\{/.test(value)) {
        throw new Error(
          `${name} is ${JSON.stringify(value)}; a value of Vault's configuration holds no quotes, backslashes, line breaks or {{`,
        );
      }
      lines.push(`${indent}${name} = ${typeof value === "string" ? `"${value}"` : String(value)}`);
      continue;
    }
    for (const block of blocks) {
      const head = `${indent}${name}${block.label ? ` "${block.label}"` : ""}`;
      const inner = hcl(block.body, `${indent}  `);
      lines.push(inner === "" ? `${head} {}` : `${head} {\n${inner}\n${indent}}`);
    }
  }
  return lines.join("\n");
}
