import { existsSync, readdirSync, rmdirSync, rmSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { execa } from "execa";
import * as emulator from "./emulator.js";
import { CliError, EXIT } from "./errors.js";
import { Report, seconds, table } from "./report.js";
import { cacheDir, foreignVariables, PATHS, port, ROOT, requireLocalEnvironment } from "./settings.js";
import * as stacks from "./stacks.js";
import { type Change, Runner, type Stack } from "./stacks.js";
import { findAwsProvider, findTofu, type Tofu, writeMirror } from "./toolchain.js";

/** Two stacks at a time: more would fight for the CPU while the provider starts. */
const CONCURRENT_STACKS = 2;
const MASKED = "(sensitive)";
const AWS_SOURCE = "hashicorp/aws";

const report = new Report();

function runnerFor(tofu: Tofu): Runner {
  const runner = new Runner(tofu, report);
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => runner.interrupt());
  return runner;
}

const endpoint = () => `https://127.0.0.1:${port()}`;

/** OpenTofu and the providers: found or made, and written down for `tofu init`. */
async function prepareTools(): Promise<Tofu> {
  const tofu = await findTofu(report);
  report.line(`tofu: OpenTofu ${tofu.version} (${tofu.origin})`);
  const provider = await findAwsProvider(tofu, report);
  report.line(`provider: hashicorp/aws ${provider.version}: ${provider.reason}`);
  writeMirror({ [AWS_SOURCE]: provider });
  return tofu;
}

/** Brings emulator and state back to one moment after a kill or a crash. Needs the lock. */
async function recover(): Promise<void> {
  const cut = stacks.cutOff();
  const crashed = emulator.crashed();
  if (cut.length === 0 && !crashed) return;
  await stacks.clearCutOff(report);
  const taken = await emulator.rollBack();
  const reason =
    cut.length > 0
      ? `the last run was cut off while it changed ${cut.join(", ")}`
      : "the emulator ended without saving its state";
  const back = taken
    ? `went back to the checkpoint of ${taken}`
    : "there was no checkpoint: starting from nothing";
  report.line(`recovery: ${reason}; ${back}`);
}

export async function up(): Promise<void> {
  requireLocalEnvironment();
  const started = Date.now();
  const foreign = foreignVariables();
  const set = process.env["AWS_ENDPOINT_URL"] === endpoint(); // by `make env`
  if (foreign.length > 0 && !set)
    report.line(`ignored, the local target does not use them: ${foreign.join(", ")}`);
  const tofu = await prepareTools();
  await emulator.requirePort();
  await emulator.install(report);
  await recover();
  await emulator.start(report);
  await stacks.synthesize();
  const { applied: all, skipped } = selectStacks();
  stacks.prepareMarks();
  const runner = runnerFor(tofu);
  const rows = new Map<string, (string | number)[]>();
  const outputs = new Map<string, stacks.Outputs>();
  let saved: Promise<void> | undefined;
  const applied = async (stack: Stack, othersRunning: () => boolean) => {
    const begin = Date.now();
    await runner.init(stack);
    // a stack without a state is applied at once: what its plan says is known
    const file = stacks.resourcesInState(stack) ? join(PATHS.tofu, `${stack.name}.plan`) : undefined;
    const changes = file ? await runner.plan(stack, file) : undefined;
    let changed = 0;
    if (changes === undefined || changes.length > 0) {
      saved ??= emulator.checkpoint();
      await saved;
      changed = await runner.apply(stack, file && changes ? { file, changes } : undefined);
      // only when nothing else is half-way: a checkpoint is what a later run may have to go back to
      if (!othersRunning() && stacks.cutOff().length === 0) await emulator.checkpoint();
    }
    if (file) rmSync(file, { force: true });
    outputs.set(stack.name, await runner.outputs(stack));
    rows.set(stack.name, [
      stack.name,
      stacks.resourcesInState(stack) ?? 0,
      changed,
      Math.round((Date.now() - begin) / 1000),
    ]);
    report.line(
      `${stack.name}: ${changed === 0 ? "no changes" : `${changed} changes applied`}, ${seconds(Date.now() - begin)}`,
    );
  };
  await stacks.inOrder(all, CONCURRENT_STACKS, applied);
  const known = new Set([...all, ...skipped].map(({ name }) => name));
  const orphans = stacks.statesOnDisk().filter((name) => !known.has(name));
  for (const name of orphans) {
    report.line(
      `${name}: applied before, but no longer part of the configuration; \`make down\` discards it`,
    );
  }
  console.log(
    `\n${table(
      ["stack", "resources", "changes", "seconds"],
      all.map(({ name }) => rows.get(name) ?? [name]),
    )}\n`,
  );
  printSkipped(skipped);
  printOutputs(outputs);
  console.log(`Done in ${seconds(Date.now() - started)}.\n\n${nextSteps()}`);
}

/** The stacks of the last synth that the local target applies, and those that it cannot. */
const selectStacks = () => stacks.selectStacks(stacks.readStacks(), [AWS_SOURCE]);

