import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { HelmProvider } from "@cdktf/provider-helm/lib/provider";
import { Release } from "@cdktf/provider-helm/lib/release";
import { Construct } from "constructs";
import fc from "fast-check";
import { versions } from "../../config/versions";
import {
  type ChartName,
  type ChartSettings,
  CustomResources,
  chartArguments,
  document,
  everyPod,
  flowsTo,
  knownVersions,
  mirroredImage,
  NetworkPolicies,
  type NetworkPoliciesProps,
  PlatformNamespace,
  type ReleaseFacts,
  StorageClasses,
  TypedRelease,
  tcp,
  WorkloadServiceAccount,
} from "../../lib/kubernetes";
import { type Fact, oneCluster, state, type Workload } from "../../lib/wiring";
import {
  chartFolder,
  charts,
  namespace,
  peers,
  synthCluster,
  valuesOf,
  withCharts,
} from "../support/kubernetes";
import { type Block, synthApp, TestStack } from "../support/synth";

const root = join(__dirname, "../..");

describe("PlatformNamespace", () => {
  test("enforces restricted, and tells of everything that is less", () => {
    const template = synthCluster((stack) => void namespace(stack, "vault"));
    expect(template.resource("kubernetes_namespace_v1")["metadata"]).toEqual({
      name: "vault",
      labels: {
        "app.kubernetes.io/managed-by": "opentofu",
        "pod-security.kubernetes.io/enforce": "restricted",
        "pod-security.kubernetes.io/audit": "restricted",
        "pod-security.kubernetes.io/warn": "restricted",
      },
    });
  });

  test("enforces less only with a reason, which is written on it", () => {
    const template = synthCluster(
      (stack) =>
        void new PlatformNamespace(stack, "nodes", {
          name: "node-exporter",
          podSecurity: { level: "privileged", reason: "reads the host's /proc" },
        }),
    );
    expect(template.resource("kubernetes_namespace_v1")["metadata"]).toMatchObject({
      labels: {
        "pod-security.kubernetes.io/enforce": "privileged",
        "pod-security.kubernetes.io/warn": "restricted",
      },
      annotations: { "dagster-eks/pod-security-reason": "reads the host's /proc" },
    });
  });

  test.each([
    ["Vault", 'test/x: name of the namespace is "Vault"'],
    ["-vault", 'test/x: name of the namespace is "-vault"'],
    ["v".repeat(64), `test/x: name of the namespace is "${"v".repeat(64)}"`],
    ["", 'test/x: name of the namespace is ""'],
  ])('"%s" is refused', (name, beginning) => {
    expect(() => synthCluster((stack) => void new PlatformNamespace(stack, "x", { name }))).toThrow(
      new Error(
        `${beginning}; it must be 1 to 63 lower-case letters, digits and hyphens, beginning and ending with a letter or digit`,
      ),
    );
  });

  test("a level without a reason is refused", () => {
    expect(() =>
      synthCluster(
        (stack) =>
          void new PlatformNamespace(stack, "x", {
            name: "x",
            podSecurity: { level: "baseline", reason: " " },
          }),
      ),
    ).toThrow(
      new Error(
        'test/x: the namespace "x" enforces "baseline" without a reason; say which pods need it and why, or leave podSecurity out',
      ),
    );
  });
});

test("StorageClasses: gp3 is the default, both are encrypted and wait for their pod, one keeps its volumes", () => {
  const classes = synthCluster(
    (stack) => void new StorageClasses(stack, "storage", { provisioner: "ebs.csi.aws.com" }),
  ).resources("kubernetes_storage_class_v1");
  const shared = {
    storage_provisioner: "ebs.csi.aws.com",
    parameters: { type: "gp3", encrypted: "true" },
    volume_binding_mode: "WaitForFirstConsumer",
    allow_volume_expansion: true,
  };
  expect(classes["storage_gp3"]).toMatchObject({
    ...shared,
    metadata: { name: "gp3", annotations: { "storageclass.kubernetes.io/is-default-class": "true" } },
    reclaim_policy: "Delete",
  });
  expect(classes["storage_gp3-retained"]).toMatchObject({
    ...shared,
    metadata: { name: "gp3-retained" },
    reclaim_policy: "Retain",
  });
  expect(JSON.stringify(classes["storage_gp3-retained"])).not.toContain("is-default-class");
});

