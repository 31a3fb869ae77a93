import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { TerraformVariable } from "cdktf";
import { dashboards, renderDashboard } from "../../dashboards";
import { exporters } from "../../dashboards/metrics";
import { everyPod, NetworkPolicies, StorageClasses, tcp, WriteOnlySecret } from "../../lib/kubernetes";
import {
  alertmanagerConfig,
  Dashboards,
  KubePrometheusStack,
  type KubePrometheusStackProps,
  receiversWithSecrets,
} from "../../lib/monitoring";
import { everything } from "../support/alerting";
import { expectCommitted } from "../support/golden";
import { charts, namespace, peers, synthCluster, valuesOf } from "../support/kubernetes";
import type { TestStack } from "../support/synth";

/** What is used of the parser: its types are for ECMAScript modules only. */
interface SyntaxNode {
  readonly name: string;
  readonly from: number;
  readonly to: number;
  readonly type: { readonly isError: boolean };
  readonly node: { getChild(name: string): SyntaxNode | null };
}
const { parser } = require("@prometheus-io/lezer-promql") as {
  parser: { parse(text: string): { iterate(visitor: { enter(node: SyntaxNode): void }): void } };
};

const root = join(__dirname, "../..");

const stackProps = (stack: TestStack): KubePrometheusStackProps => ({
  namespace: namespace(stack, "monitoring"),
  nodeExporterNamespace: namespace(stack, "node-exporter"),
  charts,
  peers,
  storage: new StorageClasses(stack, "storage", { provisioner: "ebs.csi.aws.com" }),
  clusterName: "dagster-eks",
  prometheus: { replicas: 2, retentionDays: 15, volumeGib: 100, cpu: "500m", memory: "2Gi" },
  alertmanager: { replicas: 3, cpu: "50m", memory: "128Mi" },
  grafana: {
    cpu: "100m",
    memory: "256Mi",
    adminSecret: "grafana-admin",
    exposure: { kind: "internal" },
  },
  alerting: everything,
  busyboxTag: "1.37.0",
});

const stackTemplate = (overrides: Partial<KubePrometheusStackProps> = {}) =>
  synthCluster((stack) => {
    new KubePrometheusStack(stack, "monitoring", { ...stackProps(stack), ...overrides });
  });

const values = (overrides: Partial<KubePrometheusStackProps> = {}) =>
  valuesOf(stackTemplate(overrides).resource("helm_release"));

