import type { Addressed, StackOutput, Violation } from "./output-model";

const globalRoots = new Set(["each", "count", "self", "path", "terraform"]);

/** Whether a text is one of the paths or holds something below one; `below` are the paths with a slash at the end. */
const namesMachine = (text: string, below: readonly string[]): boolean =>
  text.includes("/") && below.some((path) => text.includes(path) || path === `${text}/`);

function* textRules(
  { construct, plain, templates }: Addressed,
  below: readonly string[],
): Generator<Violation> {
  const found = [
    ...plain.filter((text) => namesMachine(text, below)),
    ...templates.map(({ text }) => text).filter((text) => namesMachine(text, below)),
  ];
  for (const text of found) {
    yield {
      construct,
      rule: "absolute-path",
      message: `contains ${JSON.stringify(text)}, a path of this machine. Use a path relative to the stack's folder.`,
    };
  }
}

function* templateRules(
  { construct, templates }: Addressed,
  known: ReadonlySet<string>,
): Generator<Violation> {
  for (const { text, sources, references, bareNames } of templates) {
    if (["TfToken[", "TFTOKEN[", "tftoken["].some((left) => text.includes(left))) {
      yield {
        construct,
        rule: "broken-token",
        message: `contains ${JSON.stringify(text)}: a string method (toUpperCase, slice, split …) ran on a token. Use the Fn of the same name.`,
      };
      continue;
    }
    if (sources.some((source) => /\bundefined\b|=\s*null\}/.test(source))) {
      yield {
        construct,
        rule: "lost-value",
        message: `contains ${JSON.stringify(text)}: a token as a map key loses its value in Fn. Use JSON.stringify, or the provider's policy document data source.`,
      };
      continue;
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
}

/** Rules over one stack's JSON. */
export function* jsonRules({ blocks }: StackOutput, machinePaths: readonly string[]): Generator<Violation> {
  const known = new Set(blocks.map(({ address }) => address));
  const below = machinePaths.map((path) => `${path}/`);
  for (const addressed of blocks) {
    const { construct, block, numbers } = addressed;
    yield* textRules(addressed, below);
    yield* templateRules(addressed, known);
    for (const { value, path } of numbers) {
      if (Math.abs(value) < 1e280) continue;
      yield {
        construct,
        rule: "number-token",
        message: `"${path}" is ${value}, what is left of a number token after arithmetic. Calculate in the expression (Token.asString), or with numbers of the configuration.`,
      };
    }
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
export function* crossStackRules(outputs: readonly StackOutput[]): Generator<Violation> {
  const byId = new Map(outputs.map((output) => [output.stack.node.id, output.json]));
  for (const { json, blocks } of outputs) {
    const sensitive = new Set(
      Object.entries(json.variable ?? {})
        .filter(([, variable]) => variable["sensitive"] === true)
        .map(([name]) => `var.${name}`),
    );
    for (const { construct, address, block, templates } of blocks) {
      const references = templates.flatMap((template) => template.references);
      const leaks = references.filter((reference) => sensitive.has(reference));
      if (address.startsWith("output.") && leaks.length > 0 && block["sensitive"] !== true) {
        yield {
          construct,
          rule: "lost-sensitivity",
          message: `shows ${leaks.join(", ")}, which is sensitive. Mark the output sensitive, or do not publish it.`,
        };
      }
      for (const reference of references) {
        const match = /^data\.terraform_remote_state\.([^.]+)\.outputs\.([^.]+)/.exec(reference);
        if (!match) continue;
        const [, producerId = "", name = ""] = match;
        const producer = byId.get(producerId);
        const read = producer?.output?.[name];
        if (producer && !read) {
          yield {
            construct,
            rule: "dangling-reference",
            message: `reads output "${name}" of stack ${producerId}, which publishes no such output.`,
          };
        }
        if (read?.["sensitive"] === true) {
          yield {
            construct,
            rule: "lost-sensitivity",
            message: `reads the sensitive output "${name}" of stack ${producerId}: its mark is lost on the way and the value would show in plans. Secrets cross no stack; read it from Vault.`,
          };
        }
      }
    }
  }
}
