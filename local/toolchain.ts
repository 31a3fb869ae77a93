import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { arch, homedir, platform } from "node:os";
import { basename, delimiter, dirname, isAbsolute, join, resolve } from "node:path";
import { execa } from "execa";
import { CliError, EXIT } from "./errors.js";
import { cachedTool, ensureGoTools, pinnedVersion } from "./go-tools.js";
import type { Report } from "./report.js";
import { cacheDir, cleanEnv, PATHS, ROOT } from "./settings.js";
import { compareVersions, parseVersion, showVersion, type Version } from "./versions.js";

/** write-only arguments and ephemeral variables came with 1.11 */
const TOFU_MIN = [1, 11, 0];
/** the oldest AWS provider that accepts what the stacks synthesize */
const AWS_MIN = [5, 100, 0];
const REGISTRY_HOSTS = ["registry.opentofu.org", "registry.terraform.io"];
const REGISTRY_PROBE_MS = 5_000;
const OS_ARCH = `${platform()}_${arch() === "x64" ? "amd64" : arch()}`;

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

/**
 * OpenTofu: TOFU, else the one on PATH if its version fits, else the cached build, else a build from its Go module.
 * `build: false` is for commands that must not take minutes.
 */
export async function findTofu(report: Report, { build = true } = {}): Promise<Tofu> {
  const given = process.env["TOFU"];
  if (given) {
    const version = await tofuVersion(given);
    if (version && tofuFits(version))
      return { path: resolve(given), version: showVersion(version), origin: "TOFU" };
    throw new CliError(`TOFU=${given} cannot be used`, {
      why: version ? `its version is ${showVersion(version)}` : "it is not an OpenTofu that runs here",
      next: `give the path of OpenTofu ${showVersion(TOFU_MIN)} or later (below 2), or unset TOFU`,
      code: EXIT.usage,
    });
  }
  const system = onPath("tofu");
  const systemVersion = system ? await tofuVersion(system) : undefined;
  if (system && systemVersion && tofuFits(systemVersion)) {
    return { path: system, version: showVersion(systemVersion), origin: "PATH" };
  }
  const pinned = pinnedVersion("tofu");
  const cached = cachedTool("tofu");
  if (existsSync(cached)) {
    const version = await tofuVersion(cached);
    if (version) return { path: cached, version: showVersion(version), origin: "cache" };
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
      `tofu on PATH is ${showVersion(systemVersion)}; ${showVersion(TOFU_MIN)} or later is needed: building ${pinned}`,
    );
  }
  await ensureGoTools(["tofu"], report);
  return { path: cached, version: pinned, origin: "built from its Go module" };
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
  const ready = () => inPluginFolder(cache).find((found) => showVersion(found.version) === version);
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
    if (found) return { ...found, version: showVersion(found.version), reason: "AWS_PROVIDER_DIR names it" };
    throw new CliError(`AWS_PROVIDER_DIR=${given} holds no AWS provider that can be used`, {
      why: `looked for terraform-provider-aws ${showVersion(AWS_MIN)} or later for ${OS_ARCH}, directly and as hashicorp/aws/VERSION/${OS_ARCH}`,
      next: "name the folder that holds the provider's binary or a plugin folder, or unset AWS_PROVIDER_DIR",
      code: EXIT.usage,
    });
  }
  const exact = inPluginFolder(join(cacheDir(), "providers")).find(
    (found) => showVersion(found.version) === target,
  );
  if (exact)
    return { ...exact, version: target, reason: "the version the stacks are written for, downloaded before" };
  const local = highest(pluginFolders().flatMap(inPluginFolder));
  if (local && showVersion(local.version) === target) {
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
    return { ...local, version: showVersion(local.version), reason };
  }
  throw new CliError("the AWS provider is not available", {
    why: `hashicorp/aws ${target} cannot be had (${trouble}), and no version from ${showVersion(AWS_MIN)} up to 6.x is in the usual plugin folders or below /opt`,
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
