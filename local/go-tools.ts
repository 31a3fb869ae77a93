import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { homedir, platform } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";
import { CliError, EXIT, messageOf } from "./errors.js";
import { takeLock } from "./processes.js";
import type { Report } from "./report.js";
import { cacheDir, PATHS, ROOT } from "./settings.js";
import { compareVersions, parseVersion, showVersion, type Version } from "./versions.js";

/** How a tool is built from the module that pins it: local/toolchain/MODULE/{go.mod,go.sum}. */
interface GoTool {
  /** its name in sentences */
  readonly label: string;
  readonly module: string;
  /** the module whose version is the tool's */
  readonly pinnedBy: string;
  readonly package: string;
  /** linker settings for this version: what the tool says of itself */
  readonly stamp: (version: string) => readonly string[];
  /** wall time of a cold build on 2 cores, in minutes, to tell the user */
  readonly minutes: number;
  /** where to get the tool otherwise */
  readonly site: string;
}

const KUBERNETES = "https://kubernetes.io/releases/download/";

/** kubectl and the API server report this version, and refuse to be v0.0.0. */
const kubernetesStamp = (version: string): string[] => {
  const [major = "", minor = ""] = version.split(".");
  return ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"].flatMap((name) => [
    `${name}.gitVersion=v${version}`,
    `${name}.gitMajor=${major}`,
    `${name}.gitMinor=${minor}`,
    `${name}.gitTreeState=clean`,
  ]);
};

const GO_TOOLS = {
  tofu: {
    label: "OpenTofu",
    module: "tofu",
    pinnedBy: "github.com/opentofu/opentofu",
    package: "github.com/opentofu/opentofu/cmd/tofu",
    stamp: () => ["github.com/opentofu/opentofu/version.dev=no"],
    minutes: 4,
    site: "https://opentofu.org/docs/intro/install/",
  },
  etcd: {
    label: "etcd",
    module: "etcd",
    pinnedBy: "go.etcd.io/etcd/server/v3",
    package: "go.etcd.io/etcd/server/v3",
    stamp: () => [],
    minutes: 1,
    site: "https://etcd.io/docs/latest/install/",
  },
  "kube-apiserver": {
    label: "kube-apiserver",
    module: "k8s",
    pinnedBy: "k8s.io/kubernetes",
    package: "k8s.io/kubernetes/cmd/kube-apiserver",
    stamp: kubernetesStamp,
    minutes: 3,
    site: KUBERNETES,
  },
  kubectl: {
    label: "kubectl",
    module: "k8s",
    pinnedBy: "k8s.io/kubernetes",
    package: "k8s.io/kubernetes/cmd/kubectl",
    stamp: kubernetesStamp,
    minutes: 1,
    site: KUBERNETES,
  },
  helm: {
    label: "Helm",
    module: "helm",
    pinnedBy: "helm.sh/helm/v3",
    package: "helm.sh/helm/v3/cmd/helm",
    stamp: (version) => [`helm.sh/helm/v3/internal/version.version=v${version}`],
    minutes: 2,
    site: "https://helm.sh/docs/intro/install/",
  },
  amtool: {
    label: "amtool",
    module: "alertmanager",
    pinnedBy: "github.com/prometheus/alertmanager",
    package: "github.com/prometheus/alertmanager/cmd/amtool",
    stamp: (version) => [`github.com/prometheus/common/version.Version=${version}`],
    minutes: 2,
    site: "https://prometheus.io/download/#alertmanager",
  },
} as const satisfies Record<string, GoTool>;

export type GoToolName = keyof typeof GO_TOOLS;

/** Every tool that can be built. */
export const goToolNames = Object.keys(GO_TOOLS) as readonly GoToolName[];

const moduleFolder = (name: GoToolName) => join(PATHS.toolchain, GO_TOOLS[name].module);
const goMod = (name: GoToolName) => readFileSync(join(moduleFolder(name), "go.mod"), "utf8");

/** The version that the tool's go.mod pins, for example "1.11.0". */
export function pinnedVersion(name: GoToolName): string {
  const { pinnedBy } = GO_TOOLS[name];
  const line = goMod(name)
    .split("\n")
    .find((text) =>
      text
        .replace(/^require/, "")
        .trim()
        .startsWith(`${pinnedBy} v`),
    );
  const version = line && / v(\S+)/.exec(line)?.[1];
  if (!version) throw new Error(`${moduleFolder(name)}/go.mod names no version of ${pinnedBy}`);
  return version;
}

