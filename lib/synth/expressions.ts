/** What the guard needs to know of the `${…}` expressions in a string of synthesized JSON. */
export interface Expressions {
  /** Source of each expression, string literals blanked out; nested templates are expressions of their own. */
  readonly sources: readonly string[];
  /** Dotted names such as `aws_vpc.main.id`, in order. */
  readonly references: readonly string[];
  /** Names without a dot that are neither a keyword nor a function call: a literal `${…}` that was not escaped. */
  readonly bareNames: readonly string[];
}

const keywords = new Set(["true", "false", "null", "for", "in", "if", "else", "endif", "endfor"]);

/** Splits a template string into its expressions; `$${` and `%%{` are escapes. */
function expressionSources(template: string): string[] {
  const sources: string[] = [];
  let i = 0;

  const quoted = (): void => {
    i++; // the opening quote
    while (i < template.length && template[i] !== '"') {
      if (template[i] === "\\") i += 2;
      else if (!interpolation()) i++;
    }
    i++; // the closing quote
  };

  const interpolation = (): boolean => {
    if (template.startsWith("$${", i) || template.startsWith("%%{", i)) {
      i += 3;
      return true;
    }
    if (!template.startsWith("${", i) && !template.startsWith("%{", i)) return false;
    i += 2;
    const slot = sources.push("") - 1;
    let source = "";
    let depth = 1;
    while (i < template.length) {
      const character = template[i] ?? "";
      if (character === '"') {
        quoted();
        source += '""';
        continue;
      }
      if (character === "{") depth++;
      if (character === "}" && --depth === 0) break;
      source += character;
      i++;
    }
    i++; // the closing brace
    sources[slot] = source;
    return true;
  };

  // most of a template is plain text: go from one marker to the next
  const marker = /\$\$\{|%%\{|[$%]\{/g;
  for (;;) {
    marker.lastIndex = i;
    const next = marker.exec(template);
    if (!next) return sources;
    i = next.index;
    interpolation();
  }
}

/** Reads the expressions of one string. */
export function readExpressions(template: string): Expressions {
  if (!template.includes("${") && !template.includes("%{"))
    return { sources: [], references: [], bareNames: [] };
  const sources = expressionSources(template);
  const references: string[] = [];
  const bareNames: string[] = [];
  for (const source of sources) {
    const loopVariables = new Set(
      [...source.matchAll(/\bfor\s+([A-Za-z_]\w*)(?:\s*,\s*([A-Za-z_]\w*))?\s+in\b/g)].flatMap((match) =>
        match.slice(1),
      ),
    );
    for (const match of source.matchAll(
      /(?<![\w.\]-])([A-Za-z_][\w-]*)((?:\.[A-Za-z_*][\w-]*)*)(\s*[(=:])?/g,
    )) {
      const [, root = "", rest = "", next = ""] = match;
      if (keywords.has(root) || loopVariables.has(root)) continue;
      if (rest) references.push(root + rest);
      // a name before `(` is a function, before `=` or `:` a key of an object
      else if (next.trim() === "") bareNames.push(root);
    }
  }
  return { sources, references, bareNames };
}
