import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

const root = join(__dirname, "../..");

describe("the layout rules refuse", () => {
  const cases: [name: string, files: Record<string, string>, rules: string[]][] = [
    [
      "lib that knows a stack",
      { "stacks/a.ts": "export const a = 1;", "lib/x/index.ts": 'export { a } from "../../stacks/a";' },
      ["lib-knows-no-stack"],
    ],
    [
      "lib that knows the configuration",
      {
        "config/versions.ts": "export const a = 1;",
        "lib/x/index.ts": 'export { a } from "../../config/versions";',
      },
      ["lib-knows-no-stack"],
    ],
    [
      "a folder of lib that reaches into another",
      {
        "lib/x/inner.ts": "export const a = 1;",
        "lib/x/index.ts": 'export { a } from "./inner";',
        "lib/y/index.ts": 'export { a } from "../x/inner";',
      },
      ["no-reaching-into-another-folder-of-lib"],
    ],
    [
      "a stack that reaches into lib",
      {
        "lib/x/inner.ts": "export const a = 1;",
        "lib/x/index.ts": 'export { a } from "./inner";',
        "stacks/s.ts": 'export { a } from "../lib/x/inner";',
      },
      ["lib-from-outside-through-its-index"],
    ],
    [
      "a circle",
      {
        "lib/x/index.ts": 'export { b } from "./b"; export const a = 1;',
        "lib/x/b.ts": 'export { a as b } from "./index";',
      },
      ["no-circular"],
    ],
    ["a file that nothing imports", { "lib/x/alone.ts": "export const a = 1;" }, ["no-orphans"]],
    [
      "a provider's index",
      {
        "node_modules/@cdktf/provider-aws/package.json":
          '{"name":"@cdktf/provider-aws","main":"lib/index.js"}',
        "node_modules/@cdktf/provider-aws/lib/index.js": "exports.Vpc = 1;",
        "lib/x/index.ts": 'export { Vpc } from "@cdktf/provider-aws";',
      },
      ["no-provider-index"],
    ],
    [
      "what is right: nothing",
      {
        "lib/x/inner.ts": "export const a = 1;",
        "lib/x/index.ts": 'export { a } from "./inner";',
        "stacks/s.ts": 'export { a } from "../lib/x";',
      },
      [],
    ],
  ];

  /** Broken rules of each case, found in trees of our layout with its files. */
  let found: string[][] = [];
  const folder = mkdtempSync(join(tmpdir(), "layout-"));

  beforeAll(() => {
    const trees = cases.map(([, files], index) => {
      const tree = join(folder, String(index));
      for (const name of [
        "main.ts",
        "lib/.keep",
        "stacks/.keep",
        "config/.keep",
        "local/.keep",
        ...Object.keys(files),
      ]) {
        mkdirSync(join(tree, dirname(name)), { recursive: true });
        writeFileSync(join(tree, name), files[name] ?? "");
      }
      return tree;
    });
    const { stdout, stderr } = spawnSync(process.execPath, ["test/support/cruise.mjs", ...trees], {
      cwd: root,
      encoding: "utf8",
    });
    if (!stdout) throw new Error(stderr);
    found = JSON.parse(stdout);
  }, 20_000);
  afterAll(() => rmSync(folder, { recursive: true }));

  test.each(cases.map(([name, , rules], index) => [name, rules, index] as const))(
    "%s",
    (_name, rules, index) => {
      expect(found[index]).toEqual(rules);
    },
  );
});
