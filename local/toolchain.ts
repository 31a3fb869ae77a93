import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { arch, homedir, platform } from "node:os";
import { basename, delimiter, dirname, isAbsolute, join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";
import { CliError, EXIT, messageOf } from "./errors.js";
import { takeLock } from "./processes.js";
import type { Report } from "./report.js";
import { cacheDir, cleanEnv, PATHS, ROOT } from "./settings.js";

/** write-only arguments and ephemeral variables came with 1.11 */
const TOFU_MIN = [1, 11, 0];
/** the oldest AWS provider that accepts what the stacks synthesize */
const AWS_MIN = [5, 100, 0];
const REGISTRY_HOSTS = ["registry.opentofu.org", "registry.terraform.io"];
const REGISTRY_PROBE_MS = 5_000;
const OS_ARCH = `${platform()}_${arch() === "x64" ? "amd64" : arch()}`;

type Version = readonly number[];

export function parseVersion(text: string): Version | undefined {
  const match = /(\d+)\.(\d+)(?:\.(\d+))?/.exec(text);
  return match ? [Number(match[1]), Number(match[2]), Number(match[3] ?? 0)] : undefined;
}

export function compareVersions(a: Version, b: Version): number {
  for (let i = 0; i < 3; i++) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

const show = (version: Version) => version.join(".");

export interface Tofu {
  readonly path: string;
  readonly version: string;
  readonly origin: string;
}

/** OpenTofu makes an empty ~/.terraform.d unless its configuration folder is elsewhere; ours is TF_CLI_CONFIG_FILE alone. */
const QUIET = { CHECKPOINT_DISABLE: "1", XDG_CONFIG_HOME: "/dev/null" };

async function tofuVersion(path: string): Promise<Version | undefined> {
  const { stdout, failed } = await execa(path, ["version", "-json"], {
    reject: false,
    env: cleanEnv(QUIET),
    extendEnv: false,
  });
  if (failed) return undefined;
  try {
    const version: unknown = (JSON.parse(stdout) as { terraform_version?: unknown }).terraform_version;
    return typeof version === "string" ? parseVersion(version) : undefined;
  } catch {
    return undefined;
  }
}

const tofuFits = (version: Version) => compareVersions(version, TOFU_MIN) >= 0 && version[0] === 1;

function onPath(name: string): string | undefined {
  return (process.env["PATH"] ?? "")
    .split(delimiter)
    .filter((folder) => isAbsolute(folder))
    .map((folder) => join(folder, name))
    .find((path) => existsSync(path));
}

/** The Go that local/toolchain/tofu/go.mod asks for, for example [1, 25, 5]. */
function goMinimum(): Version {
  const gomod = readFileSync(join(PATHS.tofuModule, "go.mod"), "utf8");
  return parseVersion(/^go (\S+)$/m.exec(gomod)?.[1] ?? "") ?? [1, 25, 0];
}

/** The version of OpenTofu that local/toolchain/tofu/go.mod pins, for example "1.11.0". */
export function pinnedTofuVersion(): string {
  const gomod = readFileSync(join(PATHS.tofuModule, "go.mod"), "utf8");
  const version = /github\.com\/opentofu\/opentofu v(\S+)/.exec(gomod)?.[1];
  if (version === undefined) throw new Error(`${PATHS.tofuModule}/go.mod names no version of OpenTofu`);
  return version;
}

/**
 * OpenTofu: TOFU, else the one on PATH if its version fits, else the cached build, else a build from its Go module.
 * `build: false` is for commands that must not take minutes.
 */
export async function findTofu(report: Report, { build = true } = {}): Promise<Tofu> {
  const given = process.env["TOFU"];
  if (given) {
    const version = await tofuVersion(given);
    if (version && tofuFits(version)) return { path: resolve(given), version: show(version), origin: "TOFU" };
    throw new CliError(`TOFU=${given} cannot be used`, {
      why: version ? `its version is ${show(version)}` : "it is not an OpenTofu that runs here",
      next: `give the path of OpenTofu ${show(TOFU_MIN)} or later (below 2), or unset TOFU`,
      code: EXIT.usage,
    });
  }
  const system = onPath("tofu");
  const systemVersion = system ? await tofuVersion(system) : undefined;
  if (system && systemVersion && tofuFits(systemVersion)) {
    return { path: system, version: show(systemVersion), origin: "PATH" };
  }
  const pinned = pinnedTofuVersion();
  const cached = join(cacheDir(), "tofu", pinned, "tofu");
  if (existsSync(cached)) {
    const version = await tofuVersion(cached);
    if (version) return { path: cached, version: show(version), origin: "cache" };
    rmSync(cached, { force: true }); // cut off or of another machine type: build it anew
  }
  if (!build) {
    throw new CliError("OpenTofu is not available", {
      why: `none on PATH that fits, none in ${dirname(cached)}`,
      next: "run `make up`, which builds it, or install it: https://opentofu.org/docs/intro/install/",
      code: EXIT.unavailable,
    });
  }
  if (systemVersion) {
    report.line(
      `tofu on PATH is ${show(systemVersion)}; ${show(TOFU_MIN)} or later is needed: building ${pinned}`,
    );
  }
  await buildTofu(pinned, cached, report);
  return { path: cached, version: pinned, origin: "built from its Go module" };
}

/**
 * Everything Go writes goes below `work`. Its telemetry counters follow HOME, so HOME is moved, while the user's Go
 * settings and netrc still count.
 */
function goEnvironment(work: string): Record<string, string> {
  const home = join(work, "home");
  const userConfig =
    platform() === "darwin"
      ? join(homedir(), "Library/Application Support")
      : (process.env["XDG_CONFIG_HOME"] ?? join(homedir(), ".config"));
  return {
    CGO_ENABLED: "0",
    GOTOOLCHAIN: "local",
    GOWORK: "off",
    GOFLAGS: "-mod=readonly -modcacherw",
    GOCACHE: join(work, "gocache"),
    GOMODCACHE: join(work, "gomodcache"),
    GOPATH: join(work, "gopath"),
    GOENV: process.env["GOENV"] ?? join(userConfig, "go/env"),
    NETRC: process.env["NETRC"] ?? join(homedir(), ".netrc"),
    HOME: home,
    XDG_CONFIG_HOME: join(home, ".config"),
  };
}

async function buildTofu(version: string, target: string, report: Report): Promise<void> {
  const work = PATHS.build;
  const goEnv = goEnvironment(work);
  const go = await execa("go", ["version"], { reject: false, env: goEnv, cwd: PATHS.tofuModule });
  const minimum = goMinimum();
  const goVersion = go.failed ? undefined : parseVersion(go.stdout);
  if (!goVersion || compareVersions(goVersion, minimum) < 0) {
    throw new CliError("OpenTofu is not available", {
      why: `none on PATH that fits, none in ${dirname(target)}, and it cannot be built: ${
        goVersion ? `Go is ${show(goVersion)}, ${show(minimum)} or later is needed` : "there is no Go on PATH"
      }`,
      next: [
        "one of: install OpenTofu 1.11 or later (https://opentofu.org/docs/intro/install/)",
        `        install Go ${show(minimum)} or later (https://go.dev/dl/) and run this again`,
        "        set TOFU to the path of an OpenTofu",
      ].join("\n"),
      code: EXIT.unavailable,
    });
  }
  mkdirSync(dirname(target), { recursive: true });
  const lock = await waitForBuildLock(`${target}.lock`, report);
  try {
    if (existsSync(target)) return; // another clone has built it while this one waited
    mkdirSync(work, { recursive: true });
    const started = Date.now();
    report.line(`tofu: building ${version} from its Go module; about 3 minutes on 2 cores, once per machine`);
    const ticker = report.ticker(
      () => `tofu: still building, ${Math.round((Date.now() - started) / 1000)} s`,
    );
    const binary = join(work, "tofu");
    try {
      await execa(
        "go",
        [
          "build",
          "-trimpath",
          "-buildvcs=false",
          "-ldflags=-s -w -X github.com/opentofu/opentofu/version.dev=no",
          "-o",
          binary,
          "github.com/opentofu/opentofu/cmd/tofu",
        ],
        {
          cwd: PATHS.tofuModule,
          env: goEnv,
        },
      );
    } catch (error) {
      const stderr = (error as { stderr?: string }).stderr ?? messageOf(error);
      throw new CliError(`building OpenTofu ${version} failed`, {
        why: stderr.split("\n").slice(-8).join("\n"),
        next: "check the network (the Go module proxy must be reachable; see GOPROXY) and the disk (6 GB while building), and run this again; or install OpenTofu: https://opentofu.org/docs/intro/install/",
        code: EXIT.unavailable,
        cause: error,
      });
    } finally {
      ticker.stop();
    }
    await moveIntoPlace(binary, target);
    rmSync(work, { recursive: true, force: true });
    report.line(`tofu: built in ${Math.round((Date.now() - started) / 1000)} s, kept as ${target}`);
  } finally {
    lock.release();
  }
}

/** The cache may be on another file system than the checkout: copy beside the target, then rename. */
async function moveIntoPlace(binary: string, target: string): Promise<void> {
  const beside = `${target}.${process.pid}.new`;
  await execa("cp", [binary, beside]);
  chmodSync(beside, 0o755);
  renameSync(beside, target);
}

async function waitForBuildLock(path: string, report: Report): Promise<{ release: () => void }> {
  for (let said = false; ; said = true) {
    const lock = takeLock(path, `build for ${ROOT}`);
    if ("release" in lock) return lock;
    if (!said)
      report.line(`tofu: process ${lock.holder.pid} builds it already (${lock.holder.command}); waiting`);
    await sleep(1_000);
  }
}

export interface Provider {
  readonly version: string;
  /** folder that holds the plugin's binary */
  readonly folder: string;
  /** one sentence: which version is used and why */
  readonly reason: string;
}

/** The version of the AWS provider that the pinned @cdktf/provider-aws was generated from. */
export function targetAwsVersion(): string {
  const path = join(ROOT, "node_modules/@cdktf/provider-aws/package.json");
  const manifest = JSON.parse(readFileSync(path, "utf8")) as { cdktf: { provider: { version: string } } };
  return manifest.cdktf.provider.version;
}

interface Found {
  readonly version: Version;
  readonly folder: string;
}

const BINARY = /^terraform-provider-aws(?:_v(\d+\.\d+\.\d+)\S*)?$/;

function binaryIn(folder: string, versionOfPath?: Version): Found | undefined {
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch {
    return undefined;
  }
  for (const name of names) {
    const match = BINARY.exec(name);
    const version = match && (match[1] ? parseVersion(match[1]) : versionOfPath);
    if (version) return { version, folder: realpathSync(folder) };
  }
  return undefined;
}

/** Unpacked providers in a plugin folder: [HOST/]hashicorp/aws/VERSION/OS_ARCH, as both tools lay them out. */
function inPluginFolder(root: string): Found[] {
  const direct = binaryIn(root, parseVersion(basename(dirname(root))));
  const found: Found[] = direct ? [direct] : [];
  for (const base of [root, ...REGISTRY_HOSTS.map((host) => join(root, host))]) {
    const versions = join(base, "hashicorp/aws");
    for (const name of existsSync(versions) ? readdirSync(versions) : []) {
      const here = binaryIn(join(versions, name, OS_ARCH), parseVersion(name));
      if (here) found.push(here);
    }
  }
  return found;
}

/** Plugin folders below `root`, at most `depth` deep and `limit` folders looked at (a search must not take long). */
function pluginFoldersBelow(root: string, depth = 5, limit = 4_000): string[] {
  const found: string[] = [];
  let left = limit;
  let level = [root];
  for (let d = 0; d <= depth && level.length > 0; d++) {
    const next: string[] = [];
    for (const folder of level) {
      if (left-- <= 0) return found;
      if (
        existsSync(join(folder, "hashicorp/aws")) ||
        REGISTRY_HOSTS.some((h) => existsSync(join(folder, h)))
      ) {
        found.push(folder);
        continue;
      }
      try {
        for (const entry of readdirSync(folder, { withFileTypes: true })) {
          if (entry.isDirectory() && entry.name !== "node_modules") next.push(join(folder, entry.name));
        }
      } catch {
        // not readable: nothing there for us
      }
    }
    level = next;
  }
  return found;
}

function pluginFolders(): string[] {
  const home = homedir();
  const env = process.env;
  const data = [
    env["XDG_DATA_HOME"] ?? join(home, ".local/share"),
    ...(env["XDG_DATA_DIRS"] ?? "/usr/local/share:/usr/share").split(":"),
  ];
  return [
    env["TF_PLUGIN_CACHE_DIR"] ?? "",
    join(home, ".terraform.d/plugins"),
    join(home, ".terraform.d/plugin-cache"),
    ...data.flatMap((folder) => ["terraform", "opentofu"].map((tool) => join(folder, tool, "plugins"))),
    ...pluginFoldersBelow("/opt"),
  ].filter((folder) => folder !== "" && existsSync(folder));
}

async function registryAnswers(): Promise<boolean> {
  try {
    const url = `https://${REGISTRY_HOSTS[0]}/.well-known/terraform.json`;
    return (await fetch(url, { signal: AbortSignal.timeout(REGISTRY_PROBE_MS) })).ok;
  } catch {
    return false;
  }
}

/** Lets `tofu init` download exactly the target version into the tool cache, once per machine. */
async function download(tofu: Tofu, version: string, report: Report): Promise<Found | undefined> {
  const cache = join(cacheDir(), "providers");
  const ready = () => inPluginFolder(cache).find((found) => show(found.version) === version);
  if (ready()) return ready();
  report.line(`provider: downloading hashicorp/aws ${version}`);
  const work = join(PATHS.build, "provider");
  mkdirSync(work, { recursive: true });
  mkdirSync(cache, { recursive: true });
  const config = { terraform: { required_providers: { aws: { source: "hashicorp/aws", version } } } };
  writeFileSync(join(work, "main.tf.json"), JSON.stringify(config));
  writeFileSync(join(work, "tofurc"), "provider_installation {\n  direct {}\n}\n");
  const { failed, stderr } = await execa(tofu.path, ["init", "-no-color", "-input=false"], {
    cwd: work,
    reject: false,
    extendEnv: false,
    env: cleanEnv({
      ...QUIET,
      TF_CLI_CONFIG_FILE: join(work, "tofurc"),
      TF_PLUGIN_CACHE_DIR: cache,
    }),
  });
  rmSync(work, { recursive: true, force: true });
  if (failed) report.line(`provider: the download failed: ${String(stderr).trim().split("\n").at(-1) ?? ""}`);
  return ready();
}

/**
 * The AWS provider: AWS_PROVIDER_DIR, else the version that the package targets from the registry (or the cache of an
 * earlier download), else the highest fitting one on this machine.
 */
export async function findAwsProvider(tofu: Tofu, report: Report): Promise<Provider> {
  const target = targetAwsVersion();
  const fits = (found: Found) => compareVersions(found.version, AWS_MIN) >= 0 && (found.version[0] ?? 0) < 7;
  const highest = (all: Found[]) => all.filter(fits).sort((a, b) => compareVersions(b.version, a.version))[0];
  const given = process.env["AWS_PROVIDER_DIR"];
  if (given) {
    const found = highest(inPluginFolder(resolve(given)));
    if (found) return { ...found, version: show(found.version), reason: "AWS_PROVIDER_DIR names it" };
    throw new CliError(`AWS_PROVIDER_DIR=${given} holds no AWS provider that can be used`, {
      why: `looked for terraform-provider-aws ${show(AWS_MIN)} or later for ${OS_ARCH}, directly and as hashicorp/aws/VERSION/${OS_ARCH}`,
      next: "name the folder that holds the provider's binary or a plugin folder, or unset AWS_PROVIDER_DIR",
      code: EXIT.usage,
    });
  }
  const exact = inPluginFolder(join(cacheDir(), "providers")).find((found) => show(found.version) === target);
  if (exact)
    return { ...exact, version: target, reason: "the version the stacks are written for, downloaded before" };
  const local = highest(pluginFolders().flatMap(inPluginFolder));
  if (local && show(local.version) === target) {
    return {
      ...local,
      version: target,
      reason: "the version the stacks are written for, found on this machine",
    };
  }
  const online = await registryAnswers();
  if (online) {
    const found = await download(tofu, target, report);
    if (found)
      return { ...found, version: target, reason: "the version the stacks are written for, downloaded" };
  }
  const trouble = online ? "the registry could not give it" : `${REGISTRY_HOSTS[0]} does not answer`;
  if (local) {
    const reason = `the stacks are written for ${target}, but ${trouble}; this one was found on this machine`;
    return { ...local, version: show(local.version), reason };
  }
  throw new CliError("the AWS provider is not available", {
    why: `hashicorp/aws ${target} cannot be had (${trouble}), and no version from ${show(AWS_MIN)} up to 6.x is in the usual plugin folders or below /opt`,
    next: `connect this machine to ${REGISTRY_HOSTS[0]}, or put the provider on it and set AWS_PROVIDER_DIR to its folder`,
    code: EXIT.unavailable,
  });
}

/**
 * Writes `.local/tofu`: a filesystem mirror that holds links to the providers found, and a CLI configuration that
 * installs from it only, so that no command waits for a registry.
 */
export function writeMirror(providers: Readonly<Record<string, Provider>>): void {
  rmSync(PATHS.mirror, { recursive: true, force: true });
  for (const [name, provider] of Object.entries(providers)) {
    for (const host of REGISTRY_HOSTS) {
      const versions = join(PATHS.mirror, host, name, provider.version);
      mkdirSync(versions, { recursive: true });
      symlinkSync(provider.folder, join(versions, OS_ARCH));
    }
  }
  const text = `provider_installation {\n  filesystem_mirror {\n    path = ${JSON.stringify(PATHS.mirror)}\n  }\n}\n`;
  writeFileSync(PATHS.tofurc, text);
}

/** The environment in which OpenTofu runs on the local target. */
export function tofuEnv(extra: Record<string, string> = {}): Record<string, string> {
  return cleanEnv({
    TF_CLI_CONFIG_FILE: PATHS.tofurc,
    ...QUIET,
    TF_IN_AUTOMATION: "1",
    TF_INPUT: "0",
    // the provider's schema is hundreds of megabytes of short-lived objects: fewer collections save a third of the CPU
    GOGC: process.env["GOGC"] ?? "400",
    ...extra,
  });
}
