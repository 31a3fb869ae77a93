import type { ITerraformDependable } from "cdktf";
import { Construct } from "constructs";
import {
  type ChartSettings,
  type ClusterPeers,
  everyPod,
  flowsTo,
  type NamespaceRef,
  type StorageClasses,
  TypedRelease,
  tcp,
} from "../kubernetes";
import { type External, type ServiceFact, state, type Workload } from "../wiring";
import {
  type Alerting,
  alertingProblems,
  alertmanagerConfig,
  receiverSecretName,
  receiversWithSecrets,
} from "./alertmanager";
import type { KubePrometheusStackValues } from "./values";

/** Name of the release: the Services `kps-prometheus`, `kps-alertmanager` and `kps-grafana` are called after it. */
const releaseName = "kps";

/** CRDs of the Prometheus operator. */
export const operatorCrds = [
  "Alertmanager",
  "AlertmanagerConfig",
  "PodMonitor",
  "Probe",
  "Prometheus",
  "PrometheusAgent",
  "PrometheusRule",
  "ScrapeConfig",
  "ServiceMonitor",
  "ThanosRuler",
].map((kind) => `monitoring.coreos.com/${kind}`);

/** Who can open Grafana. */
export type GrafanaExposure =
  /** Inside the cluster: `kubectl port-forward`. */
  | { readonly kind: "internal" }
  /** A network load balancer that only these IPv4 blocks may use. */
  | { readonly kind: "loadBalancer"; readonly cidrs: readonly string[] };

/** CPU request, memory request and limit of one replica. */
export interface Size {
  readonly cpu: string;
  readonly memory: string;
}

export interface KubePrometheusStackProps {
  readonly namespace: NamespaceRef;
  /** Node exporter's own namespace: it reads the hosts' /proc, /sys and root, which only `privileged` allows. */
  readonly nodeExporterNamespace: NamespaceRef;
  readonly charts: ChartSettings;
  readonly peers: ClusterPeers;
  readonly storage: StorageClasses;
  /** Label `cluster` of everything that leaves Prometheus. */
  readonly clusterName: string;
  readonly prometheus: Size & {
    /** 1, or 2 on different hosts. */
    readonly replicas: 1 | 2;
    /** Days that samples are kept, as long as they fit. */
    readonly retentionDays: number;
    /** Volume of one replica in GiB; samples use at most 85 % of it. */
    readonly volumeGib: number;
  };
  readonly alertmanager: Size & {
    /** 1, or 3 that agree with each other. */
    readonly replicas: 1 | 3;
  };
  readonly grafana: Size & {
    /** Secret in the namespace with the keys `admin-user` and `admin-password`; it exists before the release. */
    readonly adminSecret: string;
    readonly exposure: GrafanaExposure;
  };
  readonly alerting: Alerting;
  /** Tag of the image `busybox`, which the chart leaves at `latest`. */
  readonly busyboxTag: string;
  /**
   * Values merged last into those of the chart.
   * @default - none
   */
  readonly overrides?: Readonly<Record<string, unknown>> | undefined;
  /**
   * What to wait for: the Secrets, the policies of the namespace.
   * @default - nothing
   */
  readonly dependsOn?: readonly ITerraformDependable[];
}

/** Parts of the control plane that EKS does not show, and the rules that would only ever say that they are down. */
const invisible = {
  kubeControllerManager: { enabled: false },
  kubeEtcd: { enabled: false },
  // listens on 127.0.0.1 of the node
  kubeProxy: { enabled: false },
  kubeScheduler: { enabled: false },
} as const;
const rulesOff = {
  etcd: false,
  kubeControllerManager: false,
  kubeProxy: false,
  kubeSchedulerAlerting: false,
  kubeSchedulerRecording: false,
  windows: false,
} as const;

const sized = ({ cpu, memory }: Size) => ({ requests: { cpu, memory }, limits: { memory } });

/** What the chart runs, by the labels that its pods carry. */
function workloads(namespace: string) {
  const named = (
    name: string,
    ports: Record<string, number>,
    instance: Record<string, string>,
  ): Workload => ({
    namespace,
    name,
    podLabels: { "app.kubernetes.io/name": name, ...instance },
    ports,
  });
  const subchart = { "app.kubernetes.io/instance": releaseName };
  return {
    // the operator labels its pods by the object that they belong to
    prometheus: named(
      "prometheus",
      { "http-web": 9090, "reloader-web": 8080 },
      { "operator.prometheus.io/name": `${releaseName}-prometheus` },
    ),
    alertmanager: named(
      "alertmanager",
      { "http-web": 9093, "reloader-web": 8080, mesh: 9094 },
      { alertmanager: `${releaseName}-alertmanager` },
    ),
    grafana: named("grafana", { "http-web": 3000 }, subchart),
    kubeStateMetrics: named("kube-state-metrics", { http: 8080 }, subchart),
    operator: {
      namespace,
      name: "operator",
      podLabels: { app: "kube-prometheus-stack-operator", release: releaseName },
      ports: { https: 10250 },
    } satisfies Workload,
  };
}

