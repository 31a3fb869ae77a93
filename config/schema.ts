import * as z from "zod";
import { parseCidr } from "../lib/network";

// a configuration is parsed once: compiling a parser for it would take longer than parsing
z.config({ jitless: true });

/** What an error message adds to a setting: the legal range and the next step. */
interface Guidance {
  readonly legal: string;
  readonly fix: string;
}

/** Guidance per schema, looked up by the path of an issue. */
export const guidance = z.registry<Guidance>();

/** Describes a setting (for editors, through the JSON schema) and says what to do when its value is refused. */
function setting<T extends z.ZodType>(schema: T, description: string, legal: string, fix: string): T {
  const described = schema.describe(`${description} Legal: ${legal}.`);
  guidance.add(described, { legal, fix });
  return described;
}

const ipv4Cidr = (value: string): boolean => parseCidr(value) !== undefined;

const flag = (description: string): z.ZodBoolean =>
  setting(z.boolean(), description, "true or false", "write true or false, without quotes");

const count = (description: string, min: number, max: number, fix: string): z.ZodNumber =>
  setting(z.number().int().min(min).max(max), description, `a whole number from ${min} to ${max}`, fix);

const logRetentionDays = setting(
  z.union(
    [
      1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653,
    ].map((days) => z.literal(days)),
  ),
  "Days that CloudWatch keeps the log events.",
  "1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288 or 3653",
  'take the nearest value that CloudWatch accepts ("Amazon CloudWatch Logs API Reference", PutRetentionPolicy)',
);