describe("KubePrometheusStack", () => {
  const found = values();

  test("is the release kps, whose Services are called kps-prometheus, kps-alertmanager and kps-grafana", () => {
    expect(stackTemplate().resource("helm_release")).toMatchObject({
      name: "kps",
      namespace: "monitoring",
      chart: "kube-prometheus-stack",
      timeout: 900,
    });
    // the subcharts' names follow the release, the others this
    expect(found.fullnameOverride).toBe("kps");
  });

  test("picks up monitors and rules of every namespace, scrapes every 30 s", () => {
    expect(found.prometheus.prometheusSpec).toMatchObject({
      scrapeInterval: "30s",
      serviceMonitorSelectorNilUsesHelmValues: false,
      podMonitorSelectorNilUsesHelmValues: false,
      probeSelectorNilUsesHelmValues: false,
      ruleSelectorNilUsesHelmValues: false,
      scrapeConfigSelectorNilUsesHelmValues: false,
      externalLabels: { cluster: "dagster-eks" },
    });
  });

  test("keeps samples by time and by size, which leaves room on the volume", () => {
    expect(found.prometheus.prometheusSpec).toMatchObject({
      replicas: 2,
      podAntiAffinity: "hard",
      retention: "15d",
      retentionSize: "85GB",
      storageSpec: {
        volumeClaimTemplate: {
          spec: {
            storageClassName: "gp3",
            accessModes: ["ReadWriteOnce"],
            resources: { requests: { storage: "100Gi" } },
          },
        },
      },
      resources: { requests: { cpu: "500m", memory: "2Gi" }, limits: { memory: "2Gi" } },
    });
  });

  test("leaves out what EKS does not show, targets and rules alike, and upgrades its CRDs", () => {
    for (const part of ["kubeControllerManager", "kubeEtcd", "kubeProxy", "kubeScheduler"]) {
      expect([part, found[part]]).toEqual([part, { enabled: false }]);
    }
    expect(found.defaultRules.rules).toEqual({
      etcd: false,
      kubeControllerManager: false,
      kubeProxy: false,
      kubeSchedulerAlerting: false,
      kubeSchedulerRecording: false,
      windows: false,
    });
    expect(found.crds).toEqual({
      enabled: true,
      upgradeJob: { enabled: true, image: { busybox: { tag: "1.37.0" } } },
    });
  });

  test("Grafana has no default password, nothing that runs as root, and tells nobody that it is here", () => {
    expect(found.grafana).toMatchObject({
      admin: {
        existingSecret: "grafana-admin",
        userKey: "admin-user",
        passwordKey: "admin-password",
      },
      initChownData: { enabled: false },
      testFramework: { enabled: false },
      persistence: { enabled: false },
      service: { type: "ClusterIP" },
      "grafana.ini": { analytics: { check_for_updates: false, reporting_enabled: false } },
    });
    expect(JSON.stringify(found)).not.toContain("adminPassword");
  });

  test("node exporter, which needs the hosts, has a namespace of its own", () => {
    expect(found["prometheus-node-exporter"]).toEqual({ namespaceOverride: "node-exporter" });
    expect(stackTemplate().resource("helm_release")["depends_on"]).toContain(
      "kubernetes_namespace_v1.node-exporter-namespace_namespace",
    );
  });

  test("a load balancer lets in only the addresses that are listed", () => {
    const grafana = {
      ...stackGrafana,
      exposure: { kind: "loadBalancer", cidrs: ["203.0.113.0/24"] },
    } as const;
    expect(values({ grafana }).grafana.service).toEqual({
      type: "LoadBalancer",
      annotations: { "service.beta.kubernetes.io/aws-load-balancer-type": "nlb" },
      loadBalancerSourceRanges: ["203.0.113.0/24"],
    });
  });

  const stackGrafana = { cpu: "100m", memory: "256Mi", adminSecret: "grafana-admin" };

  test.each<[string, Partial<KubePrometheusStackProps>, string[]]>([
    [
      "a load balancer for everyone",
      {
        grafana: { ...stackGrafana, exposure: { kind: "loadBalancer", cidrs: ["0.0.0.0/0"] } },
      },
      [
        'grafana.exposure.cidrs is ["0.0.0.0/0"]; it must list the IPv4 blocks of those who may open Grafana, and not 0.0.0.0/0',
      ],
    ],
    [
      "a load balancer for nobody",
      { grafana: { ...stackGrafana, exposure: { kind: "loadBalancer", cidrs: [] } } },
      [
        "grafana.exposure.cidrs is []; it must list the IPv4 blocks of those who may open Grafana, and not 0.0.0.0/0",
      ],
    ],
    [
      "receivers that would never get a message",
      {
        alerting: {
          slack: { channel: "dagster-alerts" },
          email: { to: "platform", from: "a b@example.com", smarthost: "smtp.example.com", username: "x" },
        },
      },
      [
        'slack.channel is "dagster-alerts"; it must be a channel with its hash, lower-case, for example "#dagster-alerts"',
        'email.to is "platform"; it must be an e-mail address',
        'email.from is "a b@example.com"; it must be an e-mail address',
        'email.smarthost is "smtp.example.com"; it must be a host and a port, for example "smtp.example.com:587"',
      ],
    ],
  ])("%s is refused", (_name, overrides, messages) => {
    expect(() => stackTemplate(overrides)).toThrow(
      new Error(messages.map((message) => `test/monitoring: ${message}`).join("\n")),
    );
  });

  test("every image comes from the mirror when there is one", () => {
    expect(values({ charts: { ...charts, imageRegistry: "registry.example.com" } }).global).toEqual({
      imageRegistry: "registry.example.com",
    });
  });

  test("in an isolated namespace each of its flows must be allowed", () => {
    const isolated = (allowed: boolean) =>
      synthCluster((stack) => {
        const props = stackProps(stack);
        const kps = new KubePrometheusStack(stack, "monitoring", {
          ...props,
          alerting: {},
          alertmanager: { ...props.alertmanager, replicas: 1 },
        });
        const scraped = [kps.alertmanager, kps.grafana, kps.operator, kps.kubeStateMetrics, kps.prometheus];
        const fromPrometheus = { peer: kps.prometheus };
        const portsOf = { alertmanager: [9093, 8080], prometheus: [9090, 8080] } as Record<string, number[]>;
        const ports = (workload: (typeof scraped)[number]) =>
          tcp(...(portsOf[workload.name] ?? Object.values(workload.ports)));
        new NetworkPolicies(stack, "policies", {
          namespace: props.namespace,
          workloads: [
            { workload: everyPod("monitoring"), allowTo: [peers.dns, peers.apiServer] },
            {
              workload: kps.prometheus,
              allowFrom: [
                { peer: kps.grafana, ports: tcp(9090) },
                { ...fromPrometheus, ports: ports(kps.prometheus) },
              ],
              allowTo: [
                ...scraped.map((peer) => ({ peer, ports: ports(peer) })),
                { peer: peers.nodes, ports: tcp(9100, 10250) },
                ...(allowed ? [{ peer: peers.dns.peer, ports: tcp(9153) }] : []),
              ],
            },
            {
              workload: kps.alertmanager,
              allowFrom: [
                { peer: kps.grafana, ports: tcp(9093) },
                { ...fromPrometheus, ports: ports(kps.alertmanager) },
              ],
            },
            {
              workload: kps.grafana,
              allowFrom: [{ ...fromPrometheus, ports: tcp(3000) }],
              allowTo: [
                { peer: kps.prometheus, ports: tcp(9090) },
                { peer: kps.alertmanager, ports: tcp(9093) },
              ],
            },
            {
              workload: kps.operator,
              allowFrom: [
                { ...fromPrometheus, ports: tcp(10250) },
                { peer: peers.apiServer.peer, ports: tcp(10250) },
              ],
            },
            { workload: kps.kubeStateMetrics, allowFrom: [{ ...fromPrometheus, ports: tcp(8080) }] },
          ],
        });
      });
    expect(() => isolated(true)).not.toThrow();
    expect(() => isolated(false)).toThrow(
      'test/monitoring/stack needs monitoring/prometheus -> dns TCP 9153, but the network policies of "monitoring" do not let it out. Add it to allowTo of monitoring/prometheus.',
    );
  });
});

