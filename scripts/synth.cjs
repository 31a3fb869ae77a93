#!/usr/bin/env node
// Synthesizes main.ts: the `app` of cdktf.json and of `npm run synth`. Nothing is type-checked here (npm run typecheck does).
// CommonJS, because the loader of ECMAScript modules takes a tenth of the time of a synth.
const { createHash } = require("node:crypto");
const {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} = require("node:fs");
const { isBuiltin } = require("node:module");
const { basename, join } = require("node:path");
const { Script } = require("node:vm");

const usage = `Usage: node scripts/synth.cjs [--help]

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

const root = join(__dirname, "..");

const cache = join(root, "node_modules/.cache/dagster-eks");

/** Everything of ours that the synth runs. */
const sources = ["main.ts", "config", "lib", "stacks", "scripts", "vault-secrets.json"];

/** Adds the names and contents below a path. */
function addTo(hash, path) {
  hash.update(`${path}\0`);
  const file = join(root, path);
  if (statSync(file).isDirectory())
    for (const name of readdirSync(file).sort()) addTo(hash, `${path}/${name}`);
  else hash.update(readFileSync(file));
  return hash;
}

const digest = (hash) => hash.digest("hex").slice(0, 16);

/** Writes `kind-key…` into the cache, whole or not at all, and drops what other keys of that kind left there. */
function keep(file, content) {
  mkdirSync(cache, { recursive: true });
  writeFileSync(`${file}.${process.pid}`, content);
  renameSync(`${file}.${process.pid}`, file);
  const [current] = basename(file).split(".");
  for (const name of readdirSync(cache)) {
    if (name.startsWith(current.split("-")[0]) && !name.startsWith(current))
      rmSync(join(cache, name), { force: true });
  }
}

const esbuild = (options) =>
  require("esbuild").build({
    absWorkingDir: root,
    bundle: true,
    platform: "node",
    target: "node20",
    logLevel: "error",
    write: false,
    ...options,
  });

/** Our code as one module, and the packages that it imports: built when the code has changed. */
async function ownCode() {
  const file = join(cache, `own-${digest(sources.reduce(addTo, createHash("sha256")))}.json`);
  if (existsSync(file)) return { file, ...JSON.parse(readFileSync(file, "utf8")) };
  const { outputFiles, metafile } = await esbuild({
    entryPoints: ["main.ts"],
    packages: "external",
    metafile: true,
    plugins: [require("./checked-imports.cjs").checkedProviders],
  });
  const [{ imports }] = Object.values(metafile.outputs);
  const external = imports.filter(({ path }) => !isBuiltin(path)).map(({ path }) => path);
  const own = { code: outputFiles[0].text, packages: [...new Set(external)].sort() };
  keep(file, JSON.stringify(own));
  return { file, ...own };
}

/** The imported packages as one file: built when an import or the lock file has changed. */
async function packages(names) {
  const hash = createHash("sha256").update(names.join("\0"));
  const file = join(cache, `packages-${digest(addTo(hash, "package-lock.json"))}.cjs`);
  if (!existsSync(file)) {
    const entries = names.map((name) => `${JSON.stringify(name)}: () => require(${JSON.stringify(name)})`);
    const { outputFiles } = await esbuild({
      stdin: { contents: `module.exports = { ${entries.join(", ")} }`, resolveDir: root },
      minifyWhitespace: true,
    });
    keep(file, outputFiles[0].contents);
  }
  return file;
}

/** Runs a CommonJS file with V8's compiled code from the last time; returns its exports and how to keep that code. */
function run(file, content, requireFrom) {
  const compiled = `${file}.${process.version}.v8`;
  const cachedData = existsSync(compiled) ? readFileSync(compiled) : undefined;
  const script = new Script(`(function (require, module, exports) {${content}\n})`, {
    filename: file,
    cachedData,
  });
  const module = { exports: {} };
  script.runInThisContext()(requireFrom, module, module.exports);
  return {
    exports: module.exports,
    keepCompiled: () => {
      if (cachedData === undefined || script.cachedDataRejected) keep(compiled, script.createCachedData());
    },
  };
}

async function main() {
  const own = await ownCode();
  const file = await packages(own.packages);
  const bundled = run(file, readFileSync(file, "utf8"), require);
  // cdktf's own CLI removes stacks that no longer exist; a plain run must, too
  rmSync(join(process.env.CDKTF_OUTDIR ?? "cdktf.out", "stacks"), { recursive: true, force: true });
  const app = run(own.file, own.code, (name) => bundled.exports[name]?.() ?? require(name));
  bundled.keepCompiled();
  app.keepCompiled();
}

main().catch((error) => {
  console.error(
    process.env.DEBUG ? error : `\n${error.name}: ${error.message}\n\n(DEBUG=1 shows where it was thrown.)`,
  );
  process.exitCode = 1;
});