const bucketName = (description: string): z.ZodString =>
  setting(
    z.string().regex(/^(?!xn--)(?!.*\.\.)[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$/),
    description,
    "3 to 63 lower-case letters, digits and hyphens, beginning and ending with a letter or digit",
    'bucket names are unique in all of AWS: add the account or the environment ("General purpose bucket naming rules")',
  );

const roleArn = /^arn:aws[a-z-]*:iam::\d{12}:role\/[\w+=,.@/-]{1,512}$/;

const aws = z.strictObject({
  accountId: setting(
    z.string().regex(/^\d{12}$/),
    "The AWS account that this environment may touch; any other is refused by the provider.",
    "12 digits, as a string",
    "take it from `aws sts get-caller-identity --query Account`",
  ),
  region: setting(
    z.string().regex(/^[a-z]{2}(-[a-z]+)+-\d$/),
    "AWS region of everything in this environment.",
    'a region code such as "us-east-2"',
    "take one from `aws ec2 describe-regions`",
  ),
  deployRoleArn: setting(
    z.string().regex(roleArn),
    "IAM role that the provider assumes for every call; the caller's own credentials when absent.",
    "the ARN of an IAM role",
    "give the role's ARN, not that of a session (arn:aws:sts::…:assumed-role/…)",
  ).optional(),
  emulator: z
    .strictObject({
      port: count(
        "TCP port of the AWS emulator on 127.0.0.1.",
        1024,
        65535,
        "choose a free port and set LOCAL_AWS_PORT",
      ),
    })
    .optional()
    .describe("Only in `local`: calls go to an AWS emulator on this machine, never to AWS."),
});

const state = z.discriminatedUnion("backend", [
  z
    .strictObject({ backend: z.literal("local") })
    .describe("State in .local/state of the checkout: for the local target only."),
  z.strictObject({
    backend: z.literal("s3"),
    bucket: bucketName(
      "S3 bucket that holds the state; made once, before the first deploy (docs/GETTING_STARTED.md).",
    ),
    region: setting(
      z.string().regex(/^[a-z]{2}(-[a-z]+)+-\d$/),
      "AWS region of the state bucket.",
      'a region code such as "us-east-2"',
      "take the region in which the bucket was made",
    ),
  }),
]);

const availabilityZones = setting(
  z
    .array(z.string().regex(/^[a-z]{2}(-[a-z]+)+-\d[a-z]$/))
    .min(2)
    .max(4)
    .refine((zones) => new Set(zones).size === zones.length),
  "Availability Zones, in order: the position decides the CIDR, so append, never insert.",
  '2 to 4 different zone names such as "us-east-2a"',
  "list zones of the region from `aws ec2 describe-availability-zones`; append a new one at the end",
);

const interfaceEndpointServices = [
  "autoscaling",
  "ec2",
  "ecr.api",
  "ecr.dkr",
  "eks",
  "eks-auth",
  "elasticloadbalancing",
  "kms",
  "logs",
  "secretsmanager",
  "sqs",
  "ssm",
  "sts",
] as const;

const network = z.strictObject({
  cidr: setting(
    z.string().refine((value) => {
      const block = parseCidr(value);
      return block !== undefined && block.prefix >= 16 && block.prefix <= 20;
    }),
    "IPv4 CIDR of the VPC.",
    "an aligned private IPv4 block from /16 to /20, for example 10.20.0.0/16",
    'use a block that no peered network uses; its last bits must be zero ("VPC CIDR blocks" in the Amazon VPC User Guide)',
  ),
  availabilityZones,
  natGateways: setting(
    z.enum(["none", "single", "per-az"]),
    "NAT gateways for the private subnets: none (interface endpoints only), one for all zones (cheap, one zone's fault cuts all egress) or one per zone.",
    '"none", "single" or "per-az"',
    'use "per-az" where an outage of one zone must not cut egress, "single" to save cost',
  ),
  interfaceEndpoints: setting(
    z.array(z.enum(interfaceEndpointServices)).refine((all) => new Set(all).size === all.length),
    "AWS services reached through interface endpoints (PrivateLink) in the private subnets.",
    `different ones of ${interfaceEndpointServices.join(", ")}`,
    "name the service as in com.amazonaws.<region>.<service>; S3 always has a gateway endpoint",
  ),
  flowLogs: z.strictObject({
    retentionDays: logRetentionDays,
    aggregationSeconds: setting(
      z.union([z.literal(60), z.literal(600)]),
      "Seconds that one flow log record aggregates.",
      "60 or 600",
      "use 60 to see short connections, 600 to pay less",
    ),
  }),
});

const data = z.strictObject({
  productsBucket: bucketName("Bucket that the pipeline writes and the API reads."),
  backupBucket: bucketName("Bucket of Vault's raft snapshots and other backups."),
  deletable: flag(
    "Whether destroy may delete buckets with objects, repositories with images and the database without a final snapshot.",
  ),
  imagesKept: count(
    "Tagged images that each ECR repository keeps.",
    5,
    1000,
    "keep at least the releases you may roll back to",
  ),
  database: z.strictObject({
    instanceClass: setting(
      z.string().regex(/^db\.[a-z0-9-]+\.[a-z0-9]+$/),
      "RDS instance class of Dagster's PostgreSQL.",
      'a class such as "db.t4g.small"',
      'see "DB instance classes" in the Amazon RDS User Guide',
    ),
    storageGib: count("Allocated storage in GiB (gp3).", 20, 16384, "gp3 starts at 20 GiB"),
    maxStorageGib: count(
      "Storage autoscaling grows up to this many GiB.",
      20,
      65536,
      "use at least 10 % more than storageGib",
    ),
    multiAz: flag("A standby in a second Availability Zone with automatic failover."),
    backupRetentionDays: count(
      "Days that automated backups are kept.",
      1,
      35,
      "RDS keeps automated backups for at most 35 days",
    ),
    deletionProtection: flag("Refuses to delete the instance until switched off in an apply of its own."),
  }),
});

const principal = z.strictObject({
  name: setting(
    z.string().regex(/^[a-z][a-z0-9-]{0,30}$/),
    "Stable id of the access entry in code and state.",
    "1 to 31 lower-case letters, digits and hyphens, beginning with a letter",
    "choose the team's name; changing it replaces the entry",
  ),
  roleArn: setting(
    z.string().regex(roleArn),
    "IAM role that receives access: a stable role, never the caller's session.",
    "the ARN of an IAM role",
    "give the role's ARN, not that of a session (arn:aws:sts::…:assumed-role/…)",
  ),
  policy: setting(
    z.enum([
      "AmazonEKSClusterAdminPolicy",
      "AmazonEKSAdminPolicy",
      "AmazonEKSEditPolicy",
      "AmazonEKSViewPolicy",
      "AmazonEKSAdminViewPolicy",
    ]),
    "EKS access policy.",
    "AmazonEKSClusterAdminPolicy, AmazonEKSAdminPolicy, AmazonEKSEditPolicy, AmazonEKSViewPolicy or AmazonEKSAdminViewPolicy",
    'see "Review access policy permissions" in the Amazon EKS User Guide',
  ),
  namespaces: setting(
    z.array(z.string().regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/)).min(1),
    "Namespaces that the policy is limited to; the whole cluster when absent.",
    "Kubernetes namespace names",
    "leave it out for the whole cluster",
  ).optional(),
});

