#!/usr/bin/env node
// Runs every part of the tests, counts them, and ends with the line `N passed, N failed, N skipped`.
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const temporary = mkdtempSync(join(tmpdir(), "dagster-eks-test-"));
process.on("exit", () => rmSync(temporary, { recursive: true, force: true }));

/** Runs a command with its output shown (quiet: only stderr); resolves with its exit code and, when asked, its stdout. */
function run(command, args, { capture = false, quiet = false } = {}) {
  return new Promise((resolve) => {
    let text = "";
    const child = spawn(command, args, {
      cwd: root,
      stdio: ["ignore", capture ? "pipe" : quiet ? "ignore" : "inherit", "inherit"],
    });
    child.stdout?.on("data", (data) => {
      text += data;
      process.stdout.write(data);
    });
    child.on("error", (error) => resolve({ code: 127, text: error.message }));
    child.on("close", (code, signal) => resolve({ code: code ?? 1, text, signal }));
  });
}

/** A check that passes or fails as a whole. */
const check = (command, args) => async () => {
  const { code } = await run(command, args);
  return { passed: code === 0 ? 1 : 0, failed: code === 0 ? 0 : 1, skipped: 0 };
};

/** Jest counts; a skipped test carries its reason in its name: `what it shows [why it cannot run here]`. */
const jest = (name, args) => async () => {
  const file = join(temporary, `${name}.json`);
  const { code } = await run(process.execPath, [
    join(root, "node_modules/jest/bin/jest.js"),
    ...args,
    "--json",
    `--outputFile=${file}`,
  ]);
  if (!existsSync(file))
    return { passed: 0, failed: 1, skipped: 0, note: `jest ended with ${code} and no result` };
  const result = JSON.parse(readFileSync(file, "utf8"));
  const tests = result.testResults.flatMap((suite) => suite.assertionResults);
  const skipped = tests.filter(({ status }) => ["pending", "todo", "skipped", "disabled"].includes(status));
  // a suite that cannot even be loaded has no tests, and must not count as none failed
  const failed = result.numFailedTests + result.numRuntimeErrorTestSuites;
  return {
    passed: result.numPassedTests,
    failed: failed === 0 && code !== 0 ? 1 : failed,
    skipped: skipped.length,
    skippedNames: skipped.map(({ fullName }) => fullName),
  };
};

/** The servers' tools, built when the cache lacks them: beforehand, so that the progress of minutes is seen. */
async function local() {
  const tsx = join(root, "node_modules/.bin/tsx");
  for (const args of [
    ["test/local/support/providers.mts"],
    ["local/tools.ts", "etcd", "kube-apiserver", "kubectl", "helm", "amtool"],
  ]) {
    const { code } = await run(tsx, args, { quiet: true });
    if (code !== 0) return { passed: 0, failed: 1, skipped: 0, note: "its tools are not available" };
  }
  return jest("local", ["--config", "test/local/jest.config.cjs", "--runInBand"])();
}

const COUNTS = /^(\d+) passed, (\d+) failed, (\d+) skipped$/;

async function apps() {
  const { code, text } = await run("make", ["-s", "-C", "apps", "test"], { capture: true });
  const lines = text.trim().split("\n");
  const match = COUNTS.exec(lines.at(-1) ?? "");
  if (!match)
    return { passed: 0, failed: 1, skipped: 0, note: `apps/ ended with ${code} and no line of counts` };
  const [passed, failed, skipped] = match.slice(1).map(Number);
  return {
    passed,
    failed: failed === 0 && code !== 0 ? 1 : failed,
    skipped,
    skippedNames: lines.filter((line) => /^SKIPPED /.test(line)).map((line) => line.slice("SKIPPED ".length)),
  };
}

const parts = new Map([
  ["typecheck", check("npm", ["run", "--silent", "typecheck"])],
  ["lint", check("npm", ["run", "--silent", "lint"])],
  ["unit", jest("unit", [])],
  ["local", local],
  ...(existsSync(join(root, "apps/Makefile")) ? [["apps", apps]] : []),
]);

const usage = `Usage: node scripts/test.mjs [PART…]

Runs the parts named, or all of them, in this order: ${[...parts.keys()].join(", ")}.
The part \`local\` applies the stacks to an AWS emulator of its own, in a copy of this tree (some minutes).

Exit codes: 0 all passed, 1 something failed or a part ran no test, 64 wrong usage.`;

const wanted = process.argv.slice(2);
if (wanted.some((name) => ["-h", "--help"].includes(name))) {
  console.log(usage);
  process.exit(0);
}
const unknown = wanted.filter((name) => !parts.has(name));
if (unknown.length > 0) {
  console.error(`There is no part ${unknown.join(", ")}.\n\n${usage}`);
  process.exit(64);
}

const rows = [];
const skippedNames = [];
for (const [name, part] of parts) {
  if (wanted.length > 0 && !wanted.includes(name)) continue;
  console.log(`\n== ${name}`);
  const started = Date.now();
  const result = await part();
  if (result.passed + result.failed === 0) {
    result.failed = 1;
    result.note = "it ran no test";
  }
  rows.push({ name, seconds: Math.round((Date.now() - started) / 1000), ...result });
  skippedNames.push(...(result.skippedNames ?? []).map((test) => `${name}: ${test}`));
}

console.log("\npart       seconds  passed  failed  skipped");
for (const { name, seconds, passed, failed, skipped, note } of rows) {
  const columns = [seconds, passed, failed, skipped].map((value, i) =>
    String(value).padStart([7, 6, 6, 7][i]),
  );
  console.log(`${name.padEnd(9)}  ${columns.join("  ")}${note ? `  ${note}` : ""}`);
}
if (skippedNames.length > 0) console.log(`\nskipped:\n${skippedNames.map((name) => `  ${name}`).join("\n")}`);
const sum = (key) => rows.reduce((total, row) => total + row[key], 0);
console.log(`\n${sum("passed")} passed, ${sum("failed")} failed, ${sum("skipped")} skipped`);
process.exitCode = sum("failed") > 0 ? 1 : 0;
