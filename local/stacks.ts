import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { execa } from "execa";
import { CliError, EXIT } from "./errors.js";
import { endGroupLeftovers, endProcess, isAlive, type ProcessRef, readJson, refOf } from "./processes.js";
import { type Report, seconds } from "./report.js";
import { cleanEnv, PATHS, port, ROOT } from "./settings.js";
import { type Tofu, tofuEnv } from "./toolchain.js";

/** Most resources wait for the provider's own polling, not for the CPU: more of them at once is faster. */
const PARALLELISM = 32;
/** How long to wait for somebody else's state lock. */
const LOCK_TIMEOUT = "5s";
/** OpenTofu finishes what is in flight after an interrupt; after this it is killed. */
const INTERRUPT_GRACE_MS = 90_000;

export interface Stack {
  readonly name: string;
  readonly dependencies: readonly string[];
  /** folder of its cdk.tf.json */
  readonly folder: string;
  /** addresses of the resources in its JSON, for example "aws_vpc.this" */
  readonly resources: readonly string[];
  /** source addresses of the providers it needs, for example "hashicorp/aws" */
  readonly providers: readonly string[];
}

interface Manifest {
  readonly stacks: Record<
    string,
    { readonly workingDirectory: string; readonly dependencies: readonly string[] }
  >;
}

interface Synthesized {
  readonly terraform?: { readonly required_providers?: Record<string, { readonly source: string }> };
  readonly resource?: Record<string, Record<string, unknown>>;
}

/** Synthesizes for `local`; what a wrong configuration says reaches the user as it is. */
export async function synthesize(): Promise<void> {
  const result = await execa(process.execPath, [join(ROOT, "scripts/synth.cjs")], {
    cwd: ROOT,
    reject: false,
    all: true,
    extendEnv: false,
    env: cleanEnv({ PLATFORM_ENV: "local", LOCAL_AWS_PORT: String(port()) }),
  });
  if (result.failed) {
    throw new CliError("the configuration could not be synthesized", {
      why: result.all.trim() || result.shortMessage || "it said nothing",
      next: "correct the setting named above (config/local.ts) and run this again",
    });
  }
}

/** The stacks of the last synth, each after those it depends on. */
export function readStacks(): Stack[] {
  const manifest = readJson<Manifest>(join(PATHS.out, "manifest.json"));
  if (!manifest) {
    throw new CliError("there is nothing synthesized", {
      why: `${relative(ROOT, PATHS.out)}/manifest.json is missing or cut off`,
      next: "run `make synth`",
    });
  }
  const ordered: Stack[] = [];
  const visit = (name: string, path: readonly string[]) => {
    if (ordered.some((stack) => stack.name === name)) return;
    const entry = manifest.stacks[name];
    if (entry === undefined || path.includes(name)) {
      throw new CliError(`the stacks cannot be ordered: ${[...path, name].join(" -> ")}`, {
        why: entry ? "they depend on each other in a circle" : `the stack \`${name}\` does not exist`,
        next: "correct the dependencies in stacks/",
      });
    }
    for (const dependency of entry.dependencies) visit(dependency, [...path, name]);
    const folder = join(PATHS.out, entry.workingDirectory);
    const json = JSON.parse(readFileSync(join(folder, "cdk.tf.json"), "utf8")) as Synthesized;
    ordered.push({
      name,
      dependencies: entry.dependencies,
      folder,
      resources: Object.entries(json.resource ?? {}).flatMap(([type, all]) =>
        Object.keys(all).map((id) => `${type}.${id}`),
      ),
      providers: Object.values(json.terraform?.required_providers ?? {}).map(({ source }) =>
        source.includes("/") ? source : `hashicorp/${source}`,
      ),
    });
  };
  for (const name of Object.keys(manifest.stacks)) visit(name, []);
  return ordered;
}

export interface Selection {
  /** stacks that the local target applies, in order */
  readonly applied: readonly Stack[];
  /** the others, each with what keeps it from being applied */
  readonly skipped: readonly { readonly name: string; readonly reason: string }[];
}

/** Splits the stacks into those whose providers are on the local target, and the rest with what stands on it. */
export function selectStacks(all: readonly Stack[], available: readonly string[]): Selection {
  const applied: Stack[] = [];
  const skipped: Selection["skipped"][number][] = [];
  for (const stack of all) {
    const providers = stack.providers.filter((source) => !available.includes(source));
    const before = stack.dependencies.filter((name) => skipped.some((other) => other.name === name));
    if (providers.length + before.length === 0) {
      applied.push(stack);
      continue;
    }
    const reason =
      providers.length > 0 ? `needs ${providers.join(", ")}` : `comes after ${before.join(", ")}`;
    skipped.push({ name: stack.name, reason: `${reason}; the local target has ${available.join(", ")}` });
  }
  return { applied, skipped };
}

