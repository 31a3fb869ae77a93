import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import {
  closeSync,
  cpSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { request } from "node:https";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";
import { CliError, EXIT, messageOf } from "./errors.js";
import { endProcess, isAlive, type ProcessRef, portHolder, readJson, refOf } from "./processes.js";
import type { Report } from "./report.js";
import { cleanEnv, PATHS, port as portOf, ROOT } from "./settings.js";

export const REGION = "us-east-2";
const PYTHON_MIN = [3, 10] as const;
const READY_TIMEOUT_MS = 30_000;
const STOP_TIMEOUT_MS = 25_000;
const CERT_DAYS = 90;
const RENEW_BEFORE_S = 7 * 24 * 3600;
const LOG_LIMIT = 20 * 1024 * 1024;

/** Tells this checkout's emulator from another one on the same port. */
const ID = createHash("sha256").update(ROOT).digest("hex").slice(0, 16);

export interface Running extends ProcessRef {
  readonly port: number;
  /** ISO 8601 */
  readonly since: string;
}

async function findPython(): Promise<string> {
  const given = process.env["PYTHON"];
  const names = given
    ? [given]
    : ["python3", ...[14, 13, 12, 11, 10].map((minor) => `python3.${minor}`), "python"];
  const tried: string[] = [];
  const code = "import sys; print(sys.version_info >= (3, 10)); import venv, ensurepip";
  for (const name of names) {
    const { failed, stdout, code: errorCode } = await execa(name, ["-c", code], { reject: false });
    if (!failed && stdout.trim() === "True") return name;
    if (errorCode === "ENOENT") continue;
    tried.push(
      `${name}: ${stdout?.trim() === "True" ? "the venv module is missing" : `older than ${PYTHON_MIN.join(".")} or broken`}`,
    );
  }
  throw new CliError(`Python ${PYTHON_MIN.join(".")} or later with the venv module is not available`, {
    why: tried.length > 0 ? tried.join("\n") : `none of ${names.join(", ")} is on PATH`,
    next: "install it (Debian and Ubuntu: apt-get install python3-venv; macOS: brew install python), or set PYTHON to its path",
    code: EXIT.unavailable,
  });
}

const venvPython = join(PATHS.venv, "bin/python");

/** Installs what requirements.txt locks into the work folder; does nothing when that is done. */
export async function install(report: Report): Promise<void> {
  const stamp = join(PATHS.venv, ".installed");
  const wanted = createHash("sha256").update(readFileSync(PATHS.requirements)).digest("hex");
  const works = async () => !(await execa(venvPython, ["-c", "import ministack"], { reject: false })).failed;
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === wanted && (await works())) return;
  const python = await findPython();
  const started = Date.now();
  report.line("emulator: installing MiniStack into .local/aws/venv");
  rmSync(PATHS.venv, { recursive: true, force: true });
  mkdirSync(PATHS.aws, { recursive: true });
  try {
    // pip asks rustc, if there is one, for its version, and rustup's rustc makes a folder for itself
    const env = { RUSTUP_HOME: join(PATHS.build, "rustup") };
    await execa(python, ["-m", "venv", PATHS.venv], { env });
    const install = [
      ...["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-cache-dir", "--no-deps"],
      ...["--only-binary", ":all:", "--require-hashes", "-r", PATHS.requirements],
    ];
    await execa(venvPython, install, { env });
  } catch (error) {
    const stderr = (error as { stderr?: string }).stderr || messageOf(error);
    throw new CliError("MiniStack, the AWS emulator, could not be installed", {
      why: stderr.trim().split("\n").slice(-6).join("\n"),
      next: "check that the Python package index can be reached (PIP_INDEX_URL, PIP_CERT and proxies count), and run this again",
      code: EXIT.unavailable,
      cause: error,
    });
  }
  writeFileSync(stamp, wanted);
  report.line(`emulator: installed in ${Math.round((Date.now() - started) / 1000)} s`);
}

