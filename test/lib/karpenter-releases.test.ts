import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { versions } from "../../config/versions";
import {
  batchPods,
  KarpenterReleases,
  type KarpenterReleasesProps,
  NodePools,
  type NodePoolsProps,
  nodePoolObjects,
} from "../../lib/karpenter";
import { type Fact, state } from "../../lib/wiring";
import { crdErrors, schemaSource } from "../support/crds";
import {
  chartFolder,
  charts,
  namespace,
  peers,
  synthCluster,
  valuesOf,
  withCharts,
} from "../support/kubernetes";
import type { TestStack } from "../support/synth";

const root = join(__dirname, "../..");

/** Stands for the release that brings the Prometheus operator. */
const operator = (stack: TestStack): Fact => ({
  kind: "crds",
  crds: ["monitoring.coreos.com/ServiceMonitor"],
  resource: namespace(stack, "monitoring").ready[0] as never,
});

const controller = (overrides: Partial<KarpenterReleasesProps> = {}, namespaceName = "karpenter") =>
  synthCluster((stack) => {
    const crds = operator(stack) as Extract<Fact, { kind: "crds" }>;
    state(stack, crds);
    new KarpenterReleases(stack, "karpenter", {
      namespace: namespace(stack, namespaceName),
      charts,
      peers,
      clusterName: "dagster-eks",
      clusterEndpoint: "https://cluster.example",
      queueName: "dagster-eks",
      replicas: 2,
      cpu: "1",
      memory: "1Gi",
      isolatedVpc: false,
      dependsOn: [crds.resource],
      ...overrides,
    });
  });

describe("KarpenterReleases", () => {
  const template = controller();

  test("brings the CRDs as a release of their own, first, in the controller's version", () => {
    const crds = template.resource("helm_release", "karpenter_crds_release");
    const release = template.resource("helm_release", "karpenter_controller_release");
    expect(crds).toMatchObject({
      name: "karpenter-crd",
      namespace: "karpenter",
      repository: "oci://public.ecr.aws/karpenter",
      chart: "karpenter-crd",
      version: versions.charts.karpenter,
    });
    expect(release).toMatchObject({
      name: "karpenter",
      namespace: "karpenter",
      chart: "karpenter",
      version: versions.charts.karpenter,
      skip_crds: true,
    });
    expect(release["depends_on"]).toContain("helm_release.karpenter_crds_release");
  });

  test("runs two replicas that AWS settings reach, measured, with requests equal to limits", () => {
    expect(valuesOf(template.resource("helm_release", "karpenter_controller_release"))).toEqual({
      replicas: 2,
      controller: {
        resources: { requests: { cpu: "1", memory: "1Gi" }, limits: { cpu: "1", memory: "1Gi" } },
      },
      serviceAccount: { create: true, name: "karpenter" },
      serviceMonitor: { enabled: true },
      settings: {
        clusterName: "dagster-eks",
        clusterEndpoint: "https://cluster.example",
        interruptionQueue: "dagster-eks",
        eksControlPlane: true,
        enableZonalShift: true,
        isolatedVPC: false,
      },
    });
  });

  test("takes its role by annotation where Pod Identity is not available, its image from a mirror, other values last", () => {
    const other = controller({
      identity: { kind: "irsa", roleArn: "arn:aws:iam::111122223333:role/karpenter" },
      charts: { ...charts, imageRegistry: "registry.example.com/mirror" },
      overrides: { settings: { batchMaxDuration: "5s" } },
    });
    expect(valuesOf(other.resource("helm_release", "karpenter_controller_release"))).toMatchObject({
      serviceAccount: {
        annotations: { "eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/karpenter" },
      },
      controller: { image: { repository: "registry.example.com/mirror/karpenter/controller" } },
      settings: { batchMaxDuration: "5s", clusterName: "dagster-eks" },
    });
  });

  test("is refused before the operator whose ServiceMonitor it holds", () => {
    expect(() => controller({ dependsOn: [] })).toThrow(
      "test/karpenter/controller holds objects of monitoring.coreos.com/ServiceMonitor, whose CRD test installs, but does not come after it.",
    );
  });

  test("is refused in a namespace that its role is not bound to", () => {
    expect(() => controller({}, "nodes")).toThrow(
      "test/karpenter uses the service account karpenter/karpenter, which nothing makes. There are nodes/karpenter.",
    );
  });
});

