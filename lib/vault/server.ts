import type { ITerraformDependable, TerraformResource } from "cdktf";
import { Construct } from "constructs";
import type { ServiceAccount } from "../iam";
import {
  type ChartSettings,
  type ClusterPeers,
  flowsTo,
  mirroredImage,
  type NamespaceRef,
  type StorageClasses,
  TypedRelease,
  tcp,
} from "../kubernetes";
import { state, type Workload } from "../wiring";
import { type HclBlock, type HclBody, hcl } from "./hcl";
import type { VaultValues } from "./values";

/** How Vault gets the key that opens its storage. */
export type VaultSeal =
  /** Operators give 3 of 5 key shares after every start of a pod. */
  | { readonly kind: "shamir" }
  /** AWS KMS opens it by itself; the role of the service account may use the key (VaultUnsealIdentity). */
  | { readonly kind: "awskms"; readonly region: string; readonly keyArn: string };

/** Encryption between Vault and whoever talks to it. */
export type VaultTls =
  /** None: only inside the cluster, where network policies say who reaches the port. */
  | { readonly kind: "disabled" }
  /** A Secret with `tls.crt`, `tls.key` and `ca.crt`, for vault, vault-active, vault-N.vault-internal and 127.0.0.1. */
  | { readonly kind: "secret"; readonly secretName: string };

/** The service account of Vault's pods; its role is bound to this name. */
export const vaultServiceAccount: ServiceAccount = { namespace: "vault", name: "vault" };

/** Port of the API. */
export const vaultPort = 8200;

/** Port on which the peers talk to each other. */
const clusterPort = 8201;

/** User and group of the image. */
const vaultUser = { runAsUser: 100, runAsGroup: 1000 } as const;

/** What Pod Security level `restricted` asks for; the chart replaces its defaults as a whole, so the ids are repeated. */
const restricted = {
  pod: {
    runAsNonRoot: true,
    ...vaultUser,
    fsGroup: vaultUser.runAsGroup,
    seccompProfile: { type: "RuntimeDefault" },
  },
  container: { allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] } },
} as const;

/** Where the certificates are mounted. */
const tlsFolder = "/vault/tls";

export interface VaultServerProps {
  readonly namespace: NamespaceRef;
  readonly charts: ChartSettings;
  readonly peers: ClusterPeers;
  readonly storage: StorageClasses;
  /** Peers of the raft cluster, an odd number: 1 for a laptop, 3 outlive the loss of one, 5 of two. */
  readonly replicas: 1 | 3 | 5;
  readonly seal: VaultSeal;
  /** @default - disabled */
  readonly tls?: VaultTls;
  /** Volume of the raft storage of each peer, in GiB. */
  readonly dataGib: number;
  /** Volume of the audit log of each peer, in GiB: Vault stops answering when it cannot write it. */
  readonly auditGib: number;
  /** CPU request of one peer, for example "500m". */
  readonly cpu: string;
  /** Memory request and limit of one peer, for example "512Mi". */
  readonly memory: string;
  /**
   * Whether the agent injector runs. The applications bring their own agent as an init container.
   * @default false
   */
  readonly injector?: boolean;
  /**
   * Values merged last into those of the chart.
   * @default - none
   */
  readonly overrides?: Readonly<Record<string, unknown>> | undefined;
  /**
   * What to wait for: the key's role, the CRDs of the Prometheus operator.
   * @default - nothing
   */
  readonly dependsOn?: readonly ITerraformDependable[];
}

/** Vault's own configuration ("Vault configuration parameters"). */
export function vaultConfiguration({
  replicas,
  seal,
  tls = { kind: "disabled" },
}: Pick<VaultServerProps, "replicas" | "seal" | "tls">): string {
  const secure = tls.kind === "secret";
  const peer = (index: number): HclBlock => ({
    body: {
      leader_api_addr: `${secure ? "https" : "http"}://vault-${index}.vault-internal:${vaultPort}`,
      ...(secure ? { leader_ca_cert_file: `${tlsFolder}/ca.crt` } : {}),
    },
  });
  const listener: HclBody = {
    address: `[::]:${vaultPort}`,
    cluster_address: `[::]:${clusterPort}`,
    ...(secure
      ? {
          tls_cert_file: `${tlsFolder}/tls.crt`,
          tls_key_file: `${tlsFolder}/tls.key`,
          tls_min_version: "tls12",
        }
      : { tls_disable: true }),
    // Prometheus has no token; who reaches the port, the network policies say
    telemetry: { body: { unauthenticated_metrics_access: true } },
  };
  return `${hcl({
    ui: true,
    listener: { label: "tcp", body: listener },
    storage: {
      label: "raft",
      body: {
        path: "/vault/data",
        ...(replicas > 1 ? { retry_join: Array.from({ length: replicas }, (_, index) => peer(index)) } : {}),
      },
    },
    ...(seal.kind === "awskms"
      ? { seal: { label: "awskms", body: { region: seal.region, kms_key_id: seal.keyArn } } }
      : {}),
    // labels the pods active or standby, sealed or not: the Services select by them
    service_registration: { label: "kubernetes", body: {} },
    telemetry: { body: { prometheus_retention_time: "30s", disable_hostname: true } },
  })}\n`;
}

/**
 * Vault with integrated storage (raft) as the release `vault`: pods `vault-0` …, Services `vault`, `vault-active`,
 * `vault-standby`, `vault-internal` and `vault-ui`.
 *
 * The release is done when the pods are made, not when they are ready: a Vault that is not initialised or unsealed is not ready,
 * and Helm does not wait for a StatefulSet that is updated by deleting pods. Volumes outlive the release and the namespace.
 */