interface State {
  readonly resources?: readonly { readonly mode: string; readonly instances: readonly unknown[] }[];
}

export function stateFile(stack: Stack): string {
  return join(PATHS.state, `${stack.name}.tfstate`);
}

/** How many resources the state holds; undefined when the stack was never applied. */
export function resourcesInState(stack: Stack): number | undefined {
  const state = readJson<State>(stateFile(stack));
  return state?.resources
    ?.filter((resource) => resource.mode === "managed")
    .reduce((sum, resource) => sum + resource.instances.length, 0);
}

/** Names of stacks that have a state, also those that the configuration no longer has. */
export function statesOnDisk(): string[] {
  if (!existsSync(PATHS.state)) return [];
  return readdirSync(PATHS.state)
    .filter((name) => name.endsWith(".tfstate"))
    .map((name) => name.slice(0, -".tfstate".length));
}

/** The lines of `tofu … -json` that are used; the format is OpenTofu's machine-readable UI. */
interface Event {
  readonly type: string;
  readonly "@message"?: string;
  readonly change?: { readonly resource: { readonly addr: string }; readonly action: string };
  readonly changes?: {
    readonly add: number;
    readonly change: number;
    readonly remove: number;
    readonly operation: string;
  };
  readonly hook?: { readonly resource?: { readonly addr: string }; readonly action?: string };
  readonly outputs?: Record<
    string,
    { readonly sensitive: boolean; readonly value?: unknown; readonly action?: string }
  >;
  readonly diagnostic?: {
    readonly severity: string;
    readonly summary: string;
    readonly detail?: string;
    readonly address?: string;
    readonly snippet?: { readonly context?: string | null; readonly code?: string };
  };
}

export interface Change {
  readonly address: string;
  /** create, update, delete, replace, … or "output" */
  readonly action: string;
}

export interface Outputs {
  readonly [name: string]: { readonly sensitive: boolean; readonly value?: unknown };
}

/** What is being done right now, for `make up` to say after a crash. */
interface Applying extends ProcessRef {
  readonly stack: string;
}

/** Progress of one stack, as one line. */
class Progress {
  done = 0;
  private readonly open = new Set<string>();
  private readonly started = Date.now();

  constructor(
    readonly stack: string,
    readonly verb: string,
    public total?: number | undefined,
  ) {}

  see(event: Event): void {
    const addr = event.hook?.resource?.addr;
    if (event.type === "change_summary" && event.changes?.operation === "plan") {
      this.total = event.changes.add + event.changes.change + event.changes.remove;
    }
    if (addr === undefined || event.hook?.action === "read") return;
    if (event.type === "apply_start") this.open.add(addr);
    if (event.type === "apply_complete" || event.type === "apply_errored") this.open.delete(addr);
    if (event.type === "apply_complete") this.done += 1;
  }

  text(): string {
    const waiting = [...this.open].slice(0, 2).join(", ");
    const more = this.open.size > 2 ? ` and ${this.open.size - 2} more` : "";
    const count = this.total === undefined ? this.verb : `${this.done} of ${this.total} resources`;
    return `${this.stack}: ${count}, ${seconds(Date.now() - this.started)}${waiting && ` (${waiting}${more})`}`;
  }
}

interface Child {
  readonly pid?: number | undefined;
  kill(signal: NodeJS.Signals): boolean;
}

interface Run {
  readonly code: number;
  readonly events: readonly Event[];
}

/** OpenTofu on the synthesized stacks, with progress, interrupts and clean-up after a kill. */
export class Runner {
  private readonly active = new Set<Progress>();
  private readonly children = new Set<Child>();
  private ticker: { stop: () => void } | undefined;
  interrupted = false;

  constructor(
    readonly tofu: Tofu,
    readonly report: Report,
  ) {}

  /** First interrupt: OpenTofu finishes what is in flight and saves its state. Second: it is killed. */
  interrupt(): void {
    const again = this.interrupted;
    this.interrupted = true;
    this.report.line(
      again
        ? "killing OpenTofu"
        : "interrupted: OpenTofu finishes what is in flight and saves its state (again: kill it)",
    );
    for (const child of this.children) {
      if (child.pid === undefined) continue;
      try {
        process.kill(-child.pid, again ? "SIGKILL" : "SIGINT");
      } catch {
        // it has ended meanwhile
      }
      if (!again) setTimeout(() => child.kill("SIGKILL"), INTERRUPT_GRACE_MS).unref();
    }
  }

