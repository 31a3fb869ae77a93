// Made by scripts/crd-facts.mjs from the custom resource definitions; change it there.

/** Spec of a NodePool. */
export interface NodePoolSpec {
  disruption?: {
    budgets?: {
      duration?: string;
      nodes: string;
      reasons?: ("Underutilized" | "Empty" | "Drifted")[];
      schedule?: string;
    }[];
    consolidateAfter: string;
    consolidationPolicy?: "WhenEmpty" | "WhenEmptyOrUnderutilized" | "Balanced";
  };
  limits?: {
    [k: string]: string | number;
  };
  replicas?: number;
  template: {
    metadata?: {
      annotations?: {
        [k: string]: string;
      };
      labels?: {
        [k: string]: string;
      };
    };
    spec: {
      expireAfter?: string;
      nodeClassRef: {
        group: string;
        kind: string;
        name: string;
      };
      requirements: {
        key: string;
        minValues?: number;
        operator: "Gte" | "Lte" | "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt";
        values?: string[];
      }[];
      startupTaints?: {
        effect: "NoSchedule" | "PreferNoSchedule" | "NoExecute";
        key: string;
        timeAdded?: string;
        value?: string;
      }[];
      taints?: {
        effect: "NoSchedule" | "PreferNoSchedule" | "NoExecute";
        key: string;
        timeAdded?: string;
        value?: string;
      }[];
      terminationGracePeriod?: string;
    };
  };
  weight?: number;
}

/** Spec of a EC2NodeClass. */
export interface EC2NodeClassSpec {
  amiFamily?: "AL2" | "AL2023" | "Bottlerocket" | "Custom" | "Windows2019" | "Windows2022" | "Windows2025";
  amiSelectorTerms: {
    alias?: string;
    id?: string;
    name?: string;
    owner?: string;
    ssmParameter?: string;
    tags?: {
      [k: string]: string;
    };
  }[];
  associatePublicIPAddress?: boolean;
  blockDeviceMappings?: {
    deviceName?: string;
    ebs?: {
      deleteOnTermination?: boolean;
      encrypted?: boolean;
      iops?: number;
      kmsKeyID?: string;
      snapshotID?: string;
      throughput?: number;
      volumeInitializationRate?: number;
      volumeSize?: string;
      volumeType?: "standard" | "io1" | "io2" | "gp2" | "sc1" | "st1" | "gp3";
    };
    rootVolume?: boolean;
  }[];
  capacityReservationSelectorTerms?: {
    id?: string;
    instanceMatchCriteria?: "open" | "targeted";
    ownerID?: string;
    tags?: {
      [k: string]: string;
    };
  }[];
  connectionTracking?: {
    tcpEstablishedTimeout?: number;
    udpStreamTimeout?: number;
    udpTimeout?: number;
  };
  context?: string;
  cpuOptions?: {
    nestedVirtualization?: "enabled" | "disabled";
  };
  detailedMonitoring?: boolean;
  instanceProfile?: string;
  instanceStorePolicy?: "RAID0";
  ipPrefixCount?: number;
  kubelet?: {
    [k: string]: {
      [k: string]: unknown;
    };
  };
  metadataOptions?: {
    httpEndpoint?: "enabled" | "disabled";
    httpProtocolIPv6?: "enabled" | "disabled";
    httpPutResponseHopLimit?: number;
    httpTokens?: "required" | "optional";
  };
  networkInterfaces?: {
    deviceIndex: number;
    interfaceType: "interface" | "efa-only";
    networkCardIndex: number;
  }[];
  placementGroupSelector?: {
    id?: string;
    name?: string;
  };
  role?: string;
  securityGroupSelectorTerms: {
    id?: string;
    name?: string;
    tags?: {
      [k: string]: string;
    };
  }[];
  subnetSelectorTerms: {
    id?: string;
    tags?: {
      [k: string]: string;
    };
  }[];
  tags?: {
    [k: string]: string;
  };
  userData?: string;
}

/** What objects of these kinds begin with. */
export const crds = {
  NodePool: { apiVersion: "karpenter.sh/v1", kind: "NodePool" },
  EC2NodeClass: { apiVersion: "karpenter.k8s.aws/v1", kind: "EC2NodeClass" },
} as const;
