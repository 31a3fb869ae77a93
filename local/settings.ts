import { existsSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { CliError, EXIT } from "./errors.js";

/** The top of the checkout; every path of the local target hangs on it. */
export const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const WORK = join(ROOT, ".local");

/** Where things lie. `work` holds all run data and nothing else does, except `cache` (built tools, kept between clones). */
export const PATHS = {
  work: WORK,
  lock: join(WORK, "lock"),
  build: join(WORK, "build"),
  state: join(WORK, "state"),
  checkpoint: join(WORK, "checkpoint"),
  applying: join(WORK, "applying"),
  aws: join(WORK, "aws"),
  venv: join(WORK, "aws/venv"),
  tls: join(WORK, "aws/tls"),
  ca: join(WORK, "aws/tls/ca.pem"),
  awsState: join(WORK, "aws/state"),
  awsLog: join(WORK, "aws/log"),
  awsPid: join(WORK, "aws/pid"),
  awsPort: join(WORK, "aws/port"),
  awsClean: join(WORK, "aws/clean"),
  tofu: join(WORK, "tofu"),
  tofurc: join(WORK, "tofu/tofurc"),
  mirror: join(WORK, "tofu/mirror"),
  requirements: join(ROOT, "local/aws/requirements.txt"),
  serve: join(ROOT, "local/aws/serve.py"),
  toolchain: join(ROOT, "local/toolchain"),
  out: resolve(ROOT, process.env["CDKTF_OUTDIR"] ?? "cdktf.out"),
} as const;

/** `$XDG_CACHE_HOME/dagster-eks`; a relative XDG_CACHE_HOME is ignored, as its specification asks. */
export function cacheDir(): string {
  const xdg = process.env["XDG_CACHE_HOME"];
  return join(xdg?.startsWith("/") ? xdg : join(homedir(), ".cache"), "dagster-eks");
}

export const DEFAULT_PORT = 4566;

function portSetting(): number | undefined {
  const value = process.env["LOCAL_AWS_PORT"];
  if (value === undefined || value === "") return undefined;
  const port = Number(value);
  if (!/^\d+$/.test(value) || port < 1024 || port > 65535) {
    throw new CliError(`LOCAL_AWS_PORT=${value} is not a port`, {
      why: "the AWS emulator listens on this port of 127.0.0.1; it must be a whole number from 1024 to 65535",
      next: `LOCAL_AWS_PORT=${DEFAULT_PORT} is the default; choose a free port in that range`,
      code: EXIT.usage,
    });
  }
  return port;
}

/**
 * The emulator's port: LOCAL_AWS_PORT, else the one this checkout was brought up with, else 4566.
 * A different port than the one of the applied state is refused: queue URLs and end points in it carry the port.
 */
export function port(): number {
  const wanted = portSetting();
  const used = existsSync(PATHS.awsPort) ? Number(readFileSync(PATHS.awsPort, "utf8")) : undefined;
  if (wanted !== undefined && used !== undefined && wanted !== used) {
    throw new CliError(`LOCAL_AWS_PORT=${wanted}, but this checkout's platform runs on port ${used}`, {
      why: "URLs in the state (queues, the cluster's OIDC issuer) carry the port, so it cannot change under them",
      next: `unset LOCAL_AWS_PORT to go on with ${used}, or run \`LOCAL_AWS_PORT=${used} make down\` first`,
      code: EXIT.usage,
    });
  }
  return wanted ?? used ?? DEFAULT_PORT;
}

/** These commands deploy to the emulator only; a PLATFORM_ENV of a real account is refused, never silently ignored. */
export function requireLocalEnvironment(): void {
  const value = process.env["PLATFORM_ENV"];
  if (value !== undefined && value !== "" && value !== "local") {
    throw new CliError(`PLATFORM_ENV=${value}, but this command works on the local target only`, {
      why: "it talks to the AWS emulator on 127.0.0.1 and never to an AWS account",
      next: `unset PLATFORM_ENV; to deploy \`${value}\`, see docs/OPERATIONS.md`,
      code: EXIT.usage,
    });
  }
}

/** Variables that would make OpenTofu or the provider act differently from what is tested, or on a real account. */
const FOREIGN = /^(AWS_|TF_CLI_|TF_DATA_DIR$|TF_WORKSPACE$|TF_PLUGIN_CACHE|TF_REATTACH)/;

/** The names among the caller's variables that `cleanEnv` leaves out. */
export function foreignVariables(): string[] {
  return Object.keys(process.env)
    .filter((name) => FOREIGN.test(name))
    .sort();
}

/**
 * The environment of child processes: the caller's, without any AWS_* (a newcomer's real credentials must never be
 * used), and with the shared AWS files pointed at nothing, so that no profile is read either.
 */
export function cleanEnv(extra: Record<string, string> = {}): Record<string, string> {
  const env: Record<string, string> = {};
  for (const [name, value] of Object.entries(process.env)) {
    if (value !== undefined && !FOREIGN.test(name)) env[name] = value;
  }
  return {
    ...env,
    AWS_CONFIG_FILE: "/dev/null",
    AWS_SHARED_CREDENTIALS_FILE: "/dev/null",
    AWS_EC2_METADATA_DISABLED: "true",
    ...extra,
  };
}