function printSkipped(skipped: stacks.Selection["skipped"]): void {
  for (const { name, reason } of skipped) console.log(`skipped: ${name} ${reason}`);
  if (skipped.length > 0) console.log();
}

function printOutputs(all: ReadonlyMap<string, stacks.Outputs>): void {
  const rows = [...all].flatMap(([stack, outputs]) =>
    Object.entries(outputs).map(([name, { sensitive, value }]) => [
      `${stack}.${name}`,
      sensitive ? MASKED : typeof value === "string" ? value : JSON.stringify(value),
    ]),
  );
  if (rows.length > 0) console.log(`${table(["output", "value"], rows)}\n`);
}

function nextSteps(): string {
  return [
    "Next:",
    "  make plan                      says whether anything would change",
    `  eval "$(make -s env)"          lets aws, boto3, tofu and cdktf in this shell talk to the emulator:`,
    `                                 https://127.0.0.1:${port()}, CA ${relative(ROOT, PATHS.ca)}, region ${emulator.REGION}`,
    "  aws s3 ls                      for example, after that",
    "  make down                      destroys the stacks and removes everything",
  ].join("\n");
}

/** Returns the exit code: 0 no stack would change, 2 changes are pending. */
export async function plan(): Promise<number> {
  requireLocalEnvironment();
  port();
  if (stacks.cutOff().length > 0) {
    throw new CliError("the last run was cut off", {
      why: `it was changing: ${stacks.cutOff().join(", ")}`,
      next: "run `make up`: it goes back to the last checkpoint and applies the rest",
    });
  }
  await stacks.synthesize();
  const { applied: all, skipped } = selectStacks();
  const neverApplied = all.filter((stack) => !stacks.resourcesInState(stack));
  const pending = new Map<string, readonly Change[]>();
  for (const stack of neverApplied) {
    pending.set(
      stack.name,
      stack.resources.map((address) => ({ address, action: "create" })),
    );
  }
  if (neverApplied.length < all.length) {
    await emulator.requireAnswer();
    const tofu = await findTofu(report, { build: false });
    if (!existsSync(PATHS.tofurc)) await prepareTools();
    const runner = runnerFor(tofu);
    const rest = all.filter((stack) => !neverApplied.includes(stack));
    await stacks.inOrder(rest, CONCURRENT_STACKS, async (stack) => {
      await runner.init(stack);
      pending.set(stack.name, await runner.plan(stack));
    });
  }
  const changes = all.flatMap(({ name }) =>
    (pending.get(name) ?? []).map((change) => [name, change.action, change.address]),
  );
  printSkipped(skipped);
  if (changes.length === 0) {
    console.log(`No changes: ${all.map(({ name }) => name).join(", ")} match the configuration.`);
    return EXIT.ok;
  }
  console.log(`${table(["stack", "action", "resource"], changes)}\n`);
  const touched = all.filter(({ name }) => (pending.get(name) ?? []).length > 0).length;
  console.log(
    `${changes.length} changes are pending in ${touched} of ${all.length} stacks; \`make up\` applies them.`,
  );
  return EXIT.changes;
}

export async function down(options: { discard?: boolean }): Promise<void> {
  requireLocalEnvironment();
  const started = Date.now();
  const rows: (string | number)[][] = [];
  const states = stacks.statesOnDisk();
  if (options.discard === true) {
    await stacks.clearCutOff(report);
    if (states.length > 0) report.line(`discarded without destroying, as asked: ${states.join(", ")}`);
  } else if (states.length > 0 && emulator.running() === undefined) {
    report.line(
      `the emulator is gone, and with it what it held: the state of ${states.join(", ")} is dropped, nothing is left to destroy`,
    );
    await stacks.clearCutOff(report);
  } else if (states.length > 0) {
    await destroyAll(rows);
  }
  if ((await emulator.stop({ save: false })) === "stopped") report.line("emulator: stopped");
  removeRunData();
  if (rows.length > 0) console.log(`\n${table(["stack", "destroyed", "seconds"], rows)}\n`);
  console.log(
    `Done in ${seconds(Date.now() - started)}: no process and no file of the local target is left; built tools stay in ${cacheDir()}.`,
  );
}

async function destroyAll(rows: (string | number)[][]): Promise<void> {
  if (stacks.cutOff().length > 0) {
    await recover();
    await emulator.start(report);
  }
  await emulator.requireAnswer();
  const tofu = await prepareTools();
  // the configuration of the applied stacks: what is synthesized now may be broken, or of another environment
  await stacks.synthesize();
  stacks.prepareMarks();
  const runner = runnerFor(tofu);
  const all = stacks.reversed(stacks.readStacks());
  const applied = all.filter((stack) => stacks.resourcesInState(stack));
  await stacks.inOrder(applied, CONCURRENT_STACKS, async (stack) => {
    const begin = Date.now();
    await runner.init(stack);
    const destroyed = await runner.destroy(stack);
    rows.push([stack.name, destroyed, Math.round((Date.now() - begin) / 1000)]);
    report.line(`${stack.name}: ${destroyed} resources destroyed, ${seconds(Date.now() - begin)}`);
  });
}

