import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { NodePools, type NodePoolsProps, nodePoolObjects } from "../../lib/karpenter";
import {
  flowsTo,
  NetworkPolicies,
  PlatformNamespace,
  StorageClasses,
  WorkloadServiceAccount,
} from "../../lib/kubernetes";
import { state } from "../../lib/wiring";
import { chartFolder, charts, namespace, peers, synthCluster } from "../support/kubernetes";
import { environmentNames, synthPlatform, type Template } from "../support/synth";
import { ApiServer } from "./support/api-server";
import { evaluated, manifestsOf } from "./support/manifests";
import { ROOT } from "./support/sandbox";

/** A real kube-apiserver: validation, admission and Pod Security as a cluster has them; nothing becomes a pod. */
let server: ApiServer;

beforeAll(async () => {
  server = await ApiServer.start();
}, 1_800_000);

afterAll(async () => {
  await server?.stop();
});

/** A workload that looks names up and calls AWS. */
const workload = { namespace: "data", name: "api", podLabels: { app: "api" }, ports: { http: 8080 } };

const objects = manifestsOf(
  synthCluster((stack) => {
    const data = namespace(stack, "data");
    new PlatformNamespace(stack, "host-metrics", {
      name: "host-metrics",
      podSecurity: { level: "privileged", reason: "reads the host's files" },
    });
    new WorkloadServiceAccount(stack, "account", {
      namespace: data,
      name: "products-api",
      irsaRoleArn: "arn:aws:iam::111122223333:role/products-api",
    });
    new StorageClasses(stack, "storage", { provisioner: "ebs.csi.aws.com" });
    state(
      stack,
      { kind: "workload", workload },
      ...[peers.dns, peers.internet].flatMap((reach) =>
        flowsTo(workload, reach).map((flow) => ({ kind: "flow", flow }) as const),
      ),
    );
    new NetworkPolicies(stack, "policies", {
      namespace: data,
      workloads: [{ workload, allowTo: [peers.dns, peers.internet] }],
    });
  }),
);
const kinds = objects.map(({ kind }) => kind).sort();

describe("what the constructs write", () => {
  test("is accepted with strict validation and without a warning", () => {
    expect(kinds).toEqual([
      "Namespace",
      "Namespace",
      "NetworkPolicy",
      "NetworkPolicy",
      "ServiceAccount",
      "StorageClass",
      "StorageClass",
    ]);
    const { code, stdout, stderr } = server.apply(objects);
    expect([code, stderr]).toEqual([0, ""]);
    expect(stdout.trim().split("\n")).toHaveLength(objects.length);
  });

  test("changes nothing when it is applied again", () => {
    const versions = () =>
      server.kubectl(["get", "ns,sa,netpol,sc", "-A", "-o", "jsonpath={.items[*].metadata.resourceVersion}"])
        .stdout;
    const before = versions();
    expect(server.apply(objects).code).toBe(0);
    expect(versions()).toBe(before);
  });

  test("would be refused with a misspelt field, so the validation is strict", () => {
    const [policy] = objects.filter(({ kind }) => kind === "NetworkPolicy");
    const { code, stderr } = server.apply([
      { ...policy, spec: { podSelector: {}, policyType: ["Ingress"] } },
    ]);
    expect(code).not.toBe(0);
    expect(stderr).toContain(".spec.policyType: field not declared in schema");
  });
});

describe("Pod Security", () => {
  const pod = (target: string, securityContext: unknown) => ({
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name: "probe", namespace: target },
    spec: { containers: [{ name: "probe", image: "example.invalid/probe:1", securityContext }] },
  });
  const restricted = {
    allowPrivilegeEscalation: false,
    capabilities: { drop: ["ALL"] },
    runAsNonRoot: true,
    seccompProfile: { type: "RuntimeDefault" },
  };

  test("refuses what is not restricted, and takes what is, without a warning", () => {
    const refused = server.apply([pod("data", {})]);
    expect(refused.code).not.toBe(0);
    expect(refused.stderr).toContain('violates PodSecurity "restricted:latest"');
    expect(server.apply([pod("data", restricted)])).toMatchObject({ code: 0, stderr: "" });
  });

  test("lets a namespace with a reason run more, and warns", () => {
    const { code, stderr } = server.apply([pod("host-metrics", { privileged: true })]);
    expect(code).toBe(0);
    expect(stderr).toContain('Warning: would violate PodSecurity "restricted:latest"');
  });
});