/** Makes a CA and a server certificate when there is none or it ends within a week. True when it made new ones. */
async function ensureCertificate(): Promise<boolean> {
  const file = (name: string) => join(PATHS.tls, name);
  const openssl = async (...args: string[]) => {
    try {
      return await execa("openssl", args);
    } catch (error) {
      const missing = (error as NodeJS.ErrnoException).code === "ENOENT";
      throw new CliError("the emulator's certificate could not be made", {
        why: missing ? "there is no openssl on PATH" : messageOf(error),
        next: missing
          ? "install openssl (Debian and Ubuntu: apt-get install openssl)"
          : `remove ${PATHS.tls} and try again`,
        code: EXIT.unavailable,
        cause: error,
      });
    }
  };
  if (["ca.pem", "server.pem", "server.key"].every((name) => existsSync(file(name)))) {
    const check = ["x509", "-noout", "-checkend", String(RENEW_BEFORE_S), "-in"];
    const valid = await Promise.all(
      ["ca.pem", "server.pem"].map((name) => execa("openssl", [...check, file(name)], { reject: false })),
    );
    if (valid.every((result) => !result.failed)) return false;
  }
  rmSync(PATHS.tls, { recursive: true, force: true });
  mkdirSync(PATHS.tls, { recursive: true, mode: 0o700 });
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  const days = ["-days", String(CERT_DAYS)];
  // a configuration of our own: the system's may be missing or ask for other things
  writeFileSync(
    file("openssl.cnf"),
    [
      "[req]\ndistinguished_name = dn\nprompt = no\n[dn]\nCN = dagster-eks local AWS",
      "[ca]\nbasicConstraints = critical,CA:TRUE\nkeyUsage = critical,keyCertSign,cRLSign\nsubjectKeyIdentifier = hash",
      "[server]\nbasicConstraints = critical,CA:FALSE\nkeyUsage = critical,digitalSignature\nextendedKeyUsage = serverAuth",
      "subjectAltName = DNS:localhost,IP:127.0.0.1\nauthorityKeyIdentifier = keyid\n",
    ].join("\n"),
  );
  const config = ["-config", file("openssl.cnf")];
  await openssl(
    "req",
    "-x509",
    ...config,
    "-extensions",
    "ca",
    ...key,
    ...days,
    "-keyout",
    file("ca.key"),
    "-out",
    file("ca.pem"),
  );
  await openssl(
    "req",
    ...config,
    "-subj",
    "/CN=localhost",
    ...key,
    "-keyout",
    file("server.key"),
    "-out",
    file("server.csr"),
  );
  await openssl(
    ...[
      "x509",
      "-req",
      "-in",
      file("server.csr"),
      "-CA",
      file("ca.pem"),
      "-CAkey",
      file("ca.key"),
      "-CAcreateserial",
    ],
    ...[...days, "-extfile", file("openssl.cnf"), "-extensions", "server", "-out", file("server.pem")],
  );
  // nothing can be signed by this CA again, should someone have trusted it system-wide
  for (const name of ["ca.key", "server.csr", "openssl.cnf", "ca.srl"]) rmSync(file(name), { force: true });
  return true;
}

interface Answer {
  readonly status: number;
  readonly body: string;
}

async function call(port: number, method: "GET" | "POST", path: string, timeoutMs = 5_000): Promise<Answer> {
  const ca = readFileSync(PATHS.ca);
  return await new Promise((resolve, reject) => {
    const call = request(
      { host: "127.0.0.1", port, method, path, ca, agent: false, timeout: timeoutMs },
      (response) => {
        let body = "";
        response.setEncoding("utf8").on("data", (chunk: string) => {
          body += chunk;
        });
        response.on("end", () => resolve({ status: response.statusCode ?? 0, body }));
      },
    );
    call.on("timeout", () => call.destroy(new Error(`no answer within ${timeoutMs / 1000} s`)));
    call.on("error", reject);
    call.end();
  });
}

/** The emulator process of this checkout, if it lives. */
export function running(): Running | undefined {
  const known = readJson<Running>(PATHS.awsPid);
  return isAlive(known) ? known : undefined;
}

/** True when the emulator was there and went away without saving its state (killed, power cut). */
export function crashed(): boolean {
  return running() === undefined && existsSync(PATHS.awsPid) && !existsSync(PATHS.awsClean);
}