const poolProps = (stack: TestStack): NodePoolsProps => ({
  namespace: namespace(stack, "karpenter"),
  charts,
  clusterName: "dagster-eks",
  nodeIdentity: { roleName: "KarpenterNodeRole-dagster-eks" },
  amiAlias: versions.amis.karpenterAlias,
  diskGib: 50,
  default: { maxCpu: 64, maxMemoryGib: 256, architectures: ["amd64", "arm64"] },
  batch: { maxCpu: 128, maxMemoryGib: 512, architectures: ["amd64"], capacityTypes: ["spot"] },
  quietWindows: [{ schedule: "0 7 * * mon-fri", hours: 10 }],
  dependsOn: [],
});

const pools = (overrides: Partial<NodePoolsProps> = {}) =>
  synthCluster((stack) => {
    const props = poolProps(stack);
    state(stack, {
      kind: "crds",
      crds: ["karpenter.sh/NodePool", "karpenter.k8s.aws/EC2NodeClass"],
      resource: props.namespace.ready[0] as never,
    });
    new NodePools(stack, "pools", { ...props, ...overrides });
  });

// biome-ignore lint/suspicious/noExplicitAny: objects read by path in assertions
const objectsOf = (overrides: Partial<NodePoolsProps> = {}): Record<string, any> =>
  valuesOf(pools(overrides).resource("helm_release")).objects;

