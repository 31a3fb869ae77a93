import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { environmentJsonSchema } from "../config/json-schema";
import { loadEnvironment, parseEnvironment } from "../config/load";
import { local } from "../config/local";
import type { EnvironmentInput } from "../config/schema";
import { type Versions, versionConflicts, versions } from "../config/versions";
import { expectCommitted } from "./support/golden";

const root = join(__dirname, "..");

/** The local configuration with some settings replaced; a path ends in the value to set, undefined removes it. */
function changed(changes: Readonly<Record<string, unknown>>): unknown {
  const input = structuredClone(local({})) as unknown as Record<string, unknown>;
  for (const [path, value] of Object.entries(changes)) {
    const keys = path.split(".");
    const last = keys.pop() as string;
    const parent = keys.reduce<Record<string, unknown>>(
      (node, key) => node[key] as Record<string, unknown>,
      input,
    );
    if (value === undefined) delete parent[last];
    else parent[last] = value;
  }
  return input;
}

const refusal = (input: unknown): string => {
  try {
    parseEnvironment(input, "config/test.ts");
  } catch (error) {
    return (error as Error).message;
  }
  return "accepted";
};

const message = (...problems: [path: string, value: string, legal: string, fix: string][]): string =>
  [
    `config/test.ts: ${problems.length === 1 ? "1 error" : `${problems.length} errors`}`,
    ...problems.map(([path, value, legal, fix]) =>
      [`  ${path}`, `    value  ${value}`, `    legal  ${legal}`, `    fix    ${fix}`].join("\n"),
    ),
    "Nothing was synthesized.",
  ].join("\n\n");

const roleFix = "give the role's ARN, not that of a session (arn:aws:sts::…:assumed-role/…)";

