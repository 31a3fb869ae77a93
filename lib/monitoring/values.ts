import type { AlertmanagerConfig } from "./alertmanager";

interface VolumeClaim {
  readonly volumeClaimTemplate: {
    readonly spec: {
      readonly storageClassName: string;
      readonly accessModes: readonly ["ReadWriteOnce"];
      readonly resources: { readonly requests: { readonly storage: string } };
    };
  };
}

interface Resources {
  readonly requests: { readonly cpu: string; readonly memory: string };
  readonly limits: { readonly memory: string };
}

interface Switch {
  readonly enabled: boolean;
}

/** Values of the chart `kube-prometheus-stack` that this platform sets. */
export interface KubePrometheusStackValues {
  readonly fullnameOverride: string;
  readonly global?: { readonly imageRegistry: string };
  readonly crds: {
    readonly enabled: true;
    readonly upgradeJob: {
      readonly enabled: true;
      readonly image: { readonly busybox: { readonly tag: string } };
    };
  };
  readonly defaultRules: { readonly rules: Readonly<Record<string, boolean>> };
  readonly kubeControllerManager: Switch;
  readonly kubeEtcd: Switch;
  readonly kubeProxy: Switch;
  readonly kubeScheduler: Switch;
  readonly prometheus: {
    readonly prometheusSpec: {
      readonly replicas: number;
      readonly podAntiAffinity: "soft" | "hard";
      readonly scrapeInterval: string;
      readonly retention: string;
      readonly retentionSize: string;
      readonly storageSpec: VolumeClaim;
      readonly resources: Resources;
      readonly externalLabels: { readonly cluster: string };
      readonly serviceMonitorSelectorNilUsesHelmValues: false;
      readonly podMonitorSelectorNilUsesHelmValues: false;
      readonly probeSelectorNilUsesHelmValues: false;
      readonly ruleSelectorNilUsesHelmValues: false;
      readonly scrapeConfigSelectorNilUsesHelmValues: false;
    };
  };
  readonly alertmanager: {
    readonly config: AlertmanagerConfig;
    readonly alertmanagerSpec: {
      readonly replicas: number;
      readonly podAntiAffinity: "soft" | "hard";
      readonly retention: string;
      readonly storage: VolumeClaim;
      readonly secrets: readonly string[];
      readonly resources: Resources;
    };
  };
  readonly grafana: {
    readonly admin: {
      readonly existingSecret: string;
      readonly userKey: string;
      readonly passwordKey: string;
    };
    readonly initChownData: Switch;
    readonly testFramework: Switch;
    readonly persistence: Switch;
    readonly resources: Resources;
    readonly service: {
      readonly type: "ClusterIP" | "LoadBalancer";
      readonly annotations?: Readonly<Record<string, string>>;
      readonly loadBalancerSourceRanges?: readonly string[];
    };
    readonly sidecar: {
      readonly dashboards: {
        readonly enabled: true;
        readonly searchNamespace: "ALL";
        readonly folderAnnotation: string;
        readonly provider: { readonly foldersFromFilesStructure: true };
      };
    };
    readonly "grafana.ini": Readonly<Record<string, Readonly<Record<string, boolean | string>>>>;
  };
  readonly "prometheus-node-exporter": { readonly namespaceOverride: string };
}
