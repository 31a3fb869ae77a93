/** Values of the chart `karpenter` that this platform sets. */
export interface KarpenterValues {
  readonly replicas: number;
  readonly serviceAccount: {
    readonly create: true;
    readonly name: string;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly controller: {
    readonly image?: { readonly repository: string };
    readonly resources: {
      readonly requests: { readonly cpu: string; readonly memory: string };
      readonly limits: { readonly cpu: string; readonly memory: string };
    };
  };
  readonly serviceMonitor: { readonly enabled: true };
  readonly settings: {
    readonly clusterName: string;
    readonly clusterEndpoint: string;
    readonly interruptionQueue: string;
    readonly eksControlPlane: true;
    readonly enableZonalShift: true;
    readonly isolatedVPC: boolean;
  };
}
