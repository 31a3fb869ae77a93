/** A pod's and a container's security context, as far as this platform sets them. */
interface PodSecurity {
  readonly pod: Readonly<Record<string, unknown>>;
  readonly container: Readonly<Record<string, unknown>>;
}

interface Volume {
  readonly enabled: true;
  readonly size: string;
  readonly storageClass: string;
}

/** Values of the chart `vault` that this platform sets. */
export interface VaultValues {
  readonly global: {
    readonly tlsDisable: boolean;
    readonly serverTelemetry: { readonly prometheusOperator: true };
  };
  readonly injector: {
    readonly enabled: boolean;
    readonly securityContext?: PodSecurity;
    readonly image?: { readonly repository: string };
    readonly agentImage?: { readonly repository: string };
  };
  readonly server: {
    readonly image?: { readonly repository: string };
    readonly resources: {
      readonly requests: { readonly cpu: string; readonly memory: string };
      readonly limits: { readonly memory: string };
    };
    readonly ha: {
      readonly enabled: true;
      readonly replicas: number;
      readonly raft: { readonly enabled: true; readonly setNodeId: true; readonly config: string };
      readonly disruptionBudget: { readonly enabled: boolean; readonly maxUnavailable?: number };
    };
    readonly dataStorage: Volume;
    readonly auditStorage: Volume;
    readonly persistentVolumeClaimRetentionPolicy: {
      readonly whenDeleted: "Retain";
      readonly whenScaled: "Retain";
    };
    readonly topologySpreadConstraints: readonly Readonly<Record<string, unknown>>[];
    readonly statefulSet: { readonly securityContext: PodSecurity };
    readonly serviceAccount: { readonly create: true; readonly name: string };
    readonly volumes?: readonly Readonly<Record<string, unknown>>[];
    readonly volumeMounts?: readonly Readonly<Record<string, unknown>>[];
    readonly extraEnvironmentVars?: Readonly<Record<string, string>>;
  };
  readonly ui: { readonly enabled: true; readonly serviceType: "ClusterIP" };
  readonly serverTelemetry: {
    readonly serviceMonitor: {
      readonly enabled: true;
      readonly interval: string;
      readonly tlsConfig?: Readonly<Record<string, unknown>>;
    };
  };
}
