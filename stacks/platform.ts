import { HelmProvider } from "@cdktf/provider-helm/lib/provider";
import { KubernetesProvider } from "@cdktf/provider-kubernetes/lib/provider";
import { Fn, type ITerraformDependable, TerraformVariable } from "cdktf";
import type { Construct } from "constructs";
import type { Environment } from "../config/schema";
import { versions } from "../config/versions";
import { KarpenterReleases } from "../lib/karpenter";
import {
  type ChartSettings,
  type ClusterPeers,
  clusterPeers,
  everyPod,
  NetworkPolicies,
  PlatformNamespace,
  type Reach,
  StorageClasses,
  tcp,
  WriteOnlySecret,
} from "../lib/kubernetes";
import {
  Dashboards,
  KubePrometheusStack,
  receiverSecretName,
  receiverSecrets,
  receiversWithSecrets,
} from "../lib/monitoring";
import { StackOutputs, text } from "../lib/synth";
import { VaultServer, VaultUnsealIdentity, vaultPort } from "../lib/vault";
import type { ClusterStack } from "./cluster";
import type { DataStack } from "./data";
import { checkout, EnvironmentStack } from "./environment-stack";

/** First address of the two blocks that EKS takes Service addresses from: the API server's own Service. */
const eksApiServices = ["10.100.0.1/32", "172.20.0.1/32"];

/** Port of a mesh of Alertmanagers. */
const alertmanagerMesh = 9094;

const outputs = {
  vaultUrl: text("URL of Vault's API inside the cluster"),
};

export interface PlatformStackProps {
  readonly environment: Environment;
  readonly data: DataStack;
  readonly cluster: ClusterStack;
}

/**
 * What the workloads stand on: namespaces with their policies, storage classes, the Prometheus operator, Karpenter and Vault. It
 * needs a live cluster, and everything that needs the CRDs installed here comes in later stacks.
 */
export class PlatformStack extends EnvironmentStack {
  public readonly outputs: StackOutputs<typeof outputs>;
  /** What later stacks let their pods reach. */
  public readonly peers: ClusterPeers;
  public readonly charts: ChartSettings;

  constructor(scope: Construct, id: string, { environment, data, cluster }: PlatformStackProps) {
    super(scope, id, environment);
    const { platform, charts, network, aws } = environment;
    const eks = cluster.outputs.readBy(this);
    this.connect(eks);

    this.charts = { ...charts, versions: versions.charts, checkout, mirror: this.mirror() };
    this.peers = clusterPeers({
      nodeCidrs: platform.addresses?.nodes ?? [network.cidr],
      apiServerCidrs: platform.addresses?.apiServer ?? [network.cidr, ...eksApiServices],
      apiServerPorts: platform.addresses?.apiServerPorts,
    });
    const { peers } = this;

    const namespace = (name: string): PlatformNamespace =>
      new PlatformNamespace(this, `${name}-namespace`, { name });
    const dataNamespace = namespace("data");
    const karpenterNamespace = namespace("karpenter");
    const monitoringNamespace = namespace("monitoring");
    const vaultNamespace = namespace("vault");
    const nodeExporterNamespace = new PlatformNamespace(this, "node-exporter-namespace", {
      name: "node-exporter",
      podSecurity: {
        level: "privileged",
        reason: "node exporter reads the host's /proc, /sys and root and listens on the node's own address",
      },
    });
    // their workloads come with later stacks, or use the node's network
    for (const empty of [dataNamespace, nodeExporterNamespace]) {
      new NetworkPolicies(this, `${empty.namespaceName}-policies`, { namespace: empty, workloads: [] });
    }
    const storage = new StorageClasses(this, "storage", {
      provisioner: aws.emulator ? "kubernetes.io/host-path" : "ebs.csi.aws.com",
    });

    const monitoring = this.monitoring(monitoringNamespace, nodeExporterNamespace, storage);

    const karpenter = new KarpenterReleases(this, "karpenter", {
      namespace: karpenterNamespace,
      charts: this.charts,
      peers,
      clusterName: eks.clusterName,
      clusterEndpoint: eks.clusterEndpoint,
      queueName: eks.karpenterQueueName,
      replicas: platform.karpenter.replicas,
      cpu: platform.karpenter.cpu,
      memory: platform.karpenter.memory,
      isolatedVpc: network.natGateways === "none",
      overrides: platform.karpenter.values,
      dependsOn: [monitoring.ready],
    });
    // no pod ever runs without its policies
    const karpenterPolicies = new NetworkPolicies(this, "karpenter-policies", {
      namespace: karpenterNamespace,
      workloads: [
        {
          workload: karpenter.controller,
          allowFrom: [{ peer: monitoring.prometheus, ports: tcp(8080) }],
          allowTo: [peers.dns, peers.apiServer, peers.internet, peers.podIdentity],
        },
      ],
    });

    karpenter.node.addDependency(karpenterPolicies);

    const vault = this.vault(vaultNamespace, storage, data, eks.clusterName, [monitoring.ready]);
    const vaultPolicies = new NetworkPolicies(this, "vault-policies", {
      namespace: vaultNamespace,
      workloads: [
        {
          workload: vault.server,
          allowFrom: [{ peer: monitoring.prometheus, ports: tcp(vaultPort) }, ...this.vaultPeers(vault)],
          allowTo: [
            peers.dns,
            peers.apiServer,
            ...this.vaultPeers(vault),
            ...(platform.vault.seal === "awskms" ? [peers.internet, peers.podIdentity] : []),
          ],
        },
      ],
    });
    vault.node.addDependency(vaultPolicies);

    const monitoringPolicies = this.monitoringPolicies(monitoringNamespace, monitoring, [
      { peer: karpenter.controller, ports: tcp(8080) },
      { peer: vault.server, ports: tcp(vaultPort) },
    ]);
    monitoring.node.addDependency(monitoringPolicies);

    this.outputs = new StackOutputs(this, {
      specs: outputs,
      backend: this.backend,
      dependsOn: [vault.ready],
      values: { vaultUrl: vault.url },
    });
  }