const cluster = z.strictObject({
  name: setting(
    z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$/),
    "Name of the EKS cluster.",
    "1 to 100 letters, digits, hyphens and underscores, beginning with a letter or digit",
    'choose another name ("CreateCluster" in the Amazon EKS API Reference)',
  ),
  publicAccessCidrs: setting(
    z.array(z.string().refine((value) => ipv4Cidr(value) && value !== "0.0.0.0/0")),
    "IPv4 blocks that may reach the public API end point; empty means private access only.",
    "aligned IPv4 blocks such as 203.0.113.0/24, but not 0.0.0.0/0",
    "list your offices' and CI's addresses, or leave it empty and deploy from inside the network",
  ),
  logRetentionDays,
  access: setting(
    z
      .array(principal)
      .min(1)
      .refine(
        (all) =>
          new Set(all.map((one) => one.name)).size === all.length &&
          new Set(all.map((one) => one.roleArn)).size === all.length,
      ),
    "Who may use the Kubernetes API, as access entries; the creator of the cluster gets none by itself.",
    "at least one entry; names and role ARNs all different",
    "add an entry for the role that deploys, or nobody can reach the cluster",
  ),
  systemNodes: z.strictObject({
    instanceTypes: setting(
      z.array(z.string().regex(/^[a-z0-9-]+\.[a-z0-9]+$/)).min(1),
      "Instance types of the system node group (amd64), tried in order.",
      'types such as "m7i.large"',
      'see "Amazon EC2 instance types"; all must have one architecture',
    ),
    minSize: count(
      "Fewest system nodes.",
      2,
      100,
      "Karpenter's two replicas and Vault's peers need two nodes at least",
    ),
    maxSize: count("Most system nodes.", 2, 100, "use at least minSize + 1, so that an upgrade can surge"),
    diskGib: count(
      "Root volume in GiB (gp3, encrypted).",
      20,
      16384,
      "AL2023 and the images need 20 GiB at least",
    ),
  }),
});

const cpu = (description: string): z.ZodString =>
  setting(
    z.string().regex(/^(\d+m|\d+(\.\d+)?)$/),
    description,
    'a Kubernetes CPU quantity such as "500m" or "1"',
    'see "Resource Management for Pods and Containers" in the Kubernetes documentation',
  );

const memory = (description: string): z.ZodString =>
  setting(
    z.string().regex(/^[1-9]\d*(Mi|Gi)$/),
    description,
    'a quantity in Mi or Gi such as "512Mi"',
    "write the unit: a number alone would be bytes",
  );

const oneOf = <const T extends readonly [number, ...number[]]>(values: T, description: string, fix: string) =>
  setting(
    z.union(values.map((value) => z.literal(value)) as unknown as [z.ZodLiteral<T[number]>]),
    description,
    values.join(" or "),
    fix,
  );

const cidrList = (description: string) =>
  setting(
    z.array(z.string().refine(ipv4Cidr)).min(1),
    description,
    "at least one aligned IPv4 block such as 203.0.113.0/24",
    "its last bits must be zero",
  );

const overrides = setting(
  z.record(z.string(), z.unknown()),
  "Values of the chart that are merged last, over those of the code.",
  "a map of values that the chart knows",
  "take the names from the chart's values.yaml (helm show values)",
);