type Part = keyof ReturnType<typeof workloads>;

/** Labels of a part's Service: those of the parent chart, or of a subchart. */
const serviceLabels = (part: Part, { name }: Workload): Readonly<Record<string, string>> =>
  part === "grafana" || part === "kubeStateMetrics"
    ? { "app.kubernetes.io/name": name, "app.kubernetes.io/instance": releaseName }
    : { app: `kube-prometheus-stack-${name}`, release: releaseName };

/** Ports of the Services where they differ from those of the pods. */
const servicePorts: Readonly<Record<string, number>> = { "grafana http-web": 80, "operator https": 443 };

/**
 * Prometheus, Alertmanager, Grafana and their operator as the release `kps`. Prometheus picks up monitors and rules of every
 * namespace. Samples, alerts and silences are on volumes; dashboards are code, so Grafana has none.
 */
export class KubePrometheusStack extends Construct {
  public readonly prometheus: Workload;
  public readonly alertmanager: Workload;
  public readonly grafana: Workload;
  public readonly operator: Workload;
  public readonly kubeStateMetrics: Workload;
  /** Who may open Grafana from outside; undefined when nobody may. */
  public readonly grafanaClients: External | undefined;
  /** What needs the operator's CRDs waits for this. */
  public readonly ready: ITerraformDependable;

