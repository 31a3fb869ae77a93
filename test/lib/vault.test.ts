import { StorageClasses } from "../../lib/kubernetes";
import { VaultServer, type VaultServerProps, VaultUnsealIdentity, vaultConfiguration } from "../../lib/vault";
import { hcl } from "../../lib/vault/hcl";
import { state } from "../../lib/wiring";
import { charts, namespace, peers, synthCluster, valuesOf } from "../support/kubernetes";
import { synthStack } from "../support/synth";

const keyArn = "arn:aws:kms:us-east-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
const awskms = { kind: "awskms", region: "us-east-2", keyArn } as const;

const server = (overrides: Partial<VaultServerProps> = {}) =>
  synthCluster((stack) => {
    const monitoring = namespace(stack, "monitoring");
    state(stack, {
      kind: "crds",
      crds: ["monitoring.coreos.com/ServiceMonitor"],
      resource: monitoring.ready[0] as never,
    });
    new VaultServer(stack, "vault", {
      namespace: namespace(stack, "vault"),
      charts,
      peers,
      storage: new StorageClasses(stack, "storage", { provisioner: "ebs.csi.aws.com" }),
      replicas: 3,
      seal: awskms,
      dataGib: 10,
      auditGib: 5,
      cpu: "500m",
      memory: "512Mi",
      dependsOn: [...monitoring.ready],
      ...overrides,
    });
  });

const values = (overrides: Partial<VaultServerProps> = {}) =>
  valuesOf(server(overrides).resource("helm_release"));

describe("Vault's configuration", () => {
  test("of three peers with KMS: peers find each other, metrics are open, KMS unseals", () => {
    expect(vaultConfiguration({ replicas: 3, seal: awskms })).toBe(`ui = true
listener "tcp" {
  address = "[::]:8200"
  cluster_address = "[::]:8201"
  tls_disable = true
  telemetry {
    unauthenticated_metrics_access = true
  }
}
storage "raft" {
  path = "/vault/data"
  retry_join {
    leader_api_addr = "http://vault-0.vault-internal:8200"
  }
  retry_join {
    leader_api_addr = "http://vault-1.vault-internal:8200"
  }
  retry_join {
    leader_api_addr = "http://vault-2.vault-internal:8200"
  }
}
seal "awskms" {
  region = "us-east-2"
  kms_key_id = "${keyArn}"
}
service_registration "kubernetes" {}
telemetry {
  prometheus_retention_time = "30s"
  disable_hostname = true
}
`);
  });

  test("of one peer with Shamir: no peer to join, no seal", () => {
    const text = vaultConfiguration({ replicas: 1, seal: { kind: "shamir" } });
    expect(text).not.toContain("retry_join");
    expect(text).not.toContain("seal ");
    expect(text).toContain('storage "raft" {\n  path = "/vault/data"\n}\n');
  });

  test("with TLS: certificates, peers over HTTPS that trust the CA", () => {
    const text = vaultConfiguration({
      replicas: 3,
      seal: awskms,
      tls: { kind: "secret", secretName: "vault-tls" },
    });
    expect(text).toContain('tls_cert_file = "/vault/tls/tls.crt"');
    expect(text).toContain('tls_key_file = "/vault/tls/tls.key"');
    expect(text).toContain(
      '  retry_join {\n    leader_api_addr = "https://vault-2.vault-internal:8200"\n    leader_ca_cert_file = "/vault/tls/ca.crt"\n  }',
    );
    expect(text).not.toContain("tls_disable");
  });

  test.each(['say "hi"', "C:\\vault", "a\nb", "{{ .Values }}"])("a value %j is refused", (value) => {
    expect(() => hcl({ path: value })).toThrow(
      new Error(
        `path is ${JSON.stringify(value)}; a value of Vault's configuration holds no quotes, backslashes, line breaks or {{`,
      ),
    );
  });
});

