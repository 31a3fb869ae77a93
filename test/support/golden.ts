import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Template } from "./synth";

const parsed = (value: string): unknown => {
  try {
    return JSON.parse(value);
  } catch {
    return value;
  }
};

/** Policies and patterns that are JSON in a string are shown as JSON, so that a diff names the action and not a long line. */
function readable(value: unknown): unknown {
  if (typeof value === "string") {
    const opened = /^[[{]/.test(value) ? parsed(value) : value;
    // text that only begins like JSON stays text
    return opened === value ? value : readable(opened);
  }
  if (Array.isArray(value)) return value.map(readable);
  if (typeof value === "object" && value !== null) {
    return Object.fromEntries(
      Object.entries(value)
        .filter(([key]) => key !== "//")
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([key, item]) => [key, readable(item)]),
    );
  }
  return value;
}

/** A stack's JSON as a reviewer wants it: sorted, without cdktf's metadata, embedded JSON opened. */
export const normalise = (template: Template): string =>
  `${JSON.stringify(readable(template.json), null, 2)}\n`;

/** Compares a generated file with the committed one; `npm run generate` writes it instead. */
export function expectCommitted(path: string, content: string): void {
  const file = join(__dirname, "../..", path);
  if (process.env["GENERATE"]) {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, content);
  }
  expect(content).toBe(readFileSync(file, "utf8"));
}