  /** @throws Error with every setting that is refused */
  constructor(scope: Construct, id: string, props: KubePrometheusStackProps) {
    super(scope, id);
    const { namespace, charts, peers, storage, prometheus, alertmanager, grafana, alerting } = props;
    const { namespaceName } = namespace;
    const { exposure } = grafana;
    const open = exposure.kind === "loadBalancer" ? exposure.cidrs : undefined;
    const problems = [
      ...alertingProblems(alerting),
      ...(open && (open.length === 0 || open.includes("0.0.0.0/0"))
        ? [
            `grafana.exposure.cidrs is ${JSON.stringify(open)}; it must list the IPv4 blocks of those who may open Grafana, and not 0.0.0.0/0`,
          ]
        : []),
    ];
    if (problems.length > 0) {
      throw new Error(problems.map((problem) => `${this.node.path}: ${problem}`).join("\n"));
    }

    const run = workloads(namespaceName);
    this.prometheus = run.prometheus;
    this.alertmanager = run.alertmanager;
    this.grafana = run.grafana;
    this.operator = run.operator;
    this.kubeStateMetrics = run.kubeStateMetrics;
    this.grafanaClients = open && { external: "grafana-clients", blocks: open.map((cidr) => ({ cidr })) };

    const volume = (gib: number) => ({
      volumeClaimTemplate: {
        spec: {
          storageClassName: storage.standard,
          accessModes: ["ReadWriteOnce"] as const,
          resources: { requests: { storage: `${gib}Gi` } },
        },
      },
    });
    const secrets = receiversWithSecrets(alerting).length > 0 ? [receiverSecretName] : [];

    const services = (Object.entries(run) as [Part, Workload][]).map(
      ([part, workload]): ServiceFact => ({
        namespace: namespaceName,
        name: `${releaseName}-${workload.name}`,
        labels: serviceLabels(part, workload),
        workload,
        ports: Object.fromEntries(
          Object.entries(workload.ports)
            .filter(([name]) => name !== "mesh")
            .map(([name, targetPort]) => [
              name,
              { port: servicePorts[`${workload.name} ${name}`] ?? targetPort, targetPort },
            ]),
        ),
      }),
    );

    const release = new TypedRelease<KubePrometheusStackValues>(this, "stack", {
      releaseName,
      namespace,
      chart: "kube-prometheus-stack",
      charts,
      timeoutSeconds: 900,
      values: {
        fullnameOverride: releaseName,
        ...(charts.imageRegistry ? { global: { imageRegistry: charts.imageRegistry } } : {}),
        // Helm never updates CRDs; the job does, before every upgrade
        crds: {
          enabled: true,
          upgradeJob: { enabled: true, image: { busybox: { tag: props.busyboxTag } } },
        },
        ...invisible,
        defaultRules: { rules: rulesOff },
        prometheus: {
          prometheusSpec: {
            replicas: prometheus.replicas,
            podAntiAffinity: prometheus.replicas > 1 ? "hard" : "soft",
            scrapeInterval: "30s",
            retention: `${prometheus.retentionDays}d`,
            // Prometheus counts 1 GB as 2^30 bytes; the write-ahead log and compaction need the rest
            retentionSize: `${Math.floor(prometheus.volumeGib * 0.85)}GB`,
            storageSpec: volume(prometheus.volumeGib),
            resources: sized(prometheus),
            externalLabels: { cluster: props.clusterName },
            serviceMonitorSelectorNilUsesHelmValues: false,
            podMonitorSelectorNilUsesHelmValues: false,
            probeSelectorNilUsesHelmValues: false,
            ruleSelectorNilUsesHelmValues: false,
            scrapeConfigSelectorNilUsesHelmValues: false,
          },
        },
        alertmanager: {
          config: alertmanagerConfig(alerting),
          alertmanagerSpec: {
            replicas: alertmanager.replicas,
            podAntiAffinity: alertmanager.replicas > 1 ? "hard" : "soft",
            retention: "120h",
            storage: volume(2),
            secrets,
            resources: sized(alertmanager),
          },
        },
        grafana: {
          admin: {
            existingSecret: grafana.adminSecret,
            userKey: "admin-user",
            passwordKey: "admin-password",
          },
          // both run as root
          initChownData: { enabled: false },
          testFramework: { enabled: false },
          persistence: { enabled: false },
          resources: sized(grafana),
          service: open
            ? {
                type: "LoadBalancer",
                annotations: { "service.beta.kubernetes.io/aws-load-balancer-type": "nlb" },
                loadBalancerSourceRanges: [...open],
              }
            : { type: "ClusterIP" },
          sidecar: {
            dashboards: {
              enabled: true,
              searchNamespace: "ALL",
              folderAnnotation: "grafana_folder",
              provider: { foldersFromFilesStructure: true },
            },
          },
          "grafana.ini": {
            analytics: {
              check_for_updates: false,
              check_for_plugin_updates: false,
              reporting_enabled: false,
            },
            "auth.anonymous": { enabled: false },
            news: { news_feed_enabled: false },
            // Grafana would fetch plugins of its own at every start
            plugins: { preinstall_disabled: true },
            users: { allow_sign_up: false },
          },
        },
        "prometheus-node-exporter": { namespaceOverride: props.nodeExporterNamespace.namespaceName },
      },
      overrides: props.overrides,
      facts: {
        serviceAccounts: [
          `${releaseName}-prometheus`,
          `${releaseName}-alertmanager`,
          `${releaseName}-grafana`,
          `${releaseName}-operator`,
          `${releaseName}-kube-state-metrics`,
        ],
        workloads: Object.values(run),
        services,
        crds: operatorCrds,
        monitors: services.flatMap((service) =>
          Object.keys(service.ports).map((port) => ({
            namespace: namespaceName,
            name: service.name,
            serviceNamespace: namespaceName,
            matchLabels: service.labels,
            port,
          })),
        ),
        flows: [
          // operator, Prometheus, kube-state-metrics, Grafana's sidecars and the hooks' jobs
          ...flowsTo(everyPod(namespaceName), peers.dns, peers.apiServer),
          ...flowsTo(
            run.prometheus,
            { peer: run.alertmanager, ports: tcp(9093) },
            // kubelets and node exporters
            { peer: peers.nodes, ports: tcp(9100, 10250) },
            // CoreDNS
            { peer: peers.dns.peer, ports: tcp(9153) },
          ),
          ...flowsTo(
            run.grafana,
            { peer: run.prometheus, ports: tcp(9090) },
            { peer: run.alertmanager, ports: tcp(9093) },
          ),
          // the API server asks the operator whether a rule is valid
          { from: peers.apiServer.peer, to: run.operator, port: 10250 },
          ...(alertmanager.replicas > 1
            ? flowsTo(run.alertmanager, {
                peer: run.alertmanager,
                ports: [{ port: 9094 }, { port: 9094, protocol: "UDP" }],
              })
            : []),
          ...(alerting.slack || alerting.pagerDuty || alerting.deadMansSwitch
            ? flowsTo(run.alertmanager, peers.internet)
            : []),
          ...(alerting.email
            ? flowsTo(run.alertmanager, {
                peer: peers.internet.peer,
                ports: tcp(Number(alerting.email.smarthost.split(":")[1])),
              })
            : []),
          ...(this.grafanaClients ? [{ from: this.grafanaClients, to: run.grafana, port: 3000 }] : []),
        ],
      },
      dependsOn: [...props.nodeExporterNamespace.ready, ...storage.ready, ...(props.dependsOn ?? [])],
    });
    this.ready = release.ready;
    state(this, { kind: "scraper", workload: run.prometheus });
  }
}
