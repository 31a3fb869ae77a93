import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { freePort, ROOT } from "./sandbox";

/** Paths of tools; what the cache lacks is built, which says how far it is. */
export function toolPaths(names: readonly string[]): Record<string, string> {
  const paths = execFileSync(join(ROOT, "node_modules/.bin/tsx"), ["local/tools.ts", ...names], {
    cwd: ROOT,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, TSX_DISABLE_CACHE: "1" },
  });
  return JSON.parse(paths) as Record<string, string>;
}

interface Tools {
  readonly etcd: string;
  readonly "kube-apiserver": string;
  readonly kubectl: string;
  readonly helm: string;
}

/** What kubectl or helm answered. */
export interface Answer {
  readonly code: number;
  readonly stdout: string;
  /** Warnings of the server are here. */
  readonly stderr: string;
}

/**
 * A real etcd and kube-apiserver on loopback ports of their own: admission (Pod Security included), CRD validation and server-side
 * apply are the real ones. No controller and no kubelet runs, so nothing becomes a pod.
 */
export class ApiServer {
  private constructor(
    private readonly tools: Tools,
    private readonly folder: string,
    private readonly children: readonly ChildProcess[],
    readonly kubeconfig: string,
  ) {}

  /** @throws Error with the end of the logs when the server is not ready within a minute */
  static async start(): Promise<ApiServer> {
    const tools = toolPaths(["etcd", "kube-apiserver", "kubectl", "helm"]) as unknown as Tools;
    const folder = mkdtempSync(join(tmpdir(), "api-server-"));
    const file = (name: string) => join(folder, name);
    certificates(folder);
    writeFileSync(file("tokens.csv"), 'test-token,test,test,"system:masters"\n', { mode: 0o600 });
    const [clients, peers, port] = [await freePort(), await freePort(), await freePort()];
    const start = (tool: keyof Tools, args: readonly string[]): ChildProcess => {
      const log = openSync(file(`${tool}.log`), "w");
      return spawn(tools[tool], args, { cwd: folder, stdio: ["ignore", log, log] });
    };
    const etcdUrl = `http://127.0.0.1:${clients}`;
    const peerUrl = `http://127.0.0.1:${peers}`;
    const children = [
      start("etcd", [
        `--data-dir=${file("etcd")}`,
        `--listen-client-urls=${etcdUrl}`,
        `--advertise-client-urls=${etcdUrl}`,
        `--listen-peer-urls=${peerUrl}`,
        `--initial-advertise-peer-urls=${peerUrl}`,
        `--initial-cluster=default=${peerUrl}`,
        "--unsafe-no-fsync",
      ]),
      start("kube-apiserver", [
        `--etcd-servers=${etcdUrl}`,
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        `--secure-port=${port}`,
        `--tls-cert-file=${file("server.crt")}`,
        `--tls-private-key-file=${file("server.key")}`,
        "--service-cluster-ip-range=10.96.0.0/16",
        "--service-account-issuer=https://kubernetes.default.svc",
        `--service-account-key-file=${file("service-account.key")}`,
        `--service-account-signing-key-file=${file("service-account.key")}`,
        `--token-auth-file=${file("tokens.csv")}`,
        "--authorization-mode=RBAC",
        "--allow-privileged=true",
        // no controller makes the default service accounts that this plugin asks for
        "--disable-admission-plugins=ServiceAccount",
      ]),
    ];
    const kubeconfig = file("kubeconfig");
    writeFileSync(
      kubeconfig,
      JSON.stringify({
        apiVersion: "v1",
        kind: "Config",
        clusters: [
          {
            name: "test",
            cluster: { server: `https://127.0.0.1:${port}`, "certificate-authority": file("ca.crt") },
          },
        ],
        users: [{ name: "test", user: { token: "test-token" } }],
        contexts: [{ name: "test", context: { cluster: "test", user: "test" } }],
        "current-context": "test",
      }),
      { mode: 0o600 },
    );
    const server = new ApiServer(tools, folder, children, kubeconfig);
    for (let tries = 0; tries < 300; tries++) {
      if (server.kubectl(["get", "--raw", "/readyz"]).code === 0) return server;
      await sleep(200);
    }
    const log = readFileSync(file("kube-apiserver.log"), "utf8").split("\n").slice(-10).join("\n");
    await server.stop();
    throw new Error(`kube-apiserver was not ready within a minute; the end of its log:\n${log}`);
  }

  kubectl(args: readonly string[], input?: string): Answer {
    return this.run("kubectl", args, input);
  }

  /** What Helm renders of a chart for this server with these documents of values. */
  template(
    release: string,
    chart: string,
    values: readonly string[],
    options: { readonly namespace?: string; readonly crds?: boolean } = {},
  ): Answer {
    const files = values.map((text, index) => {
      const file = join(this.folder, `values-${index}.yaml`);
      writeFileSync(file, text);
      return ["--values", file];
    });
    const { namespace = "default", crds = false } = options;
    return this.run("helm", [
      "template",
      "--skip-tests",
      release,
      chart,
      `--namespace=${namespace}`,
      ...(crds ? ["--include-crds"] : []),
      ...files.flat(),
    ]);
  }

  /** Applies objects on the server with strict validation; warnings are on stderr. */
  apply(objects: readonly unknown[]): Answer {
    return this.applyText(objects.map((object) => JSON.stringify(object)).join("\n---\n"));
  }

  /** The same for YAML; objects that name no namespace go to the given one. */
  applyText(documents: string, namespace = "default"): Answer {
    this.kubectl(["config", "set-context", "test", `--namespace=${namespace}`]);
    return this.kubectl(
      ["apply", "--server-side", "--force-conflicts", "--validate=strict", "--filename=-"],
      documents,
    );
  }

  private run(tool: "kubectl" | "helm", args: readonly string[], input?: string): Answer {
    const { status, stdout, stderr } = spawnSync(this.tools[tool], args, {
      encoding: "utf8",
      input: input ?? "",
      maxBuffer: 1e8,
      env: { PATH: process.env["PATH"] ?? "", HOME: this.folder, KUBECONFIG: this.kubeconfig },
    });
    return { code: status ?? 1, stdout, stderr };
  }

  async stop(): Promise<void> {
    // the server first: it complains loudly when its etcd goes away
    for (const child of [...this.children].reverse()) {
      const ended = new Promise((resolve) => child.once("exit", resolve));
      if (child.exitCode === null && child.kill("SIGTERM")) await ended;
    }
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** A CA, the server's certificate and the key of service account tokens. */
function certificates(folder: string): void {
  const openssl = (args: readonly string[]) =>
    execFileSync("openssl", args, { cwd: folder, stdio: ["ignore", "ignore", "pipe"] });
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "names"), "subjectAltName=IP:127.0.0.1\n");
  const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  openssl([
    "req",
    "-x509",
    ...curve,
    "-days",
    "2",
    "-subj",
    "/CN=test CA",
    "-keyout",
    "ca.key",
    "-out",
    "ca.crt",
  ]);
  openssl(["req", ...curve, "-subj", "/CN=kube-apiserver", "-keyout", "server.key", "-out", "server.csr"]);
  openssl([
    "x509",
    "-req",
    "-days",
    "2",
    "-in",
    "server.csr",
    "-CA",
    "ca.crt",
    "-CAkey",
    "ca.key",
    "-CAcreateserial",
    "-extfile",
    "names",
    "-out",
    "server.crt",
  ]);
  openssl(["genrsa", "-out", "service-account.key", "2048"]);
}