  /** The providers of the cluster: credentials that last minutes, from whoever applies, and nothing of them in the state. */
  private connect(eks: {
    readonly clusterName: string;
    readonly clusterEndpoint: string;
    readonly clusterCertificateAuthority: string;
  }): void {
    const { aws } = this.environment;
    if (aws.emulator) {
      // the emulator's EKS has no API server: the local node has one
      const configPath = `${checkout}/.local/node/kubeconfig`;
      new KubernetesProvider(this, "kubernetes", { configPath });
      new HelmProvider(this, "helm", { kubernetes: { configPath } });
      return;
    }
    const exec = {
      apiVersion: "client.authentication.k8s.io/v1beta1",
      command: "aws",
      args: [
        ...["eks", "get-token", "--cluster-name", eks.clusterName, "--region", aws.region],
        ...(aws.deployRoleArn ? ["--role-arn", aws.deployRoleArn] : []),
      ],
    };
    const host = eks.clusterEndpoint;
    const clusterCaCertificate = Fn.base64decode(eks.clusterCertificateAuthority);
    new KubernetesProvider(this, "kubernetes", { host, clusterCaCertificate, exec: [exec] });
    new HelmProvider(this, "helm", { kubernetes: { host, clusterCaCertificate, exec } });
  }

  private mirror(): ChartSettings["mirror"] {
    const { mirror } = this.environment.charts;
    if (mirror === undefined) return undefined;
    return mirror.kind === "folder" ? { folder: mirror.path } : { oci: mirror.url };
  }

  /** A value that whoever applies gives (`-var`, `TF_VAR_…`) and that OpenTofu keeps nowhere. */
  private secretVariable(name: string, description: string): string {
    const variable = new TerraformVariable(this, name, {
      type: "string",
      description,
      sensitive: true,
      nullable: false,
    });
    // TerraformVariable has no ephemeral
    variable.addOverride("ephemeral", true);
    return variable.stringValue;
  }

  private monitoring(
    namespace: PlatformNamespace,
    nodeExporterNamespace: PlatformNamespace,
    storage: StorageClasses,
  ): KubePrometheusStack {
    const { platform, cluster } = this.environment;
    const { prometheus, alertmanager, grafana, alerting } = platform.monitoring;
    const revision = platform.secretRevision;
    const admin = new WriteOnlySecret(this, "grafana-admin", {
      namespace,
      name: "grafana-admin",
      plain: { "admin-user": "admin" },
      values: {
        "admin-password": this.secretVariable(
          "grafana_admin_password",
          "Password of Grafana's administrator, for example from `openssl rand -base64 24`",
        ),
      },
      revision,
    });
    const inUse = receiversWithSecrets(alerting).map((receiver) => receiverSecrets[receiver]);
    const receivers =
      inUse.length === 0
        ? []
        : [
            new WriteOnlySecret(this, "receivers", {
              namespace,
              name: receiverSecretName,
              values: Object.fromEntries(
                inUse.map(({ key, what }) => [key, this.secretVariable(key, `Alerts: ${what}`)]),
              ),
              revision,
            }),
          ];
    const dashboards = new Dashboards(this, "dashboards", {
      namespace,
      checkout,
      folder: "Platform",
      dashboards: ["cluster", "node-exporter", "prometheus"],
    });
    return new KubePrometheusStack(this, "monitoring", {
      namespace,
      nodeExporterNamespace,
      charts: this.charts,
      peers: this.peers,
      storage,
      clusterName: `${cluster.name}-${this.environment.name}`,
      prometheus,
      alertmanager,
      grafana: { ...grafana, adminSecret: admin.secretName },
      alerting,
      busyboxTag: versions.images.busybox,
      overrides: platform.monitoring.values,
      dependsOn: [admin.ready, ...receivers.map(({ ready }) => ready), ...dashboards.ready],
    });
  }