const charts = z.strictObject({
  mirror: z
    .discriminatedUnion("kind", [
      z.strictObject({
        kind: z.literal("folder"),
        path: setting(
          z.string().regex(/^(?![/~])(?!.*\.\.)[\w./-]+$/),
          "Folder with NAME-VERSION.tgz of every chart, from the root of the checkout.",
          "a relative path below the checkout",
          "put what `helm pull` writes into a folder of the checkout and name it, for example .local/charts",
        ),
      }),
      z.strictObject({
        kind: z.literal("oci"),
        url: setting(
          z.string().regex(/^oci:\/\/[a-z0-9.-]+(:\d+)?(\/[\w.-]+)*$/),
          "Folder of an OCI registry that holds every chart under its name.",
          'an address such as "oci://registry.example.com/charts"',
          "begin with oci:// and leave out the chart's name",
        ),
      }),
    ])
    .optional()
    .describe("Where charts come from, when not from their homes."),
  imageRegistry: setting(
    z.string().regex(/^[a-z0-9.-]+(:\d+)?(\/[\w.-]+)*$/),
    "Registry, with an optional path, that every image of the charts is pulled from.",
    'a host with an optional path, such as "registry.example.com/mirror"',
    "leave out https:// and the image's name",
  ).optional(),
});

const platform = z.strictObject({
  addresses: z
    .strictObject({
      nodes: cidrList("Addresses of the nodes."),
      apiServer: cidrList(
        "Addresses of the Kubernetes API as pods see them: its Service's and those behind it.",
      ),
      apiServerPorts: setting(
        z.array(z.number().int().min(1).max(65535)).min(1),
        "Ports of the Kubernetes API, likewise.",
        "at least one port from 1 to 65535",
        "list the Service's port and the one behind it",
      ),
    })
    .optional()
    .describe(
      "For network policies, only where the cluster is not EKS: there the addresses follow from the VPC.",
    ),
  karpenter: z.strictObject({
    replicas: count(
      "Replicas of the controller, each on a node of its own.",
      1,
      3,
      "use 2, or 1 on one node",
    ),
    cpu: cpu("CPU of one replica, request and limit."),
    memory: memory("Memory of one replica, request and limit."),
    values: overrides.optional(),
  }),
  vault: z.strictObject({
    replicas: oneOf([1, 3, 5], "Peers of Vault's raft cluster.", "use 3 in production: one may be away"),
    seal: setting(
      z.enum(["shamir", "awskms"]),
      "How Vault is unsealed: by operators with key shares, or by itself with a KMS key.",
      '"shamir" or "awskms"',
      'use "awskms" where nobody should have to get up for a restarted pod',
    ),
    tlsSecret: setting(
      z.string().regex(/^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/),
      "Secret in the namespace vault with tls.crt, tls.key and ca.crt; without it Vault speaks plain HTTP inside the cluster.",
      "the name of a Secret",
      "make it before the platform is deployed, for example with cert-manager",
    ).optional(),
    dataGib: count(
      "Volume of each peer's data in GiB.",
      1,
      1024,
      "10 GiB hold some hundred thousand secrets",
    ),
    auditGib: count(
      "Volume of each peer's audit log in GiB.",
      1,
      1024,
      "Vault stops answering when it cannot write its audit log",
    ),
    cpu: cpu("CPU request of one peer."),
    memory: memory("Memory of one peer, request and limit."),
    values: overrides.optional(),
  }),
  monitoring: z.strictObject({
    prometheus: z.strictObject({
      replicas: oneOf([1, 2], "Replicas of Prometheus, each on a node of its own.", "use 2 in production"),
      retentionDays: count("Days that samples are kept, as long as they fit.", 1, 365, "use 15 or so"),
      volumeGib: count("Volume of one replica in GiB.", 5, 16384, "samples use at most 85 % of it"),
      cpu: cpu("CPU request of one replica."),
      memory: memory("Memory of one replica, request and limit."),
    }),
    alertmanager: z.strictObject({
      replicas: oneOf([1, 3], "Replicas of Alertmanager, each on a node of its own.", "use 3 in production"),
      cpu: cpu("CPU request of one replica."),
      memory: memory("Memory of one replica, request and limit."),
    }),
    grafana: z.strictObject({
      cpu: cpu("CPU request."),
      memory: memory("Memory, request and limit."),
      exposure: z.discriminatedUnion("kind", [
        z.strictObject({ kind: z.literal("internal") }).describe("Inside the cluster: kubectl port-forward."),
        z.strictObject({
          kind: z.literal("loadBalancer"),
          cidrs: cidrList("IPv4 blocks that may use the load balancer."),
        }),
      ]),
    }),
    alerting: z
      .strictObject({
        slack: z
          .strictObject({
            channel: setting(
              z.string().regex(/^#[a-z0-9][a-z0-9_-]{0,79}$/),
              "Channel of the messages; the webhook is the variable slack_webhook_url.",
              'a channel with its hash, lower-case, such as "#dagster-alerts"',
              "write the hash",
            ),
          })
          .optional(),
        email: z
          .strictObject({
            to: setting(z.email(), "Receiver of the messages.", "an e-mail address", "correct the address"),
            from: setting(z.email(), "Sender of the messages.", "an e-mail address", "correct the address"),
            smarthost: setting(
              z.string().regex(/^[a-zA-Z0-9.-]+:\d{2,5}$/),
              "SMTP server; TLS is required. The password is the variable smtp_password.",
              'a host and a port such as "smtp.example.com:587"',
              "add the port",
            ),
            username: setting(
              z.string().min(1),
              "User at the SMTP server.",
              "a name",
              "write the user's name",
            ),
          })
          .optional(),
        pagerDuty: z
          .strictObject({})
          .optional()
          .describe("Present: critical alerts call out; the key is the variable pagerduty_routing_key."),
        deadMansSwitch: z
          .strictObject({})
          .optional()
          .describe("Present: a sign of life goes to the URL in the variable dead_mans_switch_url."),
      })
      .describe("Who is told of alerts."),
    values: overrides.optional(),
  }),
  secretRevision: count(
    "Revision of the Secrets that are written from variables.",
    1,
    1_000_000,
    "raise it by one when a value has changed: OpenTofu does not keep the old one to compare",
  ),
});

/** Configuration of one environment; the only input of the synth besides `config/versions.ts`. */
export const environmentSchema = z.strictObject({
  $schema: z.string().optional().describe("For editors; ignored."),
  name: setting(
    z.string().regex(/^[a-z][a-z0-9-]{1,15}$/),
    "Name of the environment: in tags and in names that are unique per account.",
    "2 to 16 lower-case letters, digits and hyphens, beginning with a letter",
    "choose a short name such as dev",
  ),
  aws,
  state,
  network,
  data,
  cluster,
  charts,
  platform,
});

export type Environment = z.output<typeof environmentSchema>;
export type EnvironmentInput = z.input<typeof environmentSchema>;

export interface Problem {
  readonly path: string;
  readonly value: unknown;
  readonly legal: string;
  readonly fix: string;
}

/** A rule over several settings; runs when the sections that it reads are valid by themselves. */
interface CrossRule {
  readonly needs: readonly ("aws" | "state" | "network" | "data" | "cluster" | "platform")[];
  readonly check: (environment: Environment) => Problem | undefined;
}

/** Without a NAT gateway, nodes reach AWS through these only ("Deploy private clusters with limited internet access"). */
const endpointsWithoutNat = [
  "ec2",
  "ecr.api",
  "ecr.dkr",
  "eks",
  "eks-auth",
  "logs",
  "sqs",
  "ssm",
  "sts",
] as const;

export const crossRules: readonly CrossRule[] = [
  {
    needs: ["aws", "network"],
    check: ({ aws, network }) => {
      const foreign = network.availabilityZones.filter((zone) => zone.slice(0, -1) !== aws.region);
      return foreign.length === 0
        ? undefined
        : {
            path: "network.availabilityZones",
            value: foreign,
            legal: `zones of aws.region, which is "${aws.region}"`,
            fix: `write zones such as "${aws.region}a", or change aws.region`,
          };
    },
  },
  {
    needs: ["network"],
    check: ({ network }) => {
      if (network.natGateways !== "none") return undefined;
      const missing = endpointsWithoutNat.filter((service) => !network.interfaceEndpoints.includes(service));
      return missing.length === 0
        ? undefined
        : {
            path: "network.interfaceEndpoints",
            value: network.interfaceEndpoints,
            legal: `with natGateways "none" at least ${endpointsWithoutNat.join(", ")}`,
            fix: `add ${missing.join(", ")}, or set natGateways to "single"`,
          };
    },
  },
  {
    needs: ["data"],
    check: ({ data }) =>
      data.productsBucket === data.backupBucket
        ? {
            path: "data.backupBucket",
            value: data.backupBucket,
            legal: "another bucket than data.productsBucket",
            fix: "give the backups a bucket of their own: the pipeline may write to the products bucket",
          }
        : undefined,
  },
  {
    needs: ["data"],
    check: ({ data: { database } }) =>
      database.maxStorageGib < database.storageGib * 1.1
        ? {
            path: "data.database.maxStorageGib",
            value: database.maxStorageGib,
            legal: `at least ${Math.ceil(database.storageGib * 1.1)}, 10 % more than storageGib (${database.storageGib})`,
            fix: 'raise it ("Managing capacity automatically with Amazon RDS storage autoscaling")',
          }
        : undefined,
  },
  {
    needs: ["data"],
    check: ({ data }) =>
      data.deletable && data.database.deletionProtection
        ? {
            path: "data.database.deletionProtection",
            value: true,
            legal: "false while data.deletable is true",
            fix: "set data.deletable to false where the database is protected",
          }
        : undefined,
  },
  {
    needs: ["cluster"],
    check: ({ cluster: { systemNodes } }) =>
      systemNodes.maxSize <= systemNodes.minSize
        ? {
            path: "cluster.systemNodes.maxSize",
            value: systemNodes.maxSize,
            legal: `more than minSize, which is ${systemNodes.minSize}`,
            fix: "leave room for one node more, so that an upgrade can surge",
          }
        : undefined,
  },
  {
    needs: ["aws", "state"],
    check: ({ aws, state }) =>
      (aws.emulator !== undefined) === (state.backend === "local")
        ? undefined
        : {
            path: "state.backend",
            value: state.backend,
            legal: aws.emulator ? '"local" with an emulator' : '"s3" without an emulator',
            fix: aws.emulator
              ? "keep the state of the emulator on this machine"
              : "state of a real account must be shared and locked: name a bucket",
          },
  },
  {
    needs: ["aws", "cluster", "platform"],
    check: ({ aws, cluster, platform }) => {
      if (aws.emulator) return undefined;
      const { karpenter, vault, monitoring } = platform;
      const nodes = cluster.systemNodes.minSize;
      const [path, value] =
        (
          [
            ["platform.karpenter.replicas", karpenter.replicas],
            ["platform.vault.replicas", vault.replicas],
            ["platform.monitoring.prometheus.replicas", monitoring.prometheus.replicas],
            ["platform.monitoring.alertmanager.replicas", monitoring.alertmanager.replicas],
          ] as const
        ).find(([, replicas]) => replicas > nodes) ?? [];
      return path === undefined
        ? undefined
        : {
            path,
            value,
            legal: `at most cluster.systemNodes.minSize, which is ${nodes}`,
            fix: "each replica stands on a system node of its own: use fewer, or raise minSize",
          };
    },
  },
  {
    needs: ["aws", "platform"],
    check: ({ aws, platform }) =>
      aws.emulator && platform.vault.seal === "awskms"
        ? {
            path: "platform.vault.seal",
            value: "awskms",
            legal: '"shamir" with an emulator',
            fix: "the pods of the local node cannot reach the emulator's KMS: unseal with key shares",
          }
        : undefined,
  },
];
