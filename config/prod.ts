import type { EnvironmentInput } from "./schema";

/** Production: three Availability Zones, a NAT gateway in each, private links to AWS, protected data. */
export const prod = (): EnvironmentInput => ({
  name: "prod",
  aws: { accountId: "444455556666", region: "us-east-2" },
  state: { backend: "s3", bucket: "dagster-eks-state-444455556666", region: "us-east-2" },
  network: {
    cidr: "10.40.0.0/16",
    availabilityZones: ["us-east-2a", "us-east-2b", "us-east-2c"],
    natGateways: "per-az",
    interfaceEndpoints: [
      "ec2",
      "ecr.api",
      "ecr.dkr",
      "eks",
      "eks-auth",
      "kms",
      "logs",
      "secretsmanager",
      "sqs",
      "ssm",
      "sts",
    ],
    flowLogs: { retentionDays: 90, aggregationSeconds: 60 },
  },
  data: {
    productsBucket: "dagster-weather-products",
    backupBucket: "dagster-eks-backups-444455556666",
    deletable: false,
    imagesKept: 100,
    database: {
      instanceClass: "db.m7g.large",
      storageGib: 100,
      maxStorageGib: 500,
      multiAz: true,
      backupRetentionDays: 35,
      deletionProtection: true,
    },
  },
  cluster: {
    name: "dagster-eks",
    publicAccessCidrs: [],
    logRetentionDays: 365,
    access: [
      {
        name: "platform-admin",
        roleArn: "arn:aws:iam::444455556666:role/platform-admin",
        policy: "AmazonEKSClusterAdminPolicy",
      },
      {
        name: "on-call",
        roleArn: "arn:aws:iam::444455556666:role/on-call",
        policy: "AmazonEKSAdminViewPolicy",
      },
    ],
    systemNodes: { instanceTypes: ["m7i.xlarge", "m6i.xlarge"], minSize: 3, maxSize: 6, diskGib: 100 },
  },
  charts: {},
  platform: {
    karpenter: { replicas: 2, cpu: "1", memory: "1Gi" },
    vault: { replicas: 3, seal: "awskms", dataGib: 20, auditGib: 20, cpu: "500m", memory: "1Gi" },
    monitoring: {
      prometheus: { replicas: 2, retentionDays: 15, volumeGib: 100, cpu: "500m", memory: "4Gi" },
      alertmanager: { replicas: 3, cpu: "50m", memory: "128Mi" },
      grafana: { cpu: "100m", memory: "512Mi", exposure: { kind: "internal" } },
      alerting: { slack: { channel: "#dagster-alerts" } },
    },
    secretRevision: 1,
  },
});