  private monitoringPolicies(
    namespace: PlatformNamespace,
    monitoring: KubePrometheusStack,
    scraped: readonly Reach[],
  ): NetworkPolicies {
    const { peers } = this;
    const { alerting, alertmanager: settings } = this.environment.platform.monitoring;
    const { prometheus, alertmanager, grafana, operator, kubeStateMetrics, grafanaClients } = monitoring;
    const fromPrometheus = (...ports: number[]): Reach => ({ peer: prometheus, ports: tcp(...ports) });
    const mesh: readonly Reach[] =
      settings.replicas > 1
        ? [
            {
              peer: alertmanager,
              ports: [{ port: alertmanagerMesh }, { port: alertmanagerMesh, protocol: "UDP" }],
            },
          ]
        : [];
    const smtp = alerting.email?.smarthost.split(":")[1];
    return new NetworkPolicies(this, "monitoring-policies", {
      namespace,
      workloads: [
        { workload: everyPod(namespace.namespaceName), allowTo: [peers.dns, peers.apiServer] },
        {
          workload: prometheus,
          allowFrom: [{ peer: grafana, ports: tcp(9090) }, fromPrometheus(9090, 8080)],
          allowTo: [
            fromPrometheus(9090, 8080),
            { peer: alertmanager, ports: tcp(9093, 8080) },
            { peer: grafana, ports: tcp(3000) },
            { peer: operator, ports: tcp(10250) },
            { peer: kubeStateMetrics, ports: tcp(8080) },
            { peer: peers.nodes, ports: tcp(9100, 10250) },
            { peer: peers.dns.peer, ports: tcp(9153) },
            ...scraped,
          ],
        },
        {
          workload: alertmanager,
          allowFrom: [{ peer: grafana, ports: tcp(9093) }, fromPrometheus(9093, 8080), ...mesh],
          allowTo: [
            ...mesh,
            ...(alerting.slack || alerting.pagerDuty || alerting.deadMansSwitch ? [peers.internet] : []),
            ...(smtp ? [{ peer: peers.internet.peer, ports: tcp(Number(smtp)) }] : []),
          ],
        },
        {
          workload: grafana,
          allowFrom: [
            fromPrometheus(3000),
            ...(grafanaClients ? [{ peer: grafanaClients, ports: tcp(3000) }] : []),
          ],
          allowTo: [
            { peer: prometheus, ports: tcp(9090) },
            { peer: alertmanager, ports: tcp(9093) },
          ],
        },
        {
          workload: operator,
          allowFrom: [fromPrometheus(10250), { peer: peers.apiServer.peer, ports: tcp(10250) }],
        },
        { workload: kubeStateMetrics, allowFrom: [fromPrometheus(8080)] },
      ],
    });
  }

  private vault(
    namespace: PlatformNamespace,
    storage: StorageClasses,
    data: DataStack,
    clusterName: string,
    dependsOn: readonly ITerraformDependable[],
  ): VaultServer {
    const { aws, platform, cluster } = this.environment;
    const { seal, tlsSecret, values, ...settings } = platform.vault;
    const shared = {
      ...settings,
      namespace,
      storage,
      charts: this.charts,
      peers: this.peers,
      overrides: values,
      ...(tlsSecret ? { tls: { kind: "secret", secretName: tlsSecret } as const } : {}),
    };
    if (seal === "shamir") {
      return new VaultServer(this, "vault", { ...shared, seal: { kind: "shamir" }, dependsOn });
    }
    const { vaultUnsealKeyArn: keyArn } = data.outputs.readBy(this);
    const identity = new VaultUnsealIdentity(this, "vault-identity", {
      clusterName,
      name: cluster.name,
      keyArn,
    });
    return new VaultServer(this, "vault", {
      ...shared,
      seal: { kind: "awskms", region: aws.region, keyArn },
      dependsOn: [...dependsOn, identity.ready],
    });
  }

  /** The peers of the raft cluster to each other. */
  private vaultPeers({ server }: VaultServer): readonly Reach[] {
    return this.environment.platform.vault.replicas > 1
      ? [{ peer: server, ports: tcp(...Object.values(server.ports)) }]
      : [];
  }
}