async function answersAsOurs(port: number): Promise<boolean> {
  try {
    const { status, body } = await call(port, "GET", "/_platform/id");
    return status === 200 && (JSON.parse(body) as { id?: string }).id === ID;
  } catch {
    return false;
  }
}

/** A line for the error when the emulator lives but does not answer. */
export async function requireAnswer(): Promise<Running> {
  const known = running();
  if (!known) {
    throw new CliError("the AWS emulator is not running", {
      why: crashed()
        ? "it ended without saving its state (killed, or the machine was switched off)"
        : "it was not started, or stopped",
      next: "run `make up`, which starts it and brings the platform back",
      code: EXIT.unavailable,
    });
  }
  if (await answersAsOurs(known.port)) return known;
  throw new CliError(`the AWS emulator (process ${known.pid}) does not answer on 127.0.0.1:${known.port}`, {
    why: "it hangs, or is overloaded",
    next: "see `make logs`; then `make up`, which starts it again",
    code: EXIT.unavailable,
  });
}

/** The port, which must be free unless this checkout's emulator has it. */
export async function requirePort(): Promise<number> {
  const port = portOf();
  const holder = running()?.port === port ? undefined : await portHolder(port);
  if (holder !== undefined) throw portInUse(port, holder);
  return port;
}

/** Starts the emulator unless it runs and answers. */
export async function start(report: Report): Promise<Running> {
  const renewed = await ensureCertificate();
  const known = running();
  if (known) {
    if (!renewed && (await answersAsOurs(known.port))) return known;
    report.line(
      `emulator: ${renewed ? "the certificate was renewed" : `process ${known.pid} does not answer`}; starting it again`,
    );
    await stop();
  }
  const port = await requirePort();
  if (existsSync(PATHS.awsLog) && statSync(PATHS.awsLog).size > LOG_LIMIT)
    renameSync(PATHS.awsLog, `${PATHS.awsLog}.1`);
  mkdirSync(PATHS.awsState, { recursive: true });
  rmSync(PATHS.awsClean, { force: true });
  const log = openSync(PATHS.awsLog, "a");
  const logStart = statSync(PATHS.awsLog).size;
  const started = Date.now();
  const child = spawn(venvPython, [PATHS.serve], {
    cwd: PATHS.aws,
    detached: true,
    stdio: ["ignore", log, log],
    env: emulatorEnv(port),
  });
  closeSync(log);
  await new Promise((resolve) => child.once("spawn", resolve).once("error", resolve));
  child.unref();
  const ref = child.pid === undefined ? undefined : refOf(child.pid);
  if (ref !== undefined) {
    writeFileSync(
      PATHS.awsPid,
      JSON.stringify({ ...ref, port, since: new Date().toISOString() } satisfies Running),
    );
  }
  writeFileSync(PATHS.awsPort, String(port));
  const logText = () =>
    readFileSync(PATHS.awsLog, "utf8").slice(logStart).trim().split("\n").slice(-5).join("\n");
  for (const end = Date.now() + READY_TIMEOUT_MS; Date.now() < end; await sleep(100)) {
    if (!isAlive(ref)) {
      const thief = await portHolder(port);
      if (thief !== undefined) throw portInUse(port, thief);
      throw new CliError("the AWS emulator ended while starting", {
        why: logText() || "it wrote nothing to its log",
        next: `see ${PATHS.awsLog}; \`make down\` and \`make up\` start from nothing`,
        code: EXIT.unavailable,
      });
    }
    if ((await answersAsOurs(port)) && (await call(port, "GET", "/_ministack/health")).status === 200) {
      report.line(
        `emulator: MiniStack on https://127.0.0.1:${port} (process ${ref.pid}), ${Date.now() - started} ms`,
      );
      return running() as Running;
    }
  }
  throw new CliError(`the AWS emulator does not answer after ${READY_TIMEOUT_MS / 1000} s`, {
    why: logText(),
    next: `see ${PATHS.awsLog}; \`make down\` and \`make up\` start from nothing`,
    code: EXIT.unavailable,
  });
}