describe("Alertmanager", () => {
  test("tells everyone of critical alerts, Slack and e-mail of warnings, the switch that it is alive", () => {
    const { route, receivers } = alertmanagerConfig(everything);
    expect(route.routes?.map(({ receiver, matchers }) => [receiver, matchers])).toEqual([
      ["dead-mans-switch", ['alertname = "Watchdog"']],
      ["critical", ['severity = "critical"']],
      ["warning", ['severity = "warning"']],
    ]);
    expect(route.receiver).toBe("null");
    const kinds = Object.fromEntries(
      receivers.map(({ name, ...configs }) => [name, Object.keys(configs).sort()]),
    );
    expect(kinds).toEqual({
      null: [],
      critical: ["email_configs", "pagerduty_configs", "slack_configs"],
      warning: ["email_configs", "slack_configs"],
      "dead-mans-switch": ["webhook_configs"],
    });
  });

  test("reads every secret from a file of one Secret, and holds none", () => {
    const text = JSON.stringify(alertmanagerConfig(everything));
    expect([...text.matchAll(/"(\w+_file)":"([^"]+)"/g)].map(([, key, file]) => [key, file]).sort()).toEqual(
      [
        ["api_url_file", "slack_webhook_url"],
        ["api_url_file", "slack_webhook_url"],
        ["auth_password_file", "smtp_password"],
        ["auth_password_file", "smtp_password"],
        ["routing_key_file", "pagerduty_routing_key"],
        ["url_file", "dead_mans_switch_url"],
      ].map(([key, file]) => [key, `/etc/alertmanager/secrets/alertmanager-receivers/${file}`]),
    );
    expect(text).not.toMatch(/"(api_url|auth_password|routing_key|url)":/);
    expect(values().alertmanager.alertmanagerSpec.secrets).toEqual(["alertmanager-receivers"]);
    expect(values({ alerting: {} }).alertmanager.alertmanagerSpec.secrets).toEqual([]);
    expect(receiversWithSecrets({ slack: { channel: "#x" } })).toEqual(["slack"]);
  });

  test("a receiver's secret goes to the API server only: from an ephemeral variable into a write-only argument", () => {
    const template = synthCluster((stack) => {
      const variable = new TerraformVariable(stack, "slack_webhook_url", { type: "string", sensitive: true });
      variable.addOverride("ephemeral", true);
      new WriteOnlySecret(stack, "receivers", {
        namespace: namespace(stack, "monitoring"),
        name: "alertmanager-receivers",
        values: { slack_webhook_url: variable.stringValue },
        revision: 3,
      });
    });
    const { "//": _metadata, ...secret } = template.resource("kubernetes_secret_v1");
    expect(secret).toEqual({
      metadata: { namespace: "monitoring", name: "alertmanager-receivers" },
      type: "Opaque",
      data_wo: { slack_webhook_url: "${var.slack_webhook_url}" },
      data_wo_revision: 3,
      depends_on: ["kubernetes_namespace_v1.monitoring-namespace_namespace"],
    });
  });

  test.each<[string, Record<string, string>, number, string]>([
    [
      "literal text",
      { url: "https://hooks.example.com/T0/B0/x" },
      1,
      'the value of "url" is literal text; a secret comes from an ephemeral variable, never from code or configuration',
    ],
    ["no key", {}, 1, 'the Secret "s" has no key; leave it out'],
    [
      "revision 0",
      { url: "${TfToken[TOKEN.0]}" },
      0,
      "revision is 0; it must be a whole number of at least 1",
    ],
  ])("a Secret with %s is refused", (_name, secrets, revision, message) => {
    expect(() =>
      synthCluster((stack) => {
        new WriteOnlySecret(stack, "secret", {
          namespace: namespace(stack, "monitoring"),
          name: "s",
          values: secrets,
          revision,
        });
      }),
    ).toThrow(new Error(`test/secret: ${message}`));
  });
});

