/** A value as it goes into a Helm value or a Kubernetes object. */
export type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json };

const isMap = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** What is a template to OpenTofu but not an expression of cdktf, as literal text. */
const literal = (text: string): string =>
  text.replace(/\$\{(?!TfToken\[)/g, () => "$${").replaceAll("%{", "%%{");

/**
 * A value as JSON (which is YAML), the same whatever the order it was built in: sorted keys, no undefined, and with `${` and
 * `%{` escaped, because OpenTofu would evaluate them.
 */
export function document(value: unknown): string {
  const ordered = (item: unknown): unknown => {
    if (typeof item === "string") return literal(item);
    if (Array.isArray(item)) return item.map(ordered);
    if (!isMap(item)) return item;
    return Object.fromEntries(
      Object.keys(item)
        .sort()
        .filter((key) => item[key] !== undefined)
        .map((key) => [literal(key), ordered(item[key])]),
    );
  };
  return JSON.stringify(ordered(value), null, 2);
}

/** Merges maps, the last one wins; lists and plain values are replaced as a whole, as Helm does it. */
export function merged(
  base: Readonly<Record<string, unknown>>,
  over: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  const result: Record<string, unknown> = { ...base };
  for (const [key, value] of Object.entries(over)) {
    const before = result[key];
    result[key] = isMap(before) && isMap(value) ? merged(before, value) : value;
  }
  return result;
}
