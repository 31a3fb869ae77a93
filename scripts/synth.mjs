#!/usr/bin/env node
// Synthesizes main.ts: the `app` of cdktf.json and of `npm run synth`. Nothing is type-checked here (npm run typecheck does).
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { Script } from "node:vm";

const usage = `Usage: node scripts/synth.mjs [--help]

Writes the stacks of one environment to cdktf.out (CDKTF_OUTDIR) as JSON for OpenTofu.

  PLATFORM_ENV      local (default), dev or prod
  PLATFORM_CONFIG   a JSON file with another environment (config/environment.schema.json)
  LOCAL_AWS_PORT    port of the AWS emulator in local, default 4566

Exit codes: 0 written, 1 refused (configuration or output), 64 wrong usage.`;

const args = process.argv.slice(2);
if (args.length > 0) {
  const help = args.length === 1 && ["--help", "-h"].includes(args[0]);
  (help ? console.log : console.error)(help ? usage : `Unknown argument ${args.join(" ")}\n\n${usage}`);
  process.exit(help ? 0 : 64);
}

// cdktf records where each token was made, for messages that nobody reads here: a third of the synth's time.
const { captureStackTrace } = Error;
Error.captureStackTrace = (target, ...rest) => {
  if (target instanceof Error) captureStackTrace.call(Error, target, ...rest);
};

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const require = createRequire(join(root, "main.ts"));

/** Everything that the synth reads, and the lock file for everything that it imports. */
const sources = ["main.ts", "config", "lib", "stacks", "scripts", "vault-secrets.json", "package-lock.json"];

/** Digest of the names and contents below a path. */
function digest(hash, path) {
  hash.update(`${path}\0`);
  const file = join(root, path);
  if (statSync(file).isDirectory()) for (const name of readdirSync(file).sort()) digest(hash, `${path}/${name}`);
  else hash.update(readFileSync(file));
  return hash;
}

const writeWhole = (file, content) => {
  writeFileSync(`${file}.${process.pid}`, content);
  renameSync(`${file}.${process.pid}`, file);
};

/** The bundle of these sources: built once, kept by their digest, so that the next synth of the same code only runs it. */
async function bundled() {
  const folder = join(root, "node_modules/.cache/dagster-eks");
  const key = sources.reduce(digest, createHash("sha256")).digest("hex").slice(0, 20);
  const file = join(folder, `${key}.cjs`);
  if (!existsSync(file)) {
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
    const { build } = await import("esbuild");
    const { outputFiles } = await build({
      absWorkingDir: root,
      entryPoints: ["main.ts"],
      bundle: true,
      platform: "node",
      target: "node20",
      logLevel: "error",
      plugins: [require("./scripts/checked-imports.cjs").checkedProviders],
      write: false,
    });
    writeWhole(file, outputFiles[0].contents);
  }
  return file;
}

try {
  const file = await bundled();
  const compiled = `${file}.${process.version}.v8`;
  const cachedData = existsSync(compiled) ? readFileSync(compiled) : undefined;
  const script = new Script(`(function (require, module, exports) {${readFileSync(file, "utf8")}\n})`, {
    filename: file,
    cachedData,
  });
  // cdktf's own CLI removes stacks that no longer exist; a plain run must, too
  rmSync(join(process.env.CDKTF_OUTDIR ?? "cdktf.out", "stacks"), { recursive: true, force: true });
  const main = { exports: {} };
  script.runInThisContext()(require, main, main.exports);
  if (cachedData === undefined || script.cachedDataRejected) writeWhole(compiled, script.createCachedData());
} catch (error) {
  if (process.env.DEBUG) throw error;
  console.error(`\n${error.name}: ${error.message}\n\n(DEBUG=1 shows where it was thrown.)`);
  process.exit(1);
}
