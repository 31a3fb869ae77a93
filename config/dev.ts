import type { EnvironmentInput } from "./schema";

/** Development: the same protections as prod, at the lowest cost (one NAT gateway, one database instance, small nodes). */
export const dev = (): EnvironmentInput => ({
  name: "dev",
  // The account ids of dev and prod are the AWS documentation's examples: put your own here before the first deploy.
  aws: { accountId: "111122223333", region: "us-east-2" },
  state: { backend: "s3", bucket: "dagster-eks-state-111122223333", region: "us-east-2" },
  network: {
    cidr: "10.30.0.0/16",
    availabilityZones: ["us-east-2a", "us-east-2b"],
    natGateways: "single",
    interfaceEndpoints: [],
    flowLogs: { retentionDays: 14, aggregationSeconds: 600 },
  },
  data: {
    productsBucket: "dagster-weather-products-dev",
    backupBucket: "dagster-eks-backups-dev",
    deletable: true,
    imagesKept: 20,
    database: {
      instanceClass: "db.t4g.small",
      storageGib: 20,
      maxStorageGib: 100,
      multiAz: false,
      backupRetentionDays: 3,
      deletionProtection: false,
    },
  },
  cluster: {
    name: "dagster-eks",
    publicAccessCidrs: [],
    logRetentionDays: 30,
    access: [
      {
        name: "platform-admin",
        roleArn: "arn:aws:iam::111122223333:role/platform-admin",
        policy: "AmazonEKSClusterAdminPolicy",
      },
      {
        name: "developers",
        roleArn: "arn:aws:iam::111122223333:role/developers",
        policy: "AmazonEKSEditPolicy",
        namespaces: ["data"],
      },
    ],
    systemNodes: { instanceTypes: ["m7i.large", "m6i.large"], minSize: 2, maxSize: 4, diskGib: 50 },
  },
  charts: {},
  platform: {
    karpenter: { replicas: 2, cpu: "250m", memory: "512Mi" },
    vault: { replicas: 1, seal: "awskms", dataGib: 10, auditGib: 5, cpu: "100m", memory: "256Mi" },
    monitoring: {
      prometheus: { replicas: 1, retentionDays: 7, volumeGib: 30, cpu: "250m", memory: "2Gi" },
      alertmanager: { replicas: 1, cpu: "20m", memory: "128Mi" },
      grafana: { cpu: "100m", memory: "256Mi", exposure: { kind: "internal" } },
      alerting: { slack: { channel: "#dagster-alerts-dev" } },
    },
    secretRevision: 1,
  },
});