describe("custom resources", () => {
  const props: Omit<NodePoolsProps, "namespace"> = {
    charts,
    clusterName: "dagster-eks",
    nodeIdentity: { roleName: "KarpenterNodeRole-dagster-eks" },
    amiAlias: "al2023@v20260903",
    diskGib: 50,
    default: { maxCpu: 64, maxMemoryGib: 256, architectures: ["amd64", "arm64"] },
    batch: { maxCpu: 128, maxMemoryGib: 512, architectures: ["amd64"], capacityTypes: ["spot"] },
    quietWindows: [{ schedule: "0 7 * * mon-fri", hours: 10 }],
    dependsOn: [],
  };

  /** CRDs with the schemas that the project keeps of Karpenter's. */
  const crds = ["EC2NodeClass", "NodePool"].map((kind) => {
    const file = join(ROOT, "test/facts/crds", `${kind}.json`);
    const { apiVersion, scope, schema } = JSON.parse(readFileSync(file, "utf8"));
    const [group, version] = String(apiVersion).split("/");
    const singular = kind.toLowerCase();
    const plural = singular.endsWith("s") ? `${singular}es` : `${singular}s`;
    return {
      apiVersion: "apiextensions.k8s.io/v1",
      kind: "CustomResourceDefinition",
      metadata: { name: `${plural}.${group}` },
      spec: {
        group,
        scope,
        names: { plural, singular, kind },
        versions: [{ name: version, served: true, storage: true, schema: { openAPIV3Schema: schema } }],
      },
    };
  });

  beforeAll(() => {
    const { code, stderr } = server.apply(crds);
    if (code !== 0) throw new Error(stderr);
    const established = server.kubectl([
      "wait",
      "--for=condition=Established",
      "--timeout=30s",
      "crd",
      "--all",
    ]);
    if (established.code !== 0) throw new Error(established.stderr);
  });

  test("are rendered by Helm from the release's values and accepted by the server", () => {
    const template = synthCluster((stack) => {
      const karpenter = namespace(stack, "karpenter");
      // stands for the release karpenter-crd
      state(stack, {
        kind: "crds",
        crds: ["karpenter.k8s.aws/EC2NodeClass", "karpenter.sh/NodePool"],
        resource: karpenter.ready[0] as never,
      });
      new NodePools(stack, "pools", { ...props, namespace: karpenter, dependsOn: karpenter.ready });
    });
    const release = template.resource("helm_release");
    const rendered = server.template(
      "node-pools",
      join(ROOT, "charts/custom-resources"),
      release["values"] as string[],
    );
    expect([rendered.code, rendered.stderr]).toEqual([0, ""]);
    const applied = server.applyText(rendered.stdout);
    expect([applied.code, applied.stderr]).toEqual([0, ""]);
    expect(applied.stdout.trim().split("\n").sort()).toEqual([
      "ec2nodeclass.karpenter.k8s.aws/default serverside-applied",
      "nodepool.karpenter.sh/batch serverside-applied",
      "nodepool.karpenter.sh/default serverside-applied",
    ]);
  });

  test("are refused by the server when a value is outside the schema", () => {
    const pool = structuredClone(nodePoolObjects(props as NodePoolsProps)["batch-pool"]) as unknown as {
      spec: { disruption: { consolidationPolicy: string } };
    };
    pool.spec.disruption.consolidationPolicy = "Never";
    const { code, stderr } = server.apply([pool]);
    expect(code).not.toBe(0);
    expect(stderr).toContain('spec.disruption.consolidationPolicy: Unsupported value: "Never"');
  });
});