test("WorkloadServiceAccount: no token unless asked for, the IRSA role as EKS reads it", () => {
  const accounts = synthCluster((stack) => {
    const data = namespace(stack, "data");
    new WorkloadServiceAccount(stack, "plain", { namespace: data, name: "plain" });
    new WorkloadServiceAccount(stack, "api", {
      namespace: data,
      name: "products-api",
      irsaRoleArn: "arn:aws:iam::111122223333:role/api",
      mountToken: true,
    });
  }).resources("kubernetes_service_account_v1");
  expect(accounts["plain_service-account"]).toMatchObject({
    metadata: { name: "plain", namespace: "data" },
    automount_service_account_token: false,
    depends_on: ["kubernetes_namespace_v1.data-namespace_namespace"],
  });
  expect(accounts["api_service-account"]).toMatchObject({
    metadata: { annotations: { "eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/api" } },
    automount_service_account_token: true,
  });
});

interface VaultPart {
  readonly server?: { readonly logLevel?: string; readonly annotations?: Record<string, string> };
  readonly ui?: { readonly enabled: boolean };
}

interface ReleaseOptions {
  readonly overrides?: Record<string, unknown>;
  readonly releaseName?: string;
  readonly timeoutSeconds?: number;
  readonly settings?: Partial<ChartSettings>;
}

const vaultRelease = (
  values: VaultPart,
  { overrides, releaseName = "vault", timeoutSeconds, settings }: ReleaseOptions = {},
): Block =>
  synthCluster((stack) => {
    new TypedRelease<VaultPart>(stack, "vault", {
      releaseName,
      namespace: namespace(stack, "vault"),
      chart: "vault",
      charts: { ...charts, ...settings },
      values,
      overrides,
      ...(timeoutSeconds === undefined ? {} : { timeoutSeconds }),
    });
  }).resource("helm_release");