describe("a configuration is refused with path, value, legal range and remedy", () => {
  const cases: [
    name: string,
    changes: Record<string, unknown>,
    path: string,
    value: string,
    legal: string,
    fix: string,
  ][] = [
    [
      "an account id that is a number",
      { "aws.accountId": 111122223333 },
      "aws.accountId",
      "111122223333",
      "12 digits, as a string",
      "take it from `aws sts get-caller-identity --query Account`",
    ],
    [
      "a missing setting",
      { "network.natGateways": undefined },
      "network.natGateways",
      "missing",
      '"none", "single" or "per-az"',
      'use "per-az" where an outage of one zone must not cut egress, "single" to save cost',
    ],
    [
      "a misspelt setting",
      { "network.natGateway": "single" },
      "network.natGateway",
      '"single"',
      "one of the settings cidr, availabilityZones, natGateways, interfaceEndpoints, flowLogs",
      "remove it, or correct its spelling",
    ],
    [
      "a VPC that is too large",
      { "network.cidr": "10.0.0.0/8" },
      "network.cidr",
      '"10.0.0.0/8"',
      "an aligned private IPv4 block from /16 to /20, for example 10.20.0.0/16",
      'use a block that no peered network uses; its last bits must be zero ("VPC CIDR blocks" in the Amazon VPC User Guide)',
    ],
    [
      "one Availability Zone",
      { "network.availabilityZones": ["us-east-2a"] },
      "network.availabilityZones",
      '["us-east-2a"]',
      '2 to 4 different zone names such as "us-east-2a"',
      "list zones of the region from `aws ec2 describe-availability-zones`; append a new one at the end",
    ],
    [
      "a zone twice",
      { "network.availabilityZones": ["us-east-2a", "us-east-2a"] },
      "network.availabilityZones",
      '["us-east-2a","us-east-2a"]',
      '2 to 4 different zone names such as "us-east-2a"',
      "list zones of the region from `aws ec2 describe-availability-zones`; append a new one at the end",
    ],
    [
      "zones of another region",
      { "network.availabilityZones": ["us-east-2a", "us-west-2b"] },
      "network.availabilityZones",
      '["us-west-2b"]',
      'zones of aws.region, which is "us-east-2"',
      'write zones such as "us-east-2a", or change aws.region',
    ],
    [
      "no way out of the private subnets",
      {
        "network.natGateways": "none",
        "network.interfaceEndpoints": ["ec2", "sts", "eks", "eks-auth", "logs", "ssm"],
      },
      "network.interfaceEndpoints",
      '["ec2","sts","eks","eks-auth","logs","ssm"]',
      'with natGateways "none" at least ec2, ecr.api, ecr.dkr, eks, eks-auth, logs, sqs, ssm, sts',
      'add ecr.api, ecr.dkr, sqs, or set natGateways to "single"',
    ],
    [
      "an unknown endpoint service",
      { "network.interfaceEndpoints": ["s4"] },
      "network.interfaceEndpoints[0]",
      '"s4"',
      "different ones of autoscaling, ec2, ecr.api, ecr.dkr, eks, eks-auth, elasticloadbalancing, kms, logs, secretsmanager, sqs, ssm, sts",
      "name the service as in com.amazonaws.<region>.<service>; S3 always has a gateway endpoint",
    ],
    [
      "a retention that CloudWatch does not know",
      { "network.flowLogs.retentionDays": 10 },
      "network.flowLogs.retentionDays",
      "10",
      "1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288 or 3653",
      'take the nearest value that CloudWatch accepts ("Amazon CloudWatch Logs API Reference", PutRetentionPolicy)',
    ],
    [
      "a bucket name in upper case",
      { "data.productsBucket": "Weather" },
      "data.productsBucket",
      '"Weather"',
      "3 to 63 lower-case letters, digits and hyphens, beginning and ending with a letter or digit",
      'bucket names are unique in all of AWS: add the account or the environment ("General purpose bucket naming rules")',
    ],
    [
      "one bucket for products and backups",
      { "data.backupBucket": "dagster-weather-products" },
      "data.backupBucket",
      '"dagster-weather-products"',
      "another bucket than data.productsBucket",
      "give the backups a bucket of their own: the pipeline may write to the products bucket",
    ],
    [
      "storage that cannot grow",
      { "data.database.maxStorageGib": 20 },
      "data.database.maxStorageGib",
      "20",
      "at least 22, 10 % more than storageGib (20)",
      'raise it ("Managing capacity automatically with Amazon RDS storage autoscaling")',
    ],
    [
      "backups that RDS does not keep that long",
      { "data.database.backupRetentionDays": 36 },
      "data.database.backupRetentionDays",
      "36",
      "a whole number from 1 to 35",
      "RDS keeps automated backups for at most 35 days",
    ],
    [
      "a protected database in a deletable environment",
      { "data.database.deletionProtection": true },
      "data.database.deletionProtection",
      "true",
      "false while data.deletable is true",
      "set data.deletable to false where the database is protected",
    ],
    [
      "a boolean as text",
      { "data.deletable": "yes" },
      "data.deletable",
      '"yes"',
      "true or false",
      "write true or false, without quotes",
    ],
    [
      "an API end point open to the world",
      { "cluster.publicAccessCidrs": ["0.0.0.0/0"] },
      "cluster.publicAccessCidrs[0]",
      '"0.0.0.0/0"',
      "aligned IPv4 blocks such as 203.0.113.0/24, but not 0.0.0.0/0",
      "list your offices' and CI's addresses, or leave it empty and deploy from inside the network",
    ],
    [
      "a session as administrator",
      {
        "cluster.access": [
          {
            name: "me",
            roleArn: "arn:aws:sts::111122223333:assumed-role/admin/me",
            policy: "AmazonEKSClusterAdminPolicy",
          },
        ],
      },
      "cluster.access[0].roleArn",
      '"arn:aws:sts::111122223333:assumed-role/admin/me"',
      "the ARN of an IAM role",
      roleFix,
    ],
    [
      "nobody with access",
      { "cluster.access": [] },
      "cluster.access",
      "[]",
      "at least one entry; names and role ARNs all different",
      "add an entry for the role that deploys, or nobody can reach the cluster",
    ],
    [
      "a single system node",
      { "cluster.systemNodes.minSize": 1 },
      "cluster.systemNodes.minSize",
      "1",
      "a whole number from 2 to 100",
      "Karpenter's two replicas and Vault's peers need two nodes at least",
    ],
    [
      "no room for an upgrade",
      { "cluster.systemNodes.maxSize": 2 },
      "cluster.systemNodes.maxSize",
      "2",
      "more than minSize, which is 2",
      "leave room for one node more, so that an upgrade can surge",
    ],
    [
      "a name that EKS refuses",
      { "cluster.name": "_x" },
      "cluster.name",
      '"_x"',
      "1 to 100 letters, digits, hyphens and underscores, beginning with a letter or digit",
      'choose another name ("CreateCluster" in the Amazon EKS API Reference)',
    ],
    [
      "local state for a real account",
      { "aws.emulator": undefined },
      "state.backend",
      '"local"',
      '"s3" without an emulator',
      "state of a real account must be shared and locked: name a bucket",
    ],
    [
      "a port that needs root",
      { "aws.emulator.port": 80 },
      "aws.emulator.port",
      "80",
      "a whole number from 1024 to 65535",
      "choose a free port and set LOCAL_AWS_PORT",
    ],
    [
      "charts from a folder of this machine",
      { "charts.mirror": { kind: "folder", path: "/srv/charts" } },
      "charts.mirror.path",
      '"/srv/charts"',
      "a relative path below the checkout",
      "put what `helm pull` writes into a folder of the checkout and name it, for example .local/charts",
    ],
    [
      "charts from an address without its kind",
      { "charts.mirror": { kind: "oci", url: "registry.example.com/charts" } },
      "charts.mirror.url",
      '"registry.example.com/charts"',
      'an address such as "oci://registry.example.com/charts"',
      "begin with oci:// and leave out the chart's name",
    ],
    [
      "an image registry with a scheme",
      { "charts.imageRegistry": "https://registry.example.com" },
      "charts.imageRegistry",
      '"https://registry.example.com"',
      'a host with an optional path, such as "registry.example.com/mirror"',
      "leave out https:// and the image's name",
    ],
    [
      "an even number of Vault peers",
      { "platform.vault.replicas": 2 },
      "platform.vault.replicas",
      "2",
      "1 or 3 or 5",
      "use 3 in production: one may be away",
    ],
    [
      "a KMS key that the pods of the local node cannot reach",
      { "platform.vault.seal": "awskms" },
      "platform.vault.seal",
      '"awskms"',
      '"shamir" with an emulator',
      "the pods of the local node cannot reach the emulator's KMS: unseal with key shares",
    ],
    [
      "more replicas than system nodes",
      {
        "aws.emulator": undefined,
        state: { backend: "s3", bucket: "state-of-test", region: "us-east-2" },
        "platform.monitoring.alertmanager.replicas": 3,
      },
      "platform.monitoring.alertmanager.replicas",
      "3",
      "at most cluster.systemNodes.minSize, which is 2",
      "each replica stands on a system node of its own: use fewer, or raise minSize",
    ],
    [
      "memory without a unit",
      { "platform.karpenter.memory": "512" },
      "platform.karpenter.memory",
      '"512"',
      'a quantity in Mi or Gi such as "512Mi"',
      "write the unit: a number alone would be bytes",
    ],
    [
      "CPU that is no quantity",
      { "platform.vault.cpu": "half" },
      "platform.vault.cpu",
      '"half"',
      'a Kubernetes CPU quantity such as "500m" or "1"',
      'see "Resource Management for Pods and Containers" in the Kubernetes documentation',
    ],
    [
      "a load balancer without a list of who may use it",
      { "platform.monitoring.grafana.exposure": { kind: "loadBalancer", cidrs: [] } },
      "platform.monitoring.grafana.exposure.cidrs",
      "[]",
      "at least one aligned IPv4 block such as 203.0.113.0/24",
      "its last bits must be zero",
    ],
    [
      "a channel without its hash",
      { "platform.monitoring.alerting.slack": { channel: "dagster-alerts" } },
      "platform.monitoring.alerting.slack.channel",
      '"dagster-alerts"',
      'a channel with its hash, lower-case, such as "#dagster-alerts"',
      "write the hash",
    ],
    [
      "a chart's values that are no map",
      { "platform.vault.values": "server.logLevel=debug" },
      "platform.vault.values",
      '"server.logLevel=debug"',
      "a map of values that the chart knows",
      "take the names from the chart's values.yaml (helm show values)",
    ],
  ];

  test.each(cases)("%s", (_name, changes, path, value, legal, fix) => {
    expect(refusal(changed(changes))).toBe(message([path, value, legal, fix]));
  });

  test("all errors at once, of single settings and of settings together", () => {
    const text = refusal(
      changed({
        "aws.region": "mars",
        "network.cidr": "x",
        "data.backupBucket": "dagster-weather-products",
        extra: 1,
      }),
    );
    expect(text).toMatch(/^config\/test\.ts: 4 errors\n/);
    for (const path of ["aws.region", "network.cidr", "data.backupBucket", "extra"]) {
      expect(text).toContain(`\n  ${path}\n`);
    }
  });

  test.each([[null], [[]], ["text"], [7]])("%j is no configuration", (input) => {
    expect(refusal(input)).toContain("(the whole configuration)");
  });
});