function emulatorEnv(port: number): Record<string, string> {
  return cleanEnv({
    HOME: PATHS.aws,
    TMPDIR: PATHS.aws,
    BIND_HOST: "127.0.0.1",
    GATEWAY_PORT: String(port),
    USE_SSL: "1",
    MINISTACK_SSL_CERT: join(PATHS.tls, "server.pem"),
    MINISTACK_SSL_KEY: join(PATHS.tls, "server.key"),
    MINISTACK_REGION: REGION,
    PERSIST_STATE: "1",
    STATE_DIR: PATHS.awsState,
    S3_PERSIST: "1",
    S3_DATA_DIR: join(PATHS.awsState, "s3-objects"),
    // further listeners, and containers, that nothing here needs
    IOT_MTLS_ENABLED: "0",
    SFTP_ENABLED: "0",
    DOCKER_HOST: `unix://${PATHS.aws}/no-docker.sock`,
    PLATFORM_ID: ID,
    CLEAN_FILE: PATHS.awsClean,
  });
}

function portInUse(port: number, holder: string): CliError {
  return new CliError(`port ${port} on 127.0.0.1 is in use`, {
    why: `${holder} listens on it`,
    next: `stop that program, or choose another port: LOCAL_AWS_PORT=${port === 65535 ? 4566 : port + 1} make up`,
    code: EXIT.unavailable,
  });
}

/** Stops the emulator politely, which saves its state. */
export async function stop({ save = true } = {}): Promise<"stopped" | "not running"> {
  const known = running();
  if (!known) return "not running";
  await endProcess(known, { signal: save ? "SIGTERM" : "SIGKILL", graceMs: STOP_TIMEOUT_MS });
  return "stopped";
}

interface CheckpointNote {
  /** ISO 8601 */
  readonly taken: string;
}

/**
 * Saves the emulator's state and OpenTofu's state as one, so that both can be put back to the same moment. Only to
 * be called while nothing is applied.
 */
export async function checkpoint(): Promise<void> {
  const { port } = await requireAnswer();
  let answer: Answer = { status: 0, body: "" };
  for (let attempt = 0; attempt < 3 && answer.status !== 200; attempt++) {
    // a background thread of the emulator may change what is written: then the save fails, and is tried again
    if (attempt > 0) await sleep(500);
    answer = await call(port, "POST", "/_platform/checkpoint", 30_000);
  }
  if (answer.status !== 200) {
    throw new CliError("the emulator could not save its state", {
      why: answer.body,
      next: "see `make logs`; the platform runs, but a crash of the emulator would lose it",
    });
  }
  const fresh = `${PATHS.checkpoint}.new`;
  rmSync(fresh, { recursive: true, force: true });
  mkdirSync(fresh, { recursive: true });
  mkdirSync(PATHS.state, { recursive: true });
  cpSync(PATHS.awsState, join(fresh, "aws"), { recursive: true });
  cpSync(PATHS.state, join(fresh, "state"), {
    recursive: true,
    filter: (path) => !path.endsWith(".lock.info"),
  });
  writeFileSync(
    join(fresh, "note.json"),
    JSON.stringify({ taken: new Date().toISOString() } satisfies CheckpointNote),
  );
  rmSync(PATHS.checkpoint, { recursive: true, force: true });
  renameSync(fresh, PATHS.checkpoint);
}

/**
 * Puts emulator and OpenTofu state back to the last checkpoint (or to nothing when there is none) and leaves the
 * emulator stopped. Returns the checkpoint's time.
 */
export async function rollBack(): Promise<string | undefined> {
  await stop({ save: false });
  // a cut-off replacement of the checkpoint leaves the complete new one under its other name
  const fresh = `${PATHS.checkpoint}.new`;
  if (!existsSync(PATHS.checkpoint) && existsSync(join(fresh, "note.json")))
    renameSync(fresh, PATHS.checkpoint);
  for (const path of [PATHS.awsState, PATHS.state, PATHS.awsPid, PATHS.awsClean])
    rmSync(path, { recursive: true, force: true });
  const note = readJson<CheckpointNote>(join(PATHS.checkpoint, "note.json"));
  if (note === undefined) return undefined;
  cpSync(join(PATHS.checkpoint, "aws"), PATHS.awsState, { recursive: true });
  cpSync(join(PATHS.checkpoint, "state"), PATHS.state, { recursive: true });
  return note.taken;
}