/** Names of the metrics in an expression; throws when it is no PromQL. */
function metricsOf(expr: string): string[] {
  // Grafana fills these in
  const filled = expr.replaceAll("$__rate_interval", "5m").replace(/\$(\w+)/g, (_match, name) => `${name}`);
  const names: string[] = [];
  parser.parse(filled).iterate({
    enter: (node) => {
      if (node.type.isError) throw new Error(`no PromQL near ${node.from}: ${expr}`);
      if (node.name === "VectorSelector") {
        const identifier = node.node.getChild("Identifier");
        if (!identifier) throw new Error(`a selector without a metric's name: ${expr}`);
        names.push(filled.slice(identifier.from, identifier.to));
      }
    },
  });
  return names;
}

describe("dashboards", () => {
  const names = Object.keys(dashboards).sort();
  const known = new Set<string>(Object.values(exporters).flatMap(({ metrics }) => metrics));
  const queries = names.flatMap((name) => [
    ...(dashboards[name]?.variables ?? []).map(({ label, query }) => ({
      where: `${name}: ${label}`,
      expr: /^label_values\((\w+), \w+\)$/.exec(query)?.[1] ?? query,
    })),
    ...(dashboards[name]?.rows ?? []).flatMap(({ panels }) =>
      panels.flatMap(({ title, queries: all }) =>
        all.map(({ expr }) => ({ where: `${name}: ${title}`, expr })),
      ),
    ),
  ]);

  test.each(names)("%s is what was reviewed last (npm run generate writes dashboards/rendered)", (name) => {
    const spec = dashboards[name];
    if (!spec) throw new Error(name);
    expectCommitted(`dashboards/rendered/${name}.json`, renderDashboard(spec));
  });

  test("there is no rendered file without its source", () => {
    expect(readdirSync(join(root, "dashboards/rendered")).sort()).toEqual(
      names.map((name) => `${name}.json`),
    );
  });

  test("every panel asks for a metric that something here exports, in valid PromQL", () => {
    expect(queries.length).toBeGreaterThan(100);
    const foreign = queries.flatMap(({ where, expr }) => {
      const metrics = metricsOf(expr);
      expect([where, metrics.length]).not.toEqual([where, 0]);
      return metrics.filter((metric) => !known.has(metric)).map((metric) => `${where}: ${metric}`);
    });
    expect(foreign).toEqual([]);
  });

  test("the check sees a metric that nobody exports, and text that is no PromQL", () => {
    expect(metricsOf('sum(rate(no_such_metric{a="b"}[$__rate_interval])) / up')).toEqual([
      "no_such_metric",
      "up",
    ]);
    expect(() => metricsOf("sum(up")).toThrow("no PromQL");
    expect(() => metricsOf('{job="x"}')).toThrow("a selector without a metric's name");
  });

  test("every metric in the table is used", () => {
    const used = new Set(queries.flatMap(({ expr }) => metricsOf(expr)));
    expect([...known].filter((metric) => !used.has(metric))).toEqual([]);
  });

  // the Python client adds these endings
  const exposedAs = (call: string, name: string): string[] =>
    /^Counter/.test(call)
      ? [`${name}_total`]
      : /^Histogram/.test(call)
        ? [`${name}_bucket`, `${name}_sum`, `${name}_count`]
        : [name];

  test.each(["dagster-exporter", "products-api"] as const)("%s exports what the table says", (exporter) => {
    const { source, metrics } = exporters[exporter];
    const code = readFileSync(join(root, source), "utf8");
    const exposed = [
      ...code.matchAll(/(Counter|Gauge|Histogram)(?:MetricFamily)?\(\s*"([a-z0-9_]+)"/g),
    ].flatMap(([, call = "", name = ""]) => exposedAs(call, name));
    expect(exposed).toEqual(expect.arrayContaining([...metrics]));
  });

  test("reach Grafana as ConfigMaps of the rendered files, which OpenTofu reads", () => {
    const template = synthCluster((stack) => {
      new Dashboards(stack, "dashboards", {
        namespace: namespace(stack, "monitoring"),
        checkout: "../../..",
        dashboards: ["cluster"],
        folder: "Platform",
      });
    });
    expect(template.resource("kubernetes_config_map_v1")).toMatchObject({
      metadata: {
        namespace: "monitoring",
        name: "dashboard-cluster",
        labels: { grafana_dashboard: "1" },
        annotations: { grafana_folder: "Platform" },
      },
      data: { "cluster.json": '${file("../../../dashboards/rendered/cluster.json")}' },
    });
  });

  test("fit into a ConfigMap, and each has an id and a title of its own", () => {
    for (const name of names) {
      const rendered = readFileSync(join(root, `dashboards/rendered/${name}.json`), "utf8");
      expect(rendered.length).toBeLessThan(900_000);
      const { panels } = JSON.parse(rendered);
      expect(panels.length).toBeGreaterThan(5);
    }
    expect(new Set(Object.values(dashboards).map(({ uid }) => uid)).size).toBe(names.length);
    expect(new Set(Object.values(dashboards).map(({ title }) => title)).size).toBe(names.length);
  });
});