describe("TypedRelease", () => {
  test("installs or rolls back as a whole, within a time, after its namespace, at an exact version", () => {
    const { values: _values, "//": _metadata, ...release } = vaultRelease({});
    expect(release).toEqual({
      name: "vault",
      namespace: "vault",
      chart: "vault",
      repository: "https://helm.releases.hashicorp.com",
      version: versions.charts.vault,
      atomic: true,
      cleanup_on_fail: true,
      create_namespace: false,
      wait: true,
      wait_for_jobs: true,
      timeout: 600,
      max_history: 5,
      depends_on: ["kubernetes_namespace_v1.vault-namespace_namespace"],
    });
  });

  test("gives Helm one sorted document per top-level value, the same in whatever order it was written", () => {
    const one = vaultRelease({
      ui: { enabled: true },
      server: { annotations: { b: "2", a: "1" }, logLevel: "info" },
    });
    const other = vaultRelease({
      server: { logLevel: "info", annotations: { a: "1", b: "2" } },
      ui: { enabled: true },
    });
    expect(one["values"]).toEqual([
      `{
  "server": {
    "annotations": {
      "a": "1",
      "b": "2"
    },
    "logLevel": "info"
  }
}`,
      `{
  "ui": {
    "enabled": true
  }
}`,
    ]);
    expect(other["values"]).toEqual(one["values"]);
  });

  test("merges the escape hatch last and keeps the rest", () => {
    const release = vaultRelease(
      { server: { logLevel: "info" }, ui: { enabled: true } },
      { overrides: { server: { logLevel: "debug", extraArgs: "-x" } } },
    );
    expect(valuesOf(release)).toEqual({
      server: { logLevel: "debug", extraArgs: "-x" },
      ui: { enabled: true },
    });
  });

  test.each<[string, Record<string, unknown>, string]>([
    [
      "a misspelt key",
      { server: { datastorage: { size: "1Gi" } } },
      `"server.datastorage" is no value of the chart vault 0.34.1, which would ignore it. Did you mean "server.dataStorage"?`,
    ],
    [
      "a key at the wrong level",
      { server: { ha: { setNodeIds: true } } },
      `"server.ha.setNodeIds" is no value of the chart vault 0.34.1, which would ignore it.`,
    ],
    [
      "a word that the chart does not have at all",
      { observability: true },
      `"observability" is no value of the chart vault 0.34.1, which would ignore it.`,
    ],
    [
      "two at once",
      { serverTelemetri: {}, uy: {} },
      `"serverTelemetri" is no value of the chart vault 0.34.1, which would ignore it. Did you mean "serverTelemetry"?\n"uy" is no value of the chart vault 0.34.1, which would ignore it. Did you mean "ui"?`,
    ],
  ])("%s is refused, with the nearest key, in the escape hatch too", (_name, overrides, message) => {
    expect(() => vaultRelease({}, { overrides })).toThrow(new Error(`test/vault: ${message}`));
  });

  test("below a free-form value anything goes", () => {
    expect(valuesOf(vaultRelease({ server: { annotations: { "my.company/owner": "platform" } } }))).toEqual({
      server: { annotations: { "my.company/owner": "platform" } },
    });
  });

  test.each([
    [59, "59"],
    [1801, "1801"],
    [90.5, "90.5"],
  ])("a time-out of %d s is refused", (timeoutSeconds, shown) => {
    expect(() => vaultRelease({}, { timeoutSeconds })).toThrow(
      new Error(`test/vault: timeoutSeconds is ${shown}; it must be a whole number from 60 to 1800`),
    );
  });

  test("a name that Helm or Kubernetes refuses is refused here", () => {
    const releaseName = "v".repeat(54);
    expect(() => vaultRelease({}, { releaseName })).toThrow(
      new Error(
        `test/vault: name of the release is "${releaseName}"; it must be 1 to 53 lower-case letters, digits and hyphens, beginning and ending with a letter or digit`,
      ),
    );
  });

  test("text that OpenTofu would evaluate stays text", () => {
    const release = vaultRelease({ server: { annotations: { a: "${HOME} %{if}" } } });
    expect(release["values"]).toEqual([expect.stringContaining('"$${HOME} %%{if}"')]);
  });
});