  private async run(
    stack: Stack,
    verb: string,
    args: readonly string[],
    { mark = false, total = undefined as number | undefined } = {},
  ): Promise<Run> {
    if (this.interrupted) throw interruptedError(stack);
    const progress = new Progress(stack.name, verb, total);
    this.active.add(progress);
    this.ticker ??= this.report.ticker(() => [...this.active].map((one) => one.text()).join("\n"));
    const child = execa(this.tofu.path, [`-chdir=${stack.folder}`, ...args], {
      reject: false,
      stdin: "ignore",
      all: true,
      lines: true,
      buffer: false,
      // a group of its own: an interrupt from the terminal reaches it through us, and its provider can be found later
      detached: true,
      cleanup: false,
      extendEnv: false,
      env: tofuEnv(),
    });
    this.children.add(child);
    const ref = child.pid === undefined ? undefined : refOf(child.pid);
    if (mark && ref)
      writeFileSync(markFile(stack.name), JSON.stringify({ ...ref, stack: stack.name } satisfies Applying));
    const events: Event[] = [];
    try {
      for await (const line of child.iterable({ from: "all" })) {
        const event = parseEvent(line);
        progress.see(event);
        events.push(event);
      }
      const result = await child;
      if (result.signal !== undefined || result.exitCode === undefined) {
        if (child.pid !== undefined) await endGroupLeftovers(child.pid, isOurPlugin);
        throw new CliError(`stack ${stack.name}: OpenTofu was ended from outside`, {
          why: result.signal ? `it got ${result.signal}` : (result.shortMessage ?? "no exit code"),
          next: "run `make up` again: it goes back to the last checkpoint and applies the rest",
          code: this.interrupted ? EXIT.interrupted : EXIT.failure,
        });
      }
      // it ended by itself, so its state matches what it did
      if (mark) rmSync(markFile(stack.name), { force: true });
      return { code: result.exitCode, events };
    } finally {
      this.children.delete(child);
      this.active.delete(progress);
      if (this.active.size === 0) {
        this.ticker?.stop();
        this.ticker = undefined;
      }
    }
  }

  async init(stack: Stack): Promise<void> {
    const { code, events } = await this.run(stack, "init", ["init", "-json", "-input=false"]);
    if (code !== 0) throw failure(stack, "initialising", events, this.interrupted);
  }

  /** What would change; with `save`, the plan is kept in that file for `apply`. */
  async plan(stack: Stack, save?: string): Promise<Change[]> {
    const args = ["plan", "-json", "-input=false", "-detailed-exitcode", `-lock-timeout=${LOCK_TIMEOUT}`];
    const { code, events } = await this.run(stack, "plan", save ? [...args, `-out=${save}`] : args);
    if (code === 0) return [];
    if (code !== 2) throw failure(stack, "planning", events, this.interrupted);
    const changes = events.flatMap((event): Change[] =>
      event.type === "planned_change" && event.change
        ? [{ address: event.change.resource.addr, action: event.change.action }]
        : [],
    );
    for (const event of events) {
      for (const [name, output] of Object.entries(event.type === "outputs" ? (event.outputs ?? {}) : {})) {
        if (output.action && output.action !== "noop")
          changes.push({ address: `output ${name}`, action: output.action });
      }
    }
    return changes;
  }

  /** Applies a saved plan of `changes`, or plans and applies in one go, which starts the provider once less. */
  async apply(
    stack: Stack,
    plan?: { readonly file: string; readonly changes: readonly Change[] },
  ): Promise<number> {
    mkdirSync(PATHS.state, { recursive: true });
    const args = [
      "apply",
      "-json",
      "-input=false",
      `-parallelism=${PARALLELISM}`,
      `-lock-timeout=${LOCK_TIMEOUT}`,
    ];
    const { code, events } = await this.run(
      stack,
      plan ? "apply" : "plan",
      [...args, plan ? plan.file : "-auto-approve"],
      { mark: true, total: plan?.changes.filter(({ address }) => !address.startsWith("output ")).length },
    );
    if (code !== 0) throw failure(stack, "applying", events, this.interrupted);
    const summary = events.find(
      (event) => event.type === "change_summary" && event.changes?.operation === "apply",
    );
    const { add = 0, change = 0, remove = 0 } = summary?.changes ?? {};
    return add + change + remove;
  }

  async destroy(stack: Stack): Promise<number> {
    const args = ["destroy", "-json", "-input=false", "-auto-approve", `-parallelism=${PARALLELISM}`];
    const { code, events } = await this.run(stack, "plan", [...args, `-lock-timeout=${LOCK_TIMEOUT}`], {
      mark: true,
    });
    if (code !== 0) throw failure(stack, "destroying", events, this.interrupted);
    return events.find((event) => event.changes?.operation === "destroy")?.changes?.remove ?? 0;
  }

  async outputs(stack: Stack): Promise<Outputs> {
    const { stdout, failed } = await execa(this.tofu.path, [`-chdir=${stack.folder}`, "output", "-json"], {
      reject: false,
      extendEnv: false,
      env: tofuEnv(),
    });
    return failed ? {} : (JSON.parse(stdout) as Outputs);
  }
}