export class VaultServer extends Construct {
  public readonly server: Workload;
  /** URL of the API inside the cluster. */
  public readonly url: string;
  public readonly ready: TerraformResource;

  constructor(scope: Construct, id: string, props: VaultServerProps) {
    super(scope, id);
    const { namespace, charts, peers, replicas, seal, storage, tls = { kind: "disabled" } } = props;
    const { namespaceName } = namespace;
    const secure = tls.kind === "secret";
    const selector = { "app.kubernetes.io/name": "vault", "app.kubernetes.io/instance": "vault" };
    this.url = `${secure ? "https" : "http"}://vault.${namespaceName}.svc.cluster.local:${vaultPort}`;
    this.server = {
      namespace: namespaceName,
      name: "vault",
      podLabels: { ...selector, component: "server" },
      ports: { http: vaultPort, "https-internal": clusterPort },
    };
    const portName = secure ? "https" : "http";
    const ports = {
      [portName]: { port: vaultPort, targetPort: vaultPort },
      "https-internal": { port: clusterPort, targetPort: clusterPort },
    };
    const service = (name: string, labels: Readonly<Record<string, string>> = {}) => ({
      namespace: namespaceName,
      name,
      labels: { ...selector, ...labels },
      workload: this.server,
      ports,
    });
    const injectorEnabled = props.injector ?? false;
    const mirrored = (repository: string) => ({
      repository: mirroredImage("", repository, charts.imageRegistry),
    });

    const release = new TypedRelease<VaultValues>(this, "server", {
      releaseName: "vault",
      namespace,
      chart: "vault",
      charts,
      values: {
        global: { tlsDisable: !secure, serverTelemetry: { prometheusOperator: true } },
        injector: {
          enabled: injectorEnabled,
          ...(injectorEnabled ? { securityContext: restricted } : {}),
          ...(injectorEnabled && charts.imageRegistry
            ? { image: mirrored("hashicorp/vault-k8s"), agentImage: mirrored("hashicorp/vault") }
            : {}),
        },
        server: {
          ...(charts.imageRegistry ? { image: mirrored("hashicorp/vault") } : {}),
          resources: {
            requests: { cpu: props.cpu, memory: props.memory },
            limits: { memory: props.memory },
          },
          ha: {
            enabled: true,
            replicas,
            raft: {
              enabled: true,
              setNodeId: true,
              config: vaultConfiguration({ replicas, seal, tls }),
            },
            // with one peer a budget would only keep its node from being drained
            disruptionBudget: { enabled: replicas > 1, ...(replicas > 1 ? { maxUnavailable: 1 } : {}) },
          },
          dataStorage: { enabled: true, size: `${props.dataGib}Gi`, storageClass: storage.retained },
          auditStorage: { enabled: true, size: `${props.auditGib}Gi`, storageClass: storage.retained },
          persistentVolumeClaimRetentionPolicy: { whenDeleted: "Retain", whenScaled: "Retain" },
          // the chart keeps two peers off one host; this keeps them in different zones
          topologySpreadConstraints:
            replicas > 1
              ? [
                  {
                    maxSkew: 1,
                    topologyKey: "topology.kubernetes.io/zone",
                    whenUnsatisfiable: "DoNotSchedule",
                    labelSelector: { matchLabels: { ...selector, component: "server" } },
                  },
                ]
              : [],
          statefulSet: { securityContext: restricted },
          serviceAccount: { create: true, name: vaultServiceAccount.name },
          ...(secure
            ? {
                volumes: [{ name: "tls", secret: { secretName: tls.secretName, defaultMode: 0o440 } }],
                volumeMounts: [{ name: "tls", mountPath: tlsFolder, readOnly: true }],
                extraEnvironmentVars: { VAULT_CACERT: `${tlsFolder}/ca.crt` },
              }
            : {}),
        },
        ui: { enabled: true, serviceType: "ClusterIP" },
        serverTelemetry: {
          serviceMonitor: {
            enabled: true,
            interval: "30s",
            ...(secure
              ? {
                  tlsConfig: { ca: { secret: { name: tls.secretName, key: "ca.crt" } }, serverName: "vault" },
                }
              : {}),
          },
        },
      },
      overrides: props.overrides,
      facts: {
        serviceAccounts: [vaultServiceAccount.name, ...(injectorEnabled ? ["vault-agent-injector"] : [])],
        workloads: [this.server],
        services: [
          service("vault"),
          service("vault-active", { "vault-active": "true" }),
          service("vault-standby"),
          service("vault-internal", { "vault-internal": "true" }),
          service("vault-ui", { "app.kubernetes.io/name": "vault-ui" }),
        ],
        monitors: [
          {
            namespace: namespaceName,
            name: "vault",
            serviceNamespace: namespaceName,
            matchLabels: { ...selector, "vault-active": "true" },
            port: portName,
          },
        ],
        needsCrds: ["monitoring.coreos.com/ServiceMonitor"],
        flows: [
          ...flowsTo(this.server, peers.dns, peers.apiServer),
          ...(replicas > 1
            ? flowsTo(this.server, { peer: this.server, ports: tcp(vaultPort, clusterPort) })
            : []),
          ...(seal.kind === "awskms" ? flowsTo(this.server, peers.internet, peers.podIdentity) : []),
        ],
      },
      dependsOn: [...storage.ready, ...(props.dependsOn ?? [])],
    });
    this.ready = release.ready;
    state(this, { kind: "uses-service-account", account: vaultServiceAccount });
  }
}