test("document: every value comes back from it, keys sorted, undefined left out", () => {
  const text = fc.string().filter((one) => !/[$%]\{/.test(one));
  const { value } = fc.letrec((tie) => ({
    value: fc.oneof(
      { maxDepth: 3 },
      text,
      fc.boolean(),
      fc.integer(),
      fc.constant(null),
      fc.array(tie("value"), { maxLength: 4 }),
      fc.dictionary(text, tie("value"), { maxKeys: 4, noNullPrototype: true }),
    ),
  }));
  fc.assert(fc.property(value, (one) => expect(JSON.parse(document(one))).toEqual(one)));
  expect(document({ b: 1, a: undefined })).toBe('{\n  "b": 1\n}');
});

describe("charts come from", () => {
  test.each<[string, ChartName, Partial<ChartSettings>, object]>([
    [
      "their repository",
      "kube-prometheus-stack",
      {},
      {
        repository: "https://prometheus-community.github.io/helm-charts",
        chart: "kube-prometheus-stack",
        version: "88.5.3",
      },
    ],
    [
      "their OCI registry",
      "karpenter",
      {},
      { repository: "oci://public.ecr.aws/karpenter", chart: "karpenter", version: "1.14.1" },
    ],
    [
      "a mirror folder",
      "karpenter",
      { mirror: { folder: "mirror/charts" } },
      { chart: "../../../mirror/charts/karpenter-1.14.1.tgz", version: "1.14.1" },
    ],
    [
      "a mirror registry",
      "vault",
      { mirror: { oci: "oci://registry.example.com/charts" } },
      { repository: "oci://registry.example.com/charts", chart: "vault", version: "0.34.1" },
    ],
    [
      "the checkout, mirror or not",
      "custom-resources",
      { mirror: { oci: "oci://registry.example.com/charts" } },
      { chart: "../../../charts/custom-resources", version: "0.1.0" },
    ],
  ])("%s", (_name, chart, settings, expected) => {
    expect(chartArguments(chart, { ...charts, ...settings })).toEqual(expected);
  });

  test("a registry override replaces the registry and keeps the repository", () => {
    expect(mirroredImage("quay.io", "prometheus/prometheus", undefined)).toBe(
      "quay.io/prometheus/prometheus",
    );
    expect(mirroredImage("", "hashicorp/vault", undefined)).toBe("hashicorp/vault");
    expect(mirroredImage("", "hashicorp/vault", "r.example.com/m")).toBe("r.example.com/m/hashicorp/vault");
  });
});

describe("the facts about charts", () => {
  const chartNames = Object.keys(versions.charts) as ChartName[];
  test.each(chartNames)("of %s are of the pinned version", (name) => {
    expect(knownVersions(name)).toEqual([versions.charts[name]]);
  });

  /** What the script makes of unpacked charts, each with the version to stamp it with. */
  const printed = (...folders: [folder: string, version?: string][]): string[] => {
    const { stdout, stderr } = spawnSync(
      process.execPath,
      [
        "--input-type=module",
        "--eval",
        'import { printed } from "./scripts/chart-keys.mjs"; console.log(JSON.stringify(JSON.parse(process.argv[1]).map(([folder, version]) => printed(folder, version))));',
        JSON.stringify(folders),
      ],
      { cwd: root, encoding: "utf8" },
    );
    if (!stdout) throw new Error(stderr);
    return JSON.parse(stdout);
  };
  const committed = (name: string) =>
    readFileSync(join(root, `lib/kubernetes/chart-keys/${name}.json`), "utf8");

  withCharts("are what scripts/chart-keys.mjs reads from the unpacked charts", () => {
    const upstream = chartNames.filter((name) => name !== "custom-resources");
    const now = printed(
      // the source of Dagster's chart is stamped at its release
      ...upstream.map((name): [string, string?] =>
        name === "dagster" ? [join(chartFolder, name), versions.charts.dagster] : [join(chartFolder, name)],
      ),
    );
    expect(Object.fromEntries(upstream.map((name, index) => [name, now[index]]))).toEqual(
      Object.fromEntries(upstream.map((name) => [name, committed(name)])),
    );
  });

  test("of the chart in the checkout are what the script reads from it", () => {
    expect(printed(["charts/custom-resources"])).toEqual([committed("custom-resources")]);
  });

  test("the script explains itself and refuses a folder without a chart", () => {
    const run = (...args: string[]) =>
      spawnSync(process.execPath, ["scripts/chart-keys.mjs", ...args], { cwd: root, encoding: "utf8" });
    expect(run("--help")).toMatchObject({ status: 0, stdout: expect.stringContaining("Usage:") });
    expect(run()).toMatchObject({ status: 64, stderr: expect.stringContaining("Usage:") });
    expect(run("charts")).toMatchObject({
      status: 1,
      stderr: "charts holds no Chart.yaml. Unpack the chart with `helm pull --untar` and name its folder.\n",
    });
  });
});

describe("CustomResources", () => {
  const rule = (name: string) => ({
    apiVersion: "monitoring.coreos.com/v1",
    kind: "PrometheusRule",
    metadata: { name },
    spec: { groups: [] },
  });
  const custom = (objects: Record<string, ReturnType<typeof rule>>) =>
    synthCluster((stack) => {
      const monitoring = namespace(stack, "monitoring");
      const provider = new TypedRelease(stack, "kps", {
        releaseName: "kps",
        namespace: monitoring,
        chart: "kube-prometheus-stack",
        charts,
        values: {},
        facts: { crds: ["monitoring.coreos.com/PrometheusRule"] },
      });
      new CustomResources(stack, "rules", {
        releaseName: "rules",
        namespace: monitoring,
        charts,
        objects,
        dependsOn: [provider.ready],
      });
    });

  test("hold one document per object, in a release of the chart in the checkout", () => {
    const release = custom({ b: rule("b"), a: rule("a") }).resource("helm_release", "rules_objects_release");
    expect(release).toMatchObject({
      chart: "../../../charts/custom-resources",
      version: "0.1.0",
      timeout: 300,
    });
    expect((release["values"] as string[]).map((text) => Object.keys(JSON.parse(text).objects))).toEqual([
      ["a"],
      ["b"],
    ]);
    expect(valuesOf(release).objects.a).toEqual(rule("a"));
  });

  test.each<[string, Record<string, ReturnType<typeof rule>>, string]>([
    ["no object", {}, "test/rules: holds no object; leave it out"],
    [
      "one object twice",
      { a: rule("same"), b: rule("same") },
      'test/rules: "b" is monitoring.coreos.com/v1/PrometheusRule monitoring/same, and so is "a"',
    ],
  ])("refuse %s", (_name, objects, message) => {
    expect(() => custom(objects)).toThrow(new Error(message));
  });
});

const vaultServer: Workload = {
  namespace: "vault",
  name: "vault",
  podLabels: { app: "vault" },
  ports: { http: 8200 },
};
const prometheus: Workload = {
  namespace: "monitoring",
  name: "prometheus",
  podLabels: { app: "prometheus" },
  ports: { web: 9090 },
};

describe("NetworkPolicies", () => {
  const policies = (workloads: NetworkPoliciesProps["workloads"], facts: Fact[] = []) =>
    synthCluster((stack) => {
      new NetworkPolicies(stack, "policies", { namespace: namespace(stack, "vault"), workloads });
      state(
        stack,
        { kind: "workload", workload: vaultServer },
        { kind: "workload", workload: prometheus },
        ...facts,
      );
    }).resources("kubernetes_network_policy_v1");

  test("deny everything, both ways, and open what is listed", () => {
    const found = policies(
      [
        {
          workload: vaultServer,
          allowFrom: [{ peer: prometheus, ports: tcp(8200) }],
          allowTo: [peers.internet],
        },
        {
          workload: everyPod("vault"),
          allowTo: [peers.dns],
        },
      ],
      [
        { kind: "flow", flow: { from: prometheus, to: vaultServer, port: 8200 } },
        { kind: "flow", flow: { from: vaultServer, to: peers.internet.peer, port: 443 } },
        ...flowsTo(vaultServer, peers.dns).map((flow) => ({ kind: "flow", flow }) as const),
      ],
    );
    expect(found["policies_default-deny"]?.["spec"]).toEqual({
      pod_selector: {},
      policy_types: ["Ingress", "Egress"],
    });
    expect(found["policies_vault"]?.["spec"]).toEqual({
      pod_selector: { match_labels: { app: "vault" } },
      policy_types: ["Ingress", "Egress"],
      ingress: [
        {
          from: [
            {
              namespace_selector: { match_labels: { "kubernetes.io/metadata.name": "monitoring" } },
              pod_selector: { match_labels: { app: "prometheus" } },
            },
          ],
          ports: [{ port: "8200", protocol: "TCP" }],
        },
      ],
      egress: [
        {
          to: [{ ip_block: { cidr: "0.0.0.0/0", except: ["169.254.0.0/16"] } }],
          ports: [{ port: "443", protocol: "TCP" }],
        },
      ],
    });
    expect(found["policies_every-pod"]?.["spec"]).toMatchObject({
      policy_types: ["Egress"],
      egress: [
        {
          to: [
            {
              namespace_selector: { match_labels: { "kubernetes.io/metadata.name": "kube-system" } },
              pod_selector: { match_labels: { "k8s-app": "kube-dns" } },
            },
          ],
          ports: [
            { port: "53", protocol: "UDP" },
            { port: "53", protocol: "TCP" },
          ],
        },
      ],
    });
  });

  test("refuse a workload of another namespace, and two policies for one", () => {
    expect(() => policies([{ workload: prometheus }])).toThrow(
      new Error(
        'test/policies: workload "prometheus" runs in "monitoring"; these are the policies of "vault"',
      ),
    );
    expect(() => policies([{ workload: vaultServer }, { workload: vaultServer }])).toThrow(
      new Error('test/policies: workload "vault" has two policies; join their lists'),
    );
  });
});

describe("the wiring check refuses", () => {
  /** A stack with a namespace `vault`, and a construct `part` per list of facts. */
  const wired = (...parts: Fact[][]) =>
    synthCluster((stack) => {
      namespace(stack, "vault");
      parts.forEach((facts, index) => {
        const part = new Construct(stack, `part-${index + 1}`);
        if (facts.length > 0) state(part, ...facts);
      });
    });
  const release = (name: string, namespaceName = "vault", version = "1"): Fact => ({
    kind: "release",
    release: { namespace: namespaceName, name },
    chart: "vault",
    version,
    knownVersions: ["1"],
  });
  const service: Fact = {
    kind: "service",
    service: {
      namespace: "vault",
      name: "vault",
      labels: { app: "vault" },
      workload: vaultServer,
      ports: { http: { port: 8200, targetPort: 8200 } },
    },
  };
  const monitor = (matchLabels: Record<string, string>, port: string): Fact => ({
    kind: "monitor",
    monitor: { namespace: "vault", name: "vault", serviceNamespace: "vault", matchLabels, port },
  });
  const workloads: Fact[] = [
    { kind: "workload", workload: vaultServer },
    { kind: "workload", workload: prometheus },
  ];
  const flow = { from: prometheus, to: vaultServer, port: 8200 };

  const cases: [name: string, facts: Fact[][], problems: string[]][] = [
    ["nothing that fits together", [[release("vault")], [service, monitor({ app: "vault" }, "http")]], []],
    [
      "a release in a namespace that nothing makes",
      [[release("x", "elsewhere")]],
      [
        'test/part-1 installs the release "x" into the namespace "elsewhere", which nothing makes. Add a PlatformNamespace before it; there are default, kube-node-lease, kube-public, kube-system, vault.',
      ],
    ],
    [
      "two releases with one name",
      [[release("vault")], [release("vault")]],
      ["test/part-2 makes the release vault/vault, and so does test/part-1. Give one of them another name."],
    ],
    [
      "two Services with one name",
      [[service], [service]],
      ["test/part-2 makes the Service vault/vault, and so does test/part-1. Give one of them another name."],
    ],
    [
      "a chart version outside the table",
      [[release("vault", "vault", "2")]],
      [
        'test/part-1 installs version "2" of the chart vault, but the values are checked against 1. Run scripts/chart-keys.mjs on the chart\'s new version and review what it changes, or pin a known version in config/versions.ts.',
      ],
    ],
    [
      "a service account that is used but not made",
      [
        [{ kind: "service-account", account: { namespace: "vault", name: "vault" } }],
        [{ kind: "uses-service-account", account: { namespace: "vault", name: "valut" } }],
      ],
      ["test/part-2 uses the service account vault/valut, which nothing makes. There are vault/vault."],
    ],
    [
      "a ServiceMonitor that selects nothing by its labels",
      [[service], [monitor({ app: "valut", "vault-active": "true" }, "http")]],
      [
        'test/part-2: the ServiceMonitor vault/vault selects nothing: no Service in "vault" has the labels app=valut, vault-active=true and a port called "http". There are vault (ports http).',
      ],
    ],
    [
      "a ServiceMonitor that selects nothing by its port",
      [[service], [monitor({ app: "vault" }, "metrics")]],
      [
        'test/part-2: the ServiceMonitor vault/vault selects nothing: no Service in "vault" has the labels app=vault and a port called "metrics". There are vault (ports http).',
      ],
    ],
    [
      "a declared flow with no network policy, on either side",
      [
        [
          ...workloads,
          { kind: "isolated", namespace: "vault" },
          { kind: "isolated", namespace: "monitoring" },
        ],
        [{ kind: "flow", flow }],
      ],
      [
        'test/part-2 needs monitoring/prometheus -> vault/vault TCP 8200, but the network policies of "monitoring" do not let it out. Add it to allowTo of monitoring/prometheus.',
        'test/part-2 needs monitoring/prometheus -> vault/vault TCP 8200, but the network policies of "vault" do not let it in. Add it to allowFrom of vault/vault.',
      ],
    ],
    [
      "a flow that follows from a ServiceMonitor, with no network policy",
      [
        [...workloads, service, { kind: "isolated", namespace: "vault" }],
        [{ kind: "scraper", workload: prometheus }, monitor({ app: "vault" }, "http")],
      ],
      [
        'test/part-2 (ServiceMonitor vault/vault) needs monitoring/prometheus -> vault/vault TCP 8200, but the network policies of "vault" do not let it in. Add it to allowFrom of vault/vault.',
      ],
    ],
    [
      "a policy with no flow",
      [[...workloads, { kind: "allowed", side: "ingress", flow }]],
      [
        "test/part-1 allows monitoring/prometheus -> vault/vault TCP 8200 (ingress), which nothing needs. Remove it, or state the flow where it is needed.",
      ],
    ],
    [
      "a flow from a workload that nothing runs",
      [[{ kind: "workload", workload: vaultServer }], [{ kind: "flow", flow }]],
      ["A flow names the workload monitoring/prometheus, which nothing runs. There are vault/vault."],
    ],
  ];

  test.each(cases)("%s", (_name, facts, problems) => {
    if (problems.length === 0) {
      expect(() => wired(...facts)).not.toThrow();
      return;
    }
    expect(() => wired(...facts)).toThrow(
      expect.objectContaining({
        name: "WiringError",
        message: `The wiring check found ${problems.length === 1 ? "1 problem" : `${problems.length} problems`}; nothing was synthesized.\n\n${problems.map((one) => `  ${one}`).join("\n\n")}`,
      }),
    );
  });

  const crd = "example.com/Thing";
  const releases = (order: "none" | "direct" | "through", facts: ReleaseFacts = { crds: [crd] }) =>
    synthCluster((stack) => {
      const vault = namespace(stack, "vault");
      const install = (id: string, its: ReleaseFacts, dependsOn: TypedRelease<object>[]) =>
        new TypedRelease(stack, id, {
          releaseName: id,
          namespace: vault,
          chart: "vault",
          charts,
          values: {},
          facts: its,
          dependsOn: dependsOn.map((one) => one.ready),
        });
      const provider = install("provider", facts, []);
      const between = install("between", {}, [provider]);
      install(
        "consumer",
        { needsCrds: [crd] },
        order === "none" ? [] : order === "direct" ? [provider] : [between],
      );
    });

  test("custom resources that do not come after their CRD", () => {
    expect(() => releases("none")).toThrow(
      `test/consumer holds objects of ${crd}, whose CRD test/provider installs, but does not come after it. Add test/provider to its dependsOn.`,
    );
    expect(() => releases("direct", {})).toThrow(
      `test/consumer holds objects of ${crd}, but no release of this cluster installs that CRD. There are none.`,
    );
    expect(() => releases("direct")).not.toThrow();
    expect(() => releases("through")).not.toThrow();
  });

  test("custom resources in a stack that is not deployed after the one with their CRD", () => {
    const two = (ordered: boolean, together: boolean) => () =>
      synthApp((app) => {
        const stacks = ["one", "two"].map((id) => {
          const stack = new TestStack(app, id);
          const release = new Release(stack, "release", { name: id, chart: "x" });
          new HelmProvider(stack, "helm", {});
          state(
            stack,
            id === "one"
              ? { kind: "crds", crds: [crd], resource: release }
              : { kind: "needs-crds", crds: [crd], resource: release },
          );
          return stack;
        }) as [TestStack, TestStack];
        if (together) oneCluster(...stacks);
        if (ordered) stacks[1].addDependency(stacks[0]);
      });
    expect(two(true, true)).not.toThrow();
    expect(two(false, true)).toThrow(
      `two holds objects of ${crd}, whose CRD one installs, but does not come after it. Let the stack two depend on one.`,
    );
    expect(two(true, false)).toThrow(
      `two holds objects of ${crd}, but no release of this cluster installs that CRD. There are none.`,
    );
  });
});