describe("which environment", () => {
  test("is local unless someone asks for another, so that nobody touches an account by accident", () => {
    expect(loadEnvironment({}).name).toBe("local");
    expect(loadEnvironment({ PLATFORM_ENV: "" }).name).toBe("local");
    expect(loadEnvironment({ PLATFORM_ENV: "prod" }).name).toBe("prod");
  });

  test("an unknown name is refused", () => {
    expect(() => loadEnvironment({ PLATFORM_ENV: "staging" })).toThrow(
      [
        "PLATFORM_ENV: 1 error",
        "",
        "  PLATFORM_ENV",
        '    value  "staging"',
        "    legal  local, dev, prod",
        "    fix    choose one of them, or describe another environment in a JSON file and set PLATFORM_CONFIG to its path",
        "",
        "Nothing was synthesized.",
      ].join("\n"),
    );
  });

  test("a port from outside is checked like any other setting", () => {
    expect(loadEnvironment({ LOCAL_AWS_PORT: "5000" }).aws.emulator?.port).toBe(5000);
    expect(() => loadEnvironment({ LOCAL_AWS_PORT: "web" })).toThrow(
      "choose a free port and set LOCAL_AWS_PORT",
    );
  });

  test("a JSON file is an environment, too, and a broken one says so", () => {
    const file = join(root, "node_modules", ".environment.test.json");
    writeFileSync(file, JSON.stringify({ ...local({}), name: "branch" } satisfies EnvironmentInput));
    expect(loadEnvironment({ PLATFORM_CONFIG: file, PLATFORM_ENV: "prod" }).name).toBe("branch");
    writeFileSync(file, "{");
    expect(() => loadEnvironment({ PLATFORM_CONFIG: file })).toThrow("cannot be read as JSON");
    expect(() => loadEnvironment({ PLATFORM_CONFIG: "/nowhere.json" })).toThrow(
      "give the path of a JSON file that follows config/environment.schema.json",
    );
  });
});