describe("VaultServer", () => {
  test("three peers: off each other's host and zone, one may be away, volumes outlive everything", () => {
    const { server: set, ui, injector, global } = values();
    expect(set.ha).toMatchObject({
      enabled: true,
      replicas: 3,
      raft: {
        enabled: true,
        setNodeId: true,
        config: vaultConfiguration({ replicas: 3, seal: awskms }),
      },
      disruptionBudget: { enabled: true, maxUnavailable: 1 },
    });
    expect(set.topologySpreadConstraints).toEqual([
      {
        maxSkew: 1,
        topologyKey: "topology.kubernetes.io/zone",
        whenUnsatisfiable: "DoNotSchedule",
        labelSelector: {
          matchLabels: {
            "app.kubernetes.io/name": "vault",
            "app.kubernetes.io/instance": "vault",
            component: "server",
          },
        },
      },
    ]);
    // the chart's own anti-affinity by host stays: it is required
    expect(set.affinity).toBeUndefined();
    expect([set.dataStorage, set.auditStorage]).toEqual([
      { enabled: true, size: "10Gi", storageClass: "gp3-retained" },
      { enabled: true, size: "5Gi", storageClass: "gp3-retained" },
    ]);
    expect(set.persistentVolumeClaimRetentionPolicy).toEqual({ whenDeleted: "Retain", whenScaled: "Retain" });
    expect([ui, injector, global.tlsDisable]).toEqual([
      { enabled: true, serviceType: "ClusterIP" },
      { enabled: false },
      true,
    ]);
  });

  // written out from "Pod Security Standards", Restricted
  test("meets the level restricted, with the image's user", () => {
    expect(values().server.statefulSet.securityContext).toEqual({
      pod: {
        runAsNonRoot: true,
        runAsUser: 100,
        runAsGroup: 1000,
        fsGroup: 1000,
        seccompProfile: { type: "RuntimeDefault" },
      },
      container: { allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] } },
    });
    expect(values({ injector: true }).injector).toEqual({
      enabled: true,
      securityContext: values().server.statefulSet.securityContext,
    });
  });

  test("one peer: no budget that would keep its node from being drained, no spread", () => {
    const { server: set } = values({ replicas: 1, seal: { kind: "shamir" } });
    expect(set.ha).toMatchObject({ replicas: 1, disruptionBudget: { enabled: false } });
    expect(set.topologySpreadConstraints).toEqual([]);
  });

  test("is measured every 30 s through its active peer", () => {
    const { serverTelemetry, global } = values();
    expect(global.serverTelemetry).toEqual({ prometheusOperator: true });
    expect(serverTelemetry.serviceMonitor).toEqual({ enabled: true, interval: "30s" });
  });

  test("with TLS: mounts the Secret, readable for the group, and Prometheus trusts it", () => {
    const {
      server: set,
      global,
      serverTelemetry,
    } = values({
      tls: { kind: "secret", secretName: "vault-tls" },
    });
    expect(global.tlsDisable).toBe(false);
    expect(set.volumes).toEqual([{ name: "tls", secret: { secretName: "vault-tls", defaultMode: 288 } }]);
    expect(set.volumeMounts).toEqual([{ name: "tls", mountPath: "/vault/tls", readOnly: true }]);
    expect(set.extraEnvironmentVars).toEqual({ VAULT_CACERT: "/vault/tls/ca.crt" });
    expect(serverTelemetry.serviceMonitor.tlsConfig).toEqual({
      ca: { secret: { name: "vault-tls", key: "ca.crt" } },
      serverName: "vault",
    });
  });

  test("takes its images from a mirror, waits for its volumes' class, and other values come last", () => {
    const mirrored = values({
      injector: true,
      charts: { ...charts, imageRegistry: "registry.example.com" },
    });
    expect([mirrored.server.image, mirrored.injector.image, mirrored.injector.agentImage]).toEqual(
      ["vault", "vault-k8s", "vault"].map((name) => ({
        repository: `registry.example.com/hashicorp/${name}`,
      })),
    );
    expect(server().resource("helm_release")["depends_on"]).toEqual(
      expect.arrayContaining([
        "kubernetes_namespace_v1.vault-namespace_namespace",
        "kubernetes_storage_class_v1.storage_gp3-retained",
      ]),
    );
    expect(values({ overrides: { server: { logLevel: "debug" } } }).server).toMatchObject({
      logLevel: "debug",
      serviceAccount: { create: true, name: "vault" },
    });
  });
});

test("VaultUnsealIdentity: Encrypt, Decrypt and DescribeKey on one key, for one service account, before the pods", () => {
  const template = synthStack((stack) => {
    new VaultUnsealIdentity(stack, "unseal", { clusterName: "dagster-eks", name: "dagster-eks", keyArn });
  });
  expect(template.policy("aws_iam_policy", "unseal_role_unseal").Statement).toEqual([
    {
      Sid: "UseUnsealKey",
      Effect: "Allow",
      Action: ["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt"],
      Resource: keyArn,
    },
  ]);
  expect(template.resource("aws_eks_pod_identity_association")).toMatchObject({
    cluster_name: "dagster-eks",
    namespace: "vault",
    service_account: "vault",
    role_arn: "${aws_iam_role.unseal_role_role.arn}",
    depends_on: ["aws_iam_role_policy_attachment.unseal_role_unseal-attachment"],
  });
});