/** Removes the work folder and what `tofu init` left beside the synthesized JSON; the lock goes with its holder. */
function removeRunData(): void {
  for (const name of existsSync(PATHS.work) ? readdirSync(PATHS.work) : []) {
    if (join(PATHS.work, name) !== PATHS.lock)
      rmSync(join(PATHS.work, name), { recursive: true, force: true });
  }
  const folder = join(PATHS.out, "stacks");
  for (const name of existsSync(folder) ? readdirSync(folder) : []) {
    for (const left of [".terraform", ".terraform.lock.hcl", "plan", "terraform.tfstate.backup"]) {
      rmSync(join(folder, name, left), { recursive: true, force: true });
    }
  }
}

/** After the lock is released: the work folder itself, when it is empty. */
export function removeEmptyWorkFolder(): void {
  try {
    rmdirSync(PATHS.work);
  } catch {
    // in use again, or already gone
  }
}

export async function status(): Promise<number> {
  const running = emulator.running();
  console.log(
    running
      ? `emulator  https://127.0.0.1:${running.port}, process ${running.pid}, since ${running.since}`
      : `emulator  ${emulator.crashed() ? "ended without saving its state" : "not running"}`,
  );
  const tofu = await findTofu(report, { build: false }).catch(() => undefined);
  console.log(
    `tofu      ${tofu ? `${tofu.version} (${tofu.origin}: ${tofu.path})` : "not available yet; `make up` gets it"}`,
  );
  const mirror = join(PATHS.mirror, "registry.opentofu.org", AWS_SOURCE);
  console.log(
    `provider  ${existsSync(mirror) ? `${AWS_SOURCE} ${readdirSync(mirror).join(", ")}` : "not chosen yet; `make up` does it"}`,
  );
  for (const name of stacks.cutOff()) console.log(`cut off   ${name}; \`make up\` recovers it`);
  const names = stacks.statesOnDisk();
  if (names.length > 0) {
    const rows = names.map((name) => {
      const held = stacks.resourcesInState({
        name,
        folder: "",
        dependencies: [],
        resources: [],
        providers: [],
      });
      return [name, held ?? 0];
    });
    console.log(`\n${table(["stack", "resources"], rows)}`);
  } else {
    console.log("stacks    none applied");
  }
  return running ? EXIT.ok : EXIT.unavailable;
}

export async function logs(options: { lines: string; follow?: boolean }): Promise<void> {
  if (!/^\d+$/.test(options.lines)) {
    throw new CliError(`--lines ${options.lines} is not a number of lines`, {
      why: "it must be a whole number, 0 or more",
      next: "for example: --lines 100",
      code: EXIT.usage,
    });
  }
  if (!existsSync(PATHS.awsLog)) {
    throw new CliError("there is no log", {
      why: "the emulator has not run in this checkout",
      next: "run `make up`",
      code: EXIT.unavailable,
    });
  }
  const args = ["-n", options.lines, ...(options.follow ? ["-F"] : []), PATHS.awsLog];
  await execa("tail", args, { stdio: "inherit", reject: false });
}

const quote = (value: string) => `'${value.replaceAll("'", `'\\''`)}'`;

/** Shell commands that make tofu, cdktf, the AWS CLI and boto3 talk to the emulator and to nothing else. */
export async function env(): Promise<void> {
  requireLocalEnvironment();
  const tofu = await findTofu(report, { build: false });
  if (!existsSync(PATHS.tofurc)) await prepareTools();
  const set: Record<string, string> = {
    PLATFORM_ENV: "local",
    LOCAL_AWS_PORT: String(port()),
    TERRAFORM_BINARY_NAME: "tofu",
    TF_CLI_CONFIG_FILE: PATHS.tofurc,
    CHECKPOINT_DISABLE: "1",
    // cdktf runs `providers lock`, which asks the registry unless told otherwise
    TF_CLI_ARGS_providers_lock: `-fs-mirror=${PATHS.mirror}`,
    // cdktf: no cache folder and no telemetry id in the home folder, no colours that hide messages
    CDKTF_DISABLE_PLUGIN_CACHE_ENV: "1",
    CDKTF_HOME: join(PATHS.work, "cdktf"),
    CI: "1",
    AWS_ENDPOINT_URL: endpoint(),
    AWS_CA_BUNDLE: PATHS.ca,
    AWS_ACCESS_KEY_ID: "test",
    AWS_SECRET_ACCESS_KEY: "test",
    AWS_DEFAULT_REGION: emulator.REGION,
    AWS_REGION: emulator.REGION,
    AWS_CONFIG_FILE: "/dev/null",
    AWS_SHARED_CREDENTIALS_FILE: "/dev/null",
    AWS_EC2_METADATA_DISABLED: "true",
  };
  console.log(`export PATH=${quote(dirname(tofu.path))}:"$PATH"`);
  for (const name of foreignVariables().filter((name) => !(name in set))) console.log(`unset ${name}`);
  for (const [name, value] of Object.entries(set)) console.log(`export ${name}=${quote(value)}`);
}
