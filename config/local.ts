import type { EnvironmentInput } from "./schema";

/**
 * The whole platform on one machine, without an AWS account: sizes are the smallest that exercise every resource.
 * The port of the AWS emulator is the only setting that comes from outside (`LOCAL_AWS_PORT`, default 4566).
 */
export const local = (variables: Readonly<Record<string, string | undefined>>): EnvironmentInput => ({
  name: "local",
  aws: {
    accountId: "000000000000",
    region: "us-east-2",
    emulator: { port: Number(variables["LOCAL_AWS_PORT"] || 4566) },
  },
  state: { backend: "local" },
  network: {
    cidr: "10.20.0.0/16",
    availabilityZones: ["us-east-2a", "us-east-2b"],
    natGateways: "single",
    interfaceEndpoints: ["sts"],
    flowLogs: { retentionDays: 1, aggregationSeconds: 600 },
  },
  data: {
    productsBucket: "dagster-weather-products",
    backupBucket: "dagster-eks-backups",
    deletable: true,
    imagesKept: 5,
    database: {
      instanceClass: "db.t4g.micro",
      storageGib: 20,
      maxStorageGib: 30,
      multiAz: false,
      backupRetentionDays: 1,
      deletionProtection: false,
    },
  },
  cluster: {
    name: "dagster-eks",
    publicAccessCidrs: [],
    logRetentionDays: 1,
    access: [
      {
        name: "platform-admin",
        roleArn: "arn:aws:iam::000000000000:role/platform-admin",
        policy: "AmazonEKSClusterAdminPolicy",
      },
    ],
    systemNodes: { instanceTypes: ["m7i.large"], minSize: 2, maxSize: 3, diskGib: 20 },
  },
  charts: {},
  platform: {
    // the node of the local target, its API server and the Service in front of that
    addresses: {
      nodes: ["10.250.0.2/32"],
      apiServer: ["10.250.0.2/32", "10.96.0.1/32"],
      apiServerPorts: [443, 6443],
    },
    karpenter: { replicas: 1, cpu: "100m", memory: "256Mi" },
    vault: { replicas: 1, seal: "shamir", dataGib: 1, auditGib: 1, cpu: "50m", memory: "256Mi" },
    monitoring: {
      prometheus: { replicas: 1, retentionDays: 1, volumeGib: 5, cpu: "50m", memory: "512Mi" },
      alertmanager: { replicas: 1, cpu: "10m", memory: "64Mi" },
      grafana: { cpu: "50m", memory: "256Mi", exposure: { kind: "internal" } },
      alerting: {},
    },
    secretRevision: 1,
  },
});