/** Where the built tool is kept, whether or not it is there. */
export const cachedTool = (name: GoToolName): string => join(cacheDir(), name, pinnedVersion(name), name);

/**
 * The tools in the cache; those that are missing are built, one after the other, with one build cache.
 *
 * @throws CliError when Go is missing or too old, or a build fails
 */
export async function ensureGoTools<N extends GoToolName>(
  names: readonly N[],
  report: Report,
): Promise<Record<N, string>> {
  const missing = names.filter((name) => !existsSync(cachedTool(name)));
  try {
    for (const name of missing) await build(name, report);
  } finally {
    if (missing.length > 0) rmSync(PATHS.build, { recursive: true, force: true });
  }
  return Object.fromEntries(names.map((name) => [name, cachedTool(name)])) as Record<N, string>;
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

async function requireGo(name: GoToolName, env: Record<string, string>): Promise<void> {
  const { failed, stdout } = await execa("go", ["version"], { reject: false, env, cwd: moduleFolder(name) });
  const minimum: Version = parseVersion(/^go (\S+)$/m.exec(goMod(name))?.[1] ?? "") ?? [1, 25, 0];
  const found = failed ? undefined : parseVersion(stdout);
  if (found && compareVersions(found, minimum) >= 0) return;
  const what = found
    ? `Go is ${showVersion(found)}, ${showVersion(minimum)} or later is needed`
    : "there is no Go on PATH";
  throw new CliError(`${GO_TOOLS[name].label} is not available`, {
    why: `none that fits is on PATH or in ${dirname(cachedTool(name))}, and it cannot be built: ${what}`,
    next: [
      `one of: install ${GO_TOOLS[name].label} ${pinnedVersion(name)} (${GO_TOOLS[name].site})`,
      `        install Go ${showVersion(minimum)} or later (https://go.dev/dl/) and run this again`,
      ...(name === "tofu" ? ["        set TOFU to the path of an OpenTofu"] : []),
    ].join("\n"),
    code: EXIT.unavailable,
  });
}

async function build(name: GoToolName, report: Report): Promise<void> {
  const { label, package: main, stamp, minutes, site } = GO_TOOLS[name];
  const version = pinnedVersion(name);
  const target = cachedTool(name);
  const work = PATHS.build;
  const env = goEnvironment(work);
  await requireGo(name, env);
  mkdirSync(dirname(target), { recursive: true });
  const lock = await waitForBuildLock(name, `${target}.lock`, report);
  try {
    if (existsSync(target)) return; // another clone has built it while this one waited
    mkdirSync(work, { recursive: true });
    const started = Date.now();
    const elapsed = () => `${Math.round((Date.now() - started) / 1000)} s`;
    report.line(
      `${name}: building ${version} from its Go module; about ${minutes} min on 2 cores, once per machine`,
    );
    const ticker = report.ticker(() => `${name}: still building, ${elapsed()}`);
    const binary = join(work, name);
    const ldflags = ["-s", "-w", ...stamp(version).map((setting) => `-X ${setting}`)].join(" ");
    try {
      await execa(
        "go",
        ["build", "-trimpath", "-buildvcs=false", `-ldflags=${ldflags}`, "-o", binary, main],
        {
          cwd: moduleFolder(name),
          env,
        },
      );
    } catch (error) {
      const stderr = (error as { stderr?: string }).stderr ?? messageOf(error);
      throw new CliError(`building ${label} ${version} failed`, {
        why: stderr.split("\n").slice(-8).join("\n"),
        next: `check the network (the Go module proxy must be reachable; see GOPROXY) and the disk (6 GB while building), and run this again; or install it: ${site}`,
        code: EXIT.unavailable,
        cause: error,
      });
    } finally {
      ticker.stop();
    }
    await moveIntoPlace(binary, target);
    report.line(`${name}: built in ${elapsed()}, kept as ${target}`);
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

async function waitForBuildLock(
  name: GoToolName,
  path: string,
  report: Report,
): Promise<{ release: () => void }> {
  for (let said = false; ; said = true) {
    const lock = takeLock(path, `build for ${ROOT}`);
    if ("release" in lock) return lock;
    if (!said) {
      report.line(`${name}: process ${lock.holder.pid} builds it already (${lock.holder.command}); waiting`);
    }
    await sleep(1_000);
  }
}