test("the JSON schema for editors is the one that the code has (npm run generate)", () => {
  expectCommitted("config/environment.schema.json", environmentJsonSchema());
});

describe("versions", () => {
  const pinned: Versions = versions;

  test("agree with each other", () => {
    expect(versionConflicts(pinned)).toEqual([]);
  });

  test.each<[string, Versions, string[]]>([
    [
      "an unknown Kubernetes",
      { ...pinned, kubernetes: "1.99" },
      [
        'versions.kubernetes is "1.99"; this platform knows 1.31, 1.32, 1.33, 1.34, 1.35, 1.36. Add a row to kubernetesCompatibility in config/versions.ts from Karpenter\'s compatibility matrix.',
      ],
    ],
    [
      "a Karpenter that is too old",
      { ...pinned, charts: { ...pinned.charts, karpenter: "1.8.2", "karpenter-crd": "1.8.2" } },
      [
        'versions.charts.karpenter is "1.8.2"; Kubernetes 1.35 needs Karpenter 1.9.0 or later. Raise versions.charts.karpenter first, then Kubernetes.',
      ],
    ],
    [
      "CRDs of another release",
      { ...pinned, charts: { ...pinned.charts, "karpenter-crd": "1.14.0" } },
      [
        'versions.charts.karpenter-crd is "1.14.0" and versions.charts.karpenter is "1.14.1"; the CRDs and the controller must have one version.',
      ],
    ],
    [
      "a kube-proxy of another minor",
      { ...pinned, addons: { ...pinned.addons, "kube-proxy": "v1.34.1-eksbuild.1" } },
      [
        'versions.addons.kube-proxy is "v1.34.1-eksbuild.1"; it must be a build of v1.35, the version of the control plane.',
      ],
    ],
  ])("%s is refused", (_name, conflicting, conflicts) => {
    expect(versionConflicts(conflicting)).toEqual(conflicts);
  });

  test("are pinned in config/versions.ts and nowhere else", () => {
    const sources = ["lib", "stacks", "config"].flatMap((folder) =>
      readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
        .filter((file) => file.endsWith(".ts") && file !== "versions.ts")
        .map((file) => join(root, folder, file)),
    );
    expect(sources.length).toBeGreaterThan(20);
    const literal = /["'`@:]v?\d+\.\d+(\.\d+)?(-eksbuild\.\d+)?["'`]|@v\d{8}/;
    const offenders = sources.flatMap((file) =>
      readFileSync(file, "utf8")
        .split("\n")
        .filter((line) => literal.test(line) && !/^\s*(\*|\/\/|\/\*\*)/.test(line))
        .map((line) => `${file.slice(root.length + 1)}: ${line.trim()}`),
    );
    expect(offenders).toEqual([]);
    expect(literal.test('chart: "1.14.1"')).toBe(true);
  });
});
