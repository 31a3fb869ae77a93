import { spawnSync } from "node:child_process";
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const root = join(__dirname, "..");

describe("npm run synth, which is what cdktf runs", () => {
  const synth = (environment: Record<string, string>, ...args: string[]) => {
    const outdir = mkdtempSync(join(tmpdir(), "cli-"));
    const { PLATFORM_ENV: _env, PLATFORM_CONFIG: _config, ...inherited } = process.env;
    const result = spawnSync(process.execPath, ["scripts/synth.cjs", ...args], {
      cwd: root,
      encoding: "utf8",
      env: { ...inherited, CDKTF_OUTDIR: outdir, ...environment },
    });
    return { ...result, outdir };
  };

  test("is the app of cdktf.json", () => {
    const { app, language } = JSON.parse(readFileSync(join(root, "cdktf.json"), "utf8"));
    const { scripts } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
    expect([app, language]).toEqual([scripts.synth, "typescript"]);
  });

  test("writes the manifest and the stacks, and removes stacks that no longer exist", () => {
    const { status, stderr, outdir } = synth({});
    expect([status, stderr]).toEqual([0, ""]);
    const { stacks } = JSON.parse(readFileSync(join(outdir, "manifest.json"), "utf8"));
    expect(Object.keys(stacks).sort()).toEqual(["cluster", "data", "network", "platform"]);
    expect([stacks.data.dependencies, stacks.cluster.dependencies, stacks.platform.dependencies]).toEqual([
      ["network"],
      ["network", "data"],
      ["cluster"],
    ]);
    mkdirSync(join(outdir, "stacks/old"));
    expect(synth({ CDKTF_OUTDIR: outdir }).status).toBe(0);
    expect(readdirSync(join(outdir, "stacks")).sort()).toEqual(["cluster", "data", "network", "platform"]);
  });

  describe("on changed code", () => {
    const copy = mkdtempSync(join(tmpdir(), "changed-"));
    beforeAll(() => {
      const read = [
        "main.ts",
        "config",
        "lib",
        "stacks",
        "scripts",
        "vault-secrets.json",
        "package.json",
        "package-lock.json",
      ];
      for (const path of read) cpSync(join(root, path), join(copy, path), { recursive: true });
      symlinkSync(join(root, "node_modules"), join(copy, "node_modules"));
    });
    afterAll(() => rmSync(copy, { recursive: true }));

    /** The written text of the data stack. */
    const dataStack = (): string => {
      const { status, stderr } = spawnSync(process.execPath, ["scripts/synth.cjs"], {
        cwd: copy,
        encoding: "utf8",
        env: { ...process.env, PLATFORM_ENV: "local", CDKTF_OUTDIR: join(copy, "cdktf.out") },
      });
      expect([status, stderr]).toEqual([0, ""]);
      return readFileSync(join(copy, "cdktf.out/stacks/data/cdk.tf.json"), "utf8");
    };
    const edit = (path: string, change: (code: string) => string) => {
      const file = join(copy, path);
      const before = readFileSync(file, "utf8");
      const after = change(before);
      expect(after).not.toBe(before);
      writeFileSync(file, after);
    };

    test("sees a change, although it keeps what it built", () => {
      expect(dataStack()).toContain("The 5 newest images stay");
      expect(dataStack()).toContain("The 5 newest images stay");
      edit("config/local.ts", (code) => code.replace("imagesKept: 5", "imagesKept: 7"));
      expect(dataStack()).toContain("The 7 newest images stay");
    });

    test("writes the same bytes when a variable is renamed and lines are reordered", () => {
      const before = dataStack();
      edit("stacks/data.ts", (code) =>
        code
          .replaceAll(/\bproductsKey\b/g, "renamedKey")
          .replaceAll(/\bbackups\b(?= =|\.bucket)/g, "renamedBucket"),
      );
      edit("stacks/data.ts", (code) => {
        // the two repositories and the two middle keys change places
        const swap = (text: string, first: RegExp, second: RegExp) => {
          const [one = "", other = ""] = [first.exec(text)?.[0], second.exec(text)?.[0]];
          expect([one, other]).not.toContain("");
          return text.replace(one, "@@").replace(other, one).replace("@@", other);
        };
        return swap(
          swap(code, /^ +const dagsterImages = .*$/m, /^ +const apiImages = .*$/m),
          /^ +const backupKey = .*$/m,
          /^ +const databaseKey = .*$/m,
        );
      });
      expect(dataStack()).toBe(before);
    });
  });

  test("says what is wrong with a configuration, without a stack trace", () => {
    const { status, stderr } = synth({ PLATFORM_ENV: "staging" });
    expect(status).toBe(1);
    expect(stderr).toContain('value  "staging"');
    expect(stderr).not.toMatch(/^\s+at /m);
    expect(synth({ PLATFORM_ENV: "staging", DEBUG: "1" }).stderr).toMatch(/^\s+at /m);
  });

  test("explains itself, and refuses arguments that it does not know", () => {
    expect(synth({}, "--help")).toMatchObject({ status: 0, stdout: expect.stringContaining("PLATFORM_ENV") });
    expect(synth({}, "prod")).toMatchObject({
      status: 64,
      stderr: expect.stringContaining("Unknown argument prod"),
    });
  });

  test("refuses provider classes that were imported around the check", () => {
    // what ts-node main.ts would do: no rewriting of the imports
    const script = `
      require("esbuild").buildSync({ entryPoints: ["main.ts"], bundle: true, packages: "external", platform: "node",
        outfile: process.env.CDKTF_OUTDIR + "/main.js" });
      module.paths.unshift(process.cwd() + "/node_modules");
      require("node:vm").compileFunction(require("node:fs").readFileSync(process.env.CDKTF_OUTDIR + "/main.js", "utf8"),
        ["require", "module", "exports"])(require, module, exports);`;
    const outdir = mkdtempSync(join(tmpdir(), "unchecked-"));
    const { status, stderr } = spawnSync(process.execPath, ["-e", script], {
      cwd: root,
      encoding: "utf8",
      env: { ...process.env, CDKTF_OUTDIR: outdir, PLATFORM_ENV: "local" },
    });
    expect(status).toBe(1);
    expect(stderr).toContain("unchecked-import: was not built through a checked import");
  });
});