/** Whole upstream charts, a folder each, as `charts.mirror` of the configuration has them; values alone do not render. */
const chartMirror = existsSync(join(chartFolder, "vault/templates")) ? chartFolder : undefined;

describe.each(environmentNames)("the platform stack of %s", (name) => {
  const platform = synthPlatform(name)["platform"] as Template;

  // a server of its own: what another environment left must not help
  let server: ApiServer;
  beforeAll(async () => {
    server = await ApiServer.start();
  }, 60_000);
  afterAll(() => server?.stop());

  test("has objects that the server accepts with strict validation and without a warning", () => {
    const { code, stderr } = server.apply(manifestsOf(platform));
    expect([code, stderr]).toEqual([0, ""]);
  });

  const withMirror = chartMirror ? test : test.skip;
  withMirror(
    `has releases whose upstream charts the server accepts, with the names and ports of the runbooks${chartMirror ? "" : " [no chart mirror here: set CHARTS_DIR to a folder of unpacked charts]"}`,
    () => {
      const releases = Object.values(platform.resources("helm_release")).map((block) => ({
        name: String(block["name"]),
        chart: String(block["chart"]),
        namespace: String(block["namespace"]),
        values: ((block["values"] ?? []) as string[]).map(evaluated),
        crds: block["skip_crds"] !== true,
      }));
      // CRDs first, as in a real deployment, where the releases wait for each other
      const order = ["kube-prometheus-stack", "karpenter-crd", "karpenter", "vault"];
      releases.sort((a, b) => order.indexOf(a.chart) - order.indexOf(b.chart));
      expect(releases.map(({ chart }) => chart)).toEqual(order);
      for (const { name: release, chart, namespace: target, values, crds } of releases) {
        const rendered = server.template(release, join(chartFolder, chart), values, {
          namespace: target,
          crds,
        });
        expect([chart, rendered.code, rendered.stderr]).toEqual([chart, 0, ""]);
        const documents = rendered.stdout.split(/^---$/m).filter((text) => /^kind:/m.test(text));
        const definitions = documents.filter((text) => /^kind: CustomResourceDefinition$/m.test(text));
        for (const part of [definitions, documents.filter((text) => !definitions.includes(text))]) {
          if (part.length === 0) continue;
          const applied = server.applyText(part.join("\n---\n"), target);
          // the one pod that no level below privileged allows, in a namespace of its own
          const warnings = applied.stderr
            .split("\n")
            .filter((line) => !/host namespaces .* \(container "node-exporter"/.test(line));
          expect([chart, applied.code, warnings.join("\n")]).toEqual([chart, 0, ""]);
          if (part === definitions) {
            server.kubectl(["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"]);
          }
        }
      }
      const ports = (target: string, service: string) =>
        server.kubectl([
          "get",
          "service",
          service,
          `--namespace=${target}`,
          "-o",
          "jsonpath={.spec.ports[*].port}",
        ]).stdout;
      // the names that the operations guide uses
      expect(ports("monitoring", "kps-prometheus").split(" ")).toContain("9090");
      expect(ports("monitoring", "kps-alertmanager").split(" ")).toContain("9093");
      expect(ports("monitoring", "kps-grafana")).toBe("80");
      expect(ports("vault", "vault-ui")).toBe("8200");
      expect(ports("vault", "vault").split(" ")).toContain("8200");
      const deployments = server.kubectl([
        "get",
        "deployment,statefulset",
        "--all-namespaces",
        "-o",
        "name",
      ]).stdout;
      for (const one of [
        "deployment.apps/karpenter",
        "statefulset.apps/vault",
        "deployment.apps/kps-grafana",
      ]) {
        expect(deployments).toContain(one);
      }
    },
    300_000,
  );
});
