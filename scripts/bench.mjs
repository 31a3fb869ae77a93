#!/usr/bin/env node
// Measures what the README promises, as ratios within one run: absolute times say more about the machine than about the code.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const usage = `Usage: node scripts/bench.mjs [--quick] [--help]

Prints wall time and peak memory of the synth against loading cdktf and constructs alone, the guard's share, the type check,
the unit tests, and the growth over 1, 10 and 50 environments in one app. Medians of 7 runs (--quick: 3), taken in turn.

Exit codes: 0 all numbers hold, 1 one does not or a command failed, 64 wrong usage.`;

const args = process.argv.slice(2);
if (args.includes("--help") || args.includes("-h")) {
  console.log(usage);
  process.exit(0);
}
const unknown = args.filter((arg) => arg !== "--quick");
if (unknown.length > 0) {
  console.error(`Unknown argument ${unknown.join(" ")}\n\n${usage}`);
  process.exit(64);
}
const runs = args.includes("--quick") ? 3 : 7;

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const { checkedProviders } = createRequire(join(root, "package.json"))("./scripts/checked-imports.cjs");
const cache = join(root, "node_modules/.cache/dagster-eks");
const folder = mkdtempSync(join(tmpdir(), "bench-"));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));

const bundledGrowth = join(folder, "growth.cjs");
await build({
  absWorkingDir: root,
  entryPoints: ["test/bench/environments.ts"],
  bundle: true,
  platform: "node",
  target: "node20",
  outfile: bundledGrowth,
  logLevel: "error",
  plugins: [checkedProviders],
});

/** Seconds and MiB of one run of node. */
function measure(nodeArgs, environment = {}) {
  const peak = join(folder, "peak");
  const started = performance.now();
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ["--require", join(root, "test/bench/peak.cjs"), ...nodeArgs],
    {
      cwd: root,
      encoding: "utf8",
      env: {
        ...process.env,
        CDKTF_OUTDIR: join(folder, "out"),
        PEAK_FILE: peak,
        PLATFORM_ENV: "prod",
        ...environment,
      },
    },
  );
  const seconds = (performance.now() - started) / 1000;
  if (status !== 0) {
    console.error(`node ${nodeArgs.join(" ")} failed:\n${stdout}${stderr}`);
    process.exit(1);
  }
  return { seconds, mib: Number(readFileSync(peak, "utf8")) / 1024, stdout };
}

const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
const medians = (results) => ({
  seconds: median(results.map((result) => result.seconds)),
  mib: median(results.map((result) => result.mib)),
});

/** Runs the commands in turn, so that a slow moment of the machine hits all of them. */
function inTurn(commands) {
  const results = Object.fromEntries(Object.keys(commands).map((name) => [name, []]));
  for (let run = 0; run < runs; run++) {
    for (const [name, command] of Object.entries(commands)) results[name].push(command());
  }
  return results;
}

let failed = 0;
const rows = [];
function row(what, measured, promise, holds) {
  if (holds === false) failed++;
  rows.push([what, measured, promise, holds === undefined ? "" : holds ? "holds" : "DOES NOT HOLD"]);
}

measure(["scripts/synth.cjs"]); // the packages are bundled once after npm ci
const synths = inTurn({
  load: () => measure(["--eval", 'require("constructs"); require("cdktf")']),
  cold: () => {
    for (const file of readdirSync(cache)) if (file.startsWith("own-")) rmSync(join(cache, file));
    return measure(["scripts/synth.cjs"]);
  },
  warm: () => measure(["scripts/synth.cjs"]),
  guard: () => measure([bundledGrowth]),
});
const [load, cold, warm] = [synths.load, synths.cold, synths.warm].map(medians);
/** Median of the ratios pair by pair: what the machine does in between cancels out. */
const ratio = (name) => median(synths[name].map(({ seconds }, run) => seconds / synths.load[run].seconds));
row("load cdktf + constructs", `${load.seconds.toFixed(2)} s, ${load.mib.toFixed(0)} MiB`, "", undefined);
row(
  "synth after a change of the code",
  `${ratio("cold").toFixed(2)} x load (${cold.seconds.toFixed(2)} s), ${cold.mib.toFixed(0)} MiB`,
  "<= 3 x load, <= 150 MiB",
  ratio("cold") <= 3 && cold.mib <= 150,
);
row(
  "synth of the same code again",
  `${ratio("warm").toFixed(2)} x load (${warm.seconds.toFixed(2)} s), ${warm.mib.toFixed(0)} MiB`,
  "<= 1.5 x load, <= 150 MiB",
  ratio("warm") <= 1.5 && warm.mib <= 150,
);
const shares = synths.guard.map(({ stdout }) => JSON.parse(stdout)).map(({ synth, guard }) => guard / synth);
row("guard", `${(100 * median(shares)).toFixed(1)} % of the synth`, "< 10 %", median(shares) < 0.1);

const growth = inTurn(
  Object.fromEntries(
    [1, 10, 50].map((n) => [n, () => measure([bundledGrowth], { ENVIRONMENTS: String(n) })]),
  ),
);
const [one, ten, fifty] = [1, 10, 50].map((n) => medians(growth[n]));
for (const [unit, digits] of [
  ["seconds", 3],
  ["mib", 1],
]) {
  const early = (ten[unit] - one[unit]) / 9;
  const late = (fifty[unit] - ten[unit]) / 40;
  const label = unit === "seconds" ? "s" : "MiB";
  row(
    `growth in ${unit === "seconds" ? "time" : "memory"}, 1 / 10 / 50 environments`,
    `${one[unit].toFixed(2)} / ${ten[unit].toFixed(2)} / ${fifty[unit].toFixed(2)} ${label}; each later one costs ${(late / early).toFixed(2)} x an early one (${late.toFixed(digits)} ${label})`,
    "<= 1.2 x (linear)",
    late / early <= 1.2,
  );
}

const typecheck = medians(
  Array.from({ length: 3 }, () => measure(["node_modules/typescript-native/bin/tsc", "--noEmit"])),
);
row("type check", `${typecheck.seconds.toFixed(1)} s`, "<= 3 s", typecheck.seconds <= 3);
const tests = measure(["node_modules/jest/bin/jest.js", "--silent"]);
row("unit tests", `${tests.seconds.toFixed(1)} s`, "<= 15 s", tests.seconds <= 15);

const widths = [0, 1, 2].map((column) => Math.max(...rows.map((cells) => cells[column].length)));
for (const cells of rows) {
  console.log(
    cells
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd(),
  );
}
process.exit(failed > 0 ? 1 : 0);