describe("NodePools", () => {
  const objects = objectsOf();

  test("are one release, which waits fifteen minutes for the last node to go", () => {
    expect(pools().resource("helm_release")).toMatchObject({
      name: "node-pools",
      chart: "../../../charts/custom-resources",
      timeout: 900,
      wait: true,
    });
    expect(Object.keys(objects).sort()).toEqual(["batch-pool", "default-pool", "node-class"]);
  });

  test.each(["node-class", "default-pool", "batch-pool"])(
    `the API server would take %s (${schemaSource("karpenter-crd")}, unknown fields are errors)`,
    (id) => {
      expect(crdErrors("karpenter-crd", objects[id])).toEqual([]);
      expect(crdErrors("karpenter-crd", { ...objects[id], spec: { ...objects[id].spec, x: 1 } })).toContain(
        "/spec must NOT have additional properties x",
      );
    },
  );

  test("the node class pins its AMI, keeps pods from the node's credentials and encrypts the disk", () => {
    expect(objects["node-class"].spec).toEqual({
      amiSelectorTerms: [{ alias: "al2023@v20260903" }],
      role: "KarpenterNodeRole-dagster-eks",
      subnetSelectorTerms: [{ tags: { "karpenter.sh/discovery": "dagster-eks" } }],
      securityGroupSelectorTerms: [{ tags: { "karpenter.sh/discovery": "dagster-eks" } }],
      metadataOptions: { httpEndpoint: "enabled", httpTokens: "required", httpPutResponseHopLimit: 1 },
      blockDeviceMappings: [
        {
          deviceName: "/dev/xvda",
          ebs: { volumeType: "gp3", volumeSize: "50Gi", encrypted: true, deleteOnTermination: true },
        },
      ],
      tags: { "karpenter.sh/discovery": "dagster-eks", Name: "dagster-eks-karpenter" },
    });
  });

  test("an isolated VPC takes an instance profile; Bottlerocket has its data on another device", () => {
    const { spec } = objectsOf({
      nodeIdentity: { instanceProfileName: "nodes" },
      amiAlias: "bottlerocket@v1.50.0",
    })["node-class"];
    expect([spec.instanceProfile, spec.role]).toEqual(["nodes", undefined]);
    expect(spec.blockDeviceMappings[0].deviceName).toBe("/dev/xvdb");
  });

  test("default: spot and on-demand, c/m/r after generation 4, consolidated after 30 s except in quiet windows", () => {
    expect(objects["default-pool"].spec).toMatchObject({
      limits: { cpu: "64", memory: "256Gi" },
      disruption: {
        consolidationPolicy: "WhenEmptyOrUnderutilized",
        consolidateAfter: "30s",
        budgets: [
          { nodes: "10%" },
          {
            nodes: "0",
            schedule: "0 7 * * mon-fri",
            duration: "10h",
            reasons: ["Drifted", "Underutilized"],
          },
        ],
      },
    });
    const { spec } = objects["default-pool"].spec.template;
    expect(spec).toMatchObject({
      expireAfter: "720h",
      nodeClassRef: { group: "karpenter.k8s.aws", kind: "EC2NodeClass", name: "default" },
    });
    expect(spec.requirements).toEqual([
      { key: "kubernetes.io/os", operator: "In", values: ["linux"] },
      { key: "kubernetes.io/arch", operator: "In", values: ["amd64", "arm64"] },
      { key: "karpenter.sh/capacity-type", operator: "In", values: ["spot", "on-demand"] },
      { key: "karpenter.k8s.aws/instance-category", operator: "In", values: ["c", "m", "r"] },
      { key: "karpenter.k8s.aws/instance-generation", operator: "Gt", values: ["4"] },
    ]);
    expect(spec.taints).toBeUndefined();
  });

  test("batch: tainted for runs, which tolerate it and are not disturbed; nodes go when they are empty", () => {
    const { disruption, limits, template } = objects["batch-pool"].spec;
    expect(disruption).toMatchObject({ consolidationPolicy: "WhenEmpty", consolidateAfter: "30s" });
    expect(limits).toEqual({ cpu: "128", memory: "512Gi" });
    const [taint] = template.spec.taints;
    const [toleration] = batchPods.tolerations;
    expect([toleration.key, toleration.value, toleration.effect]).toEqual([
      taint.key,
      taint.value,
      taint.effect,
    ]);
    expect(template.metadata.labels).toEqual(batchPods.nodeSelector);
    expect(batchPods.annotations).toEqual({ "karpenter.sh/do-not-disrupt": "true" });
    expect(template.spec.requirements).toContainEqual({
      key: "karpenter.sh/capacity-type",
      operator: "In",
      values: ["spot"],
    });
  });

  const pool = { maxCpu: 1, maxMemoryGib: 1, architectures: ["amd64"] } as const;
  const noLimit =
    "it must be a whole number of at least 1: without a limit a fault in a workload buys nodes without end";

  test.each<[string, Partial<NodePoolsProps>, string[]]>([
    [
      "an AMI that changes by itself",
      { amiAlias: "al2023@latest" },
      [
        'amiAlias is "al2023@latest"; it must name al2023 or bottlerocket and a version, for example "al2023@vYYYYMMDD": with "latest" every new AMI would replace all nodes at once',
      ],
    ],
    [
      "no limits",
      { default: { ...pool, maxCpu: 0 }, batch: { ...pool, maxMemoryGib: 0.5 } },
      [`default.maxCpu is 0; ${noLimit}`, `batch.maxMemoryGib is 0.5; ${noLimit}`],
    ],
    [
      "no architecture",
      { batch: { ...pool, architectures: [] } },
      ["batch.architectures is empty; it must name amd64, arm64 or both"],
    ],
    [
      "a window that never opens, or never ends",
      { quietWindows: [{ schedule: "weekdays", hours: 25 }] },
      [
        'quietWindows[0].schedule is "weekdays"; it must be a cron expression of five fields in UTC, or one such as @daily',
        "quietWindows[0].hours is 25; it must be a whole number from 1 to 24",
      ],
    ],
    [
      "nodes that live for ever",
      { expireAfterDays: 365 },
      ["expireAfterDays is 365; it must be a whole number from 1 to 90"],
    ],
  ])("refuse %s", (_name, overrides, messages) => {
    expect(() => pools(overrides)).toThrow(
      new Error(messages.map((message) => `test/pools: ${message}`).join("\n")),
    );
  });

  test("are the same objects outside the construct, for whoever wants them as files", () => {
    synthCluster((stack) => {
      const props = poolProps(stack);
      expect(nodePoolObjects(props)).toEqual(objects);
    });
  });
});

withCharts("types and schemas are what scripts/crd-facts.mjs makes of the CRDs", () => {
  const kinds = ["NodePool", "EC2NodeClass"];
  const { stdout, stderr } = spawnSync(
    process.execPath,
    [
      "--input-type=module",
      "--eval",
      `import { printedSchema, printedTypes, readDefinitions } from "./scripts/crd-facts.mjs";
      const [folder, ...kinds] = process.argv.slice(1);
      const definitions = readDefinitions(folder);
      console.log(JSON.stringify({ types: await printedTypes(definitions, kinds),
        schemas: kinds.map((kind) => printedSchema(definitions.get(kind))) }));`,
      join(chartFolder, "karpenter-crd/crds"),
      ...kinds,
    ],
    { cwd: root, encoding: "utf8" },
  );
  if (!stdout) throw new Error(stderr);
  const { types, schemas } = JSON.parse(stdout);
  expect(types).toBe(readFileSync(join(root, "lib/karpenter/crds.ts"), "utf8"));
  expect(schemas).toEqual(
    kinds.map((kind) => readFileSync(join(root, `test/facts/crds/${kind}.json`), "utf8")),
  );
});