function parseEvent(line: string): Event {
  try {
    return JSON.parse(line) as Event;
  } catch {
    return { type: "text", "@message": line };
  }
}

function interruptedError(stack: Stack): CliError {
  return new CliError(`stack ${stack.name}: interrupted`, {
    why: "you asked for it; what was in flight was finished and the state was saved",
    next: "run the command again to go on",
    code: EXIT.interrupted,
  });
}

function failure(stack: Stack, doing: string, events: readonly Event[], interrupted: boolean): CliError {
  if (interrupted) return interruptedError(stack);
  const errors = events.filter(
    (event) => event.type === "diagnostic" && event.diagnostic?.severity === "error",
  );
  const why = errors.map(({ diagnostic }) =>
    [
      `${diagnostic?.address ? `${diagnostic.address}: ` : ""}${diagnostic?.summary}`,
      diagnostic?.detail,
      diagnostic?.snippet &&
        `in ${diagnostic.snippet.context ?? ""} ${diagnostic.snippet.code?.trim() ?? ""}`,
    ]
      .filter(Boolean)
      .join("\n"),
  );
  const text =
    why.join("\n") ||
    events
      .slice(-5)
      .flatMap((event) => event["@message"] ?? [])
      .join("\n");
  return new CliError(`stack ${stack.name}: ${doing} it failed`, { why: text, next: nextStep(text) });
}

function nextStep(text: string): string {
  if (/error acquiring the state lock/i.test(text)) {
    return "another OpenTofu works on this stack's state: wait until it is done (`make status`), and try again";
  }
  if (/already ?exists|EntityAlreadyExists|ResourceInUse|BucketAlreadyOwnedByYou/i.test(text)) {
    return "the emulator holds something that the state does not know (an apply by hand was cut off?): `make down`, then `make up`";
  }
  if (/connection refused|no such host|EOF/i.test(text)) {
    return "the emulator went away: `make logs` says why, `make up` starts it and goes on";
  }
  return "correct the configuration and run `make up` again: it goes on where this ended; `make logs` shows what the emulator saw";
}

const markFile = (stack: string) => join(PATHS.applying, stack);
const isOurPlugin = (command: string) => /terraform-provider-|(^|\/)tofu\b/.test(command);

/** Notes that an apply begins; the marks of stacks that ended by themselves are removed one by one. */
export function prepareMarks(): void {
  mkdirSync(PATHS.applying, { recursive: true });
}

/** Stacks whose apply or destroy was cut off (killed, power cut). Only to be asked while holding the lock. */
export function cutOff(): string[] {
  return existsSync(PATHS.applying) ? readdirSync(PATHS.applying) : [];
}

/** Ends what a cut-off run left behind (an OpenTofu whose starter was killed, its provider) and forgets it. */
export async function clearCutOff(report: Report): Promise<void> {
  for (const name of cutOff()) {
    const mark = readJson<Applying>(markFile(name));
    if (mark && isAlive(mark)) {
      report.line(`${name}: OpenTofu of a cut-off run (process ${mark.pid}) still works; ending it`);
      await endProcess(mark, { signal: "SIGINT", graceMs: 20_000, group: true });
    }
    if (mark) await endGroupLeftovers(mark.pid, isOurPlugin);
    rmSync(markFile(name), { force: true });
  }
}

/** Runs `work` for every stack as soon as those it depends on are done, `limit` at a time; stops at the first failure. */
export async function inOrder(
  stacks: readonly Stack[],
  limit: number,
  work: (stack: Stack, othersRunning: () => boolean) => Promise<void>,
): Promise<void> {
  const waiting = new Map(stacks.map((stack) => [stack.name, stack]));
  const finished = new Set<string>();
  const running = new Map<string, Promise<void>>();
  const failures: unknown[] = [];
  const known = new Set(waiting.keys());
  while (waiting.size > 0 || running.size > 0) {
    for (const stack of waiting.values()) {
      if (failures.length > 0 || running.size >= limit) break;
      if (!stack.dependencies.every((name) => finished.has(name) || !known.has(name))) continue;
      waiting.delete(stack.name);
      const job = work(stack, () => running.size > 1).then(
        () => void finished.add(stack.name),
        (error: unknown) => void failures.push(error),
      );
      running.set(
        stack.name,
        job.finally(() => running.delete(stack.name)),
      );
    }
    if (running.size === 0) break;
    await Promise.race(running.values());
  }
  if (failures.length > 0) throw failures[0];
}

/** The same stacks with the dependencies turned round, for destroying. */
export function reversed(stacks: readonly Stack[]): Stack[] {
  return [...stacks].reverse().map((stack) => ({
    ...stack,
    dependencies: stacks.filter((other) => other.dependencies.includes(stack.name)).map(({ name }) => name),
  }));
}
