import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";

export const ROOT = resolve(__dirname, "../../..");
const TSX = join(ROOT, "node_modules/.bin/tsx");

/** What every test adds to the environment: no AWS setting, no cache of tsx outside the tree. */
export function baseEnv(extra: Record<string, string> = {}): Record<string, string> {
  const env: Record<string, string> = {};
  for (const [name, value] of Object.entries(process.env)) {
    if (value !== undefined && !/^(AWS_|TF_|CDKTF_|LOCAL_AWS_PORT$|PLATFORM_|TOFU$|XDG_)/.test(name))
      env[name] = value;
  }
  return { ...env, TSX_DISABLE_CACHE: "1", CHECKPOINT_DISABLE: "1", ...extra };
}

export interface Result {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
  /** stdout and stderr, for messages that may be in either */
  readonly all: string;
}

/** Where built tools are kept: the developer's own cache, so that no test run builds OpenTofu again. */
const CACHE = join(process.env["XDG_CACHE_HOME"] ?? join(process.env["HOME"] ?? "/", ".cache"));

export async function freePort(): Promise<number> {
  return await new Promise((done, fail) => {
    const server = createServer().once("error", fail);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => done(typeof address === "object" && address ? address.port : 0));
    });
  });
}

/** A copy of the tree with its own home folder and port; nothing of the developer's own platform is touched. */
export class Sandbox {
  readonly folder: string;
  readonly tree: string;
  readonly home: string;
  private readonly started: ChildProcess[] = [];

  constructor(readonly port: number) {
    this.folder = mkdtempSync(join(tmpdir(), "dagster-eks-local-"));
    this.tree = join(this.folder, "tree");
    this.home = join(this.folder, "home");
    for (const folder of [this.tree, this.home]) mkdirSync(folder);
    const git = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    for (const name of execFileSync("git", git, { cwd: ROOT, encoding: "utf8" }).split("\0")) {
      if (name === "" || name.startsWith("apps/") || !existsSync(join(ROOT, name))) continue;
      mkdirSync(dirname(join(this.tree, name)), { recursive: true });
      cpSync(join(ROOT, name), join(this.tree, name));
    }
    symlinkSync(join(ROOT, "node_modules"), join(this.tree, "node_modules"));
  }

  env(extra: Record<string, string> = {}): Record<string, string> {
    return baseEnv({ HOME: this.home, XDG_CACHE_HOME: CACHE, LOCAL_AWS_PORT: String(this.port), ...extra });
  }

  /** Starts `platform ARGS…` and collects what it says. */
  start(args: readonly string[], env: Record<string, string> = {}) {
    return this.spawn(TSX, ["local/cli.ts", ...args], env);
  }

  platform(args: readonly string[], env: Record<string, string> = {}): Promise<Result> {
    return this.start(args, env).result;
  }

  spawn(command: string, args: readonly string[], env: Record<string, string> = {}) {
    const child = spawn(command, args, {
      cwd: this.tree,
      env: this.env(env),
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.started.push(child);
    const text = { stdout: "", stderr: "", all: "" };
    for (const name of ["stdout", "stderr"] as const) {
      child[name]?.on("data", (data) => {
        text[name] += data;
        text.all += data;
      });
    }
    const result = new Promise<Result>((done, fail) => {
      child.once("error", fail);
      child.once("close", (code) => done({ code: code ?? -1, ...text }));
    });
    return { child, text, result };
  }

  path(...parts: string[]): string {
    return join(this.tree, ...parts);
  }

  json<T>(...parts: string[]): T {
    return JSON.parse(readFileSync(this.path(...parts), "utf8")) as T;
  }

  /** Replaces one occurrence in a file of the tree; returns how to undo it. */
  edit(name: string, from: string | RegExp, to: string): () => void {
    const before = readFileSync(this.path(name), "utf8");
    const after = before.replace(from, to);
    if (after === before) throw new Error(`${name} does not contain ${from}`);
    writeFileSync(this.path(name), after);
    return () => writeFileSync(this.path(name), before);
  }

  emulatorPid(): number {
    return this.json<{ pid: number }>(".local/aws/pid").pid;
  }

  /** Asks the emulator over its API, with the AWS SDK that its own installation brings; one answer per call. */
  ask(calls: readonly (readonly [service: string, operation: string, parameters?: object])[]): unknown[] {
    const program = [
      "import botocore.session, json, sys",
      "s = botocore.session.get_session()",
      "out = []",
      "for service, operation, parameters in json.load(sys.stdin):",
      "    c = s.create_client(service, region_name='us-east-2', endpoint_url=sys.argv[1], verify=sys.argv[2],",
      "        aws_access_key_id='test', aws_secret_access_key='test')",
      "    out.append(getattr(c, operation)(**parameters))",
      "print(json.dumps(out, default=str))",
    ].join("\n");
    const args = ["-c", program, `https://127.0.0.1:${this.port}`, this.path(".local/aws/tls/ca.pem")];
    const input = JSON.stringify(
      calls.map(([service, operation, parameters = {}]) => [service, operation, parameters]),
    );
    const text = execFileSync(this.path(".local/aws/venv/bin/python"), args, {
      input,
      env: this.env(),
      encoding: "utf8",
    });
    return JSON.parse(text) as unknown[];
  }

  /** Ends what is left and removes the folder; for afterAll. */
  remove(): void {
    for (const child of this.started) if (child.exitCode === null) child.kill("SIGKILL");
    if (existsSync(this.path(".local/aws/pid"))) {
      const command = `/proc/${this.emulatorPid()}/cmdline`;
      if (existsSync(command) && readFileSync(command, "utf8").includes(this.tree))
        process.kill(this.emulatorPid(), "SIGKILL");
    }
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Whether the process runs; a zombie that its parent has not collected does not. */
export function isRunning(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
}

/** Processes whose command line names the folder. */
export function processesIn(folder: string): string[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        const command = readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
        return command.includes(folder) ? [`${pid} ${command}`] : [];
      } catch {
        return [];
      }
    });
}

/** Every file and folder below, relative and sorted. */
export function listing(folder: string): string[] {
  return (readdirSync(folder, { recursive: true }) as string[]).sort();
}

export async function until(
  what: string,
  test: () => boolean | Promise<boolean>,
  timeoutMs = 60_000,
): Promise<void> {
  for (const end = Date.now() + timeoutMs; !(await test()); ) {
    if (Date.now() > end) throw new Error(`timed out: ${what}`);
    await new Promise((done) => setTimeout(done, 100));
  }
}
