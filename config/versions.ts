/**
 * Every version this platform pins, in one place. A test refuses a version literal anywhere else.
 *
 * Sources: EKS add-on versions from `aws eks describe-addon-versions --kubernetes-version 1.35`; chart versions from the
 * charts' own Chart.yaml; AMI alias from the "amazon-eks-ami" release list.
 */
export const versions = {
  /** Kubernetes minor version of the EKS control plane and the system node group. */
  kubernetes: "1.35",
  /** EKS managed add-ons, exact builds. */
  addons: {
    "vpc-cni": "v1.21.1-eksbuild.8",
    "eks-pod-identity-agent": "v1.3.10-eksbuild.3",
    coredns: "v1.14.2-eksbuild.4",
    "kube-proxy": "v1.35.3-eksbuild.5",
    "aws-ebs-csi-driver": "v1.59.0-eksbuild.1",
    "metrics-server": "v0.8.1-eksbuild.6",
  },
  /** AMIs. An alias with a date never changes under running nodes; `@latest` would. */
  amis: {
    karpenterAlias: "al2023@v20260903",
    /** AMI type of the system node group ("Amazon EKS API Reference", CreateNodegroup, amiType). */
    systemNodeGroupType: "AL2023_x86_64_STANDARD",
  },
  /** Helm charts: the exact version string of Chart.yaml (a `v` too many is a diff in every plan). */
  charts: {
    karpenter: "1.14.1",
    "karpenter-crd": "1.14.1",
    vault: "0.34.1",
    "kube-prometheus-stack": "88.5.3",
    dagster: "1.13.29",
    /** In this repository (charts/custom-resources). */
    "custom-resources": "0.1.0",
  },
  /** Images that a chart leaves unpinned. Every other image has the version that its chart pins. */
  images: {
    /** Used by the job that upgrades the Prometheus operator's CRDs. */
    busybox: "1.37.0",
  },
  /** PostgreSQL of Dagster's RDS instance: the major version; RDS applies minor versions in the maintenance window. */
  postgresql: "17",
  /** OpenTofu: write-only arguments and ephemeral variables need 1.11. */
  openTofu: ">= 1.11.0, < 2.0.0",
  /**
   * The AWS provider that `local` accepts. dev and prod take the exact version that the npm package targets; `local` takes
   * what the machine can have, so that an offline machine works with the provider it already has.
   */
  localAwsProvider: ">= 5.100.0, < 7.0.0",
} as const;

export type Versions = {
  readonly kubernetes: string;
  readonly addons: Readonly<Record<keyof (typeof versions)["addons"], string>>;
  readonly charts: Readonly<Record<keyof (typeof versions)["charts"], string>>;
};

interface Compatibility {
  /** Lowest Karpenter release that supports this Kubernetes ("Karpenter: Compatibility", matrix). */
  readonly karpenter: string;
}

/** Which Kubernetes minor versions this platform knows, and what each asks of Karpenter. */
const kubernetesCompatibility: Readonly<Record<string, Compatibility>> = {
  "1.31": { karpenter: "1.0.5" },
  "1.32": { karpenter: "1.2.0" },
  "1.33": { karpenter: "1.5.0" },
  "1.34": { karpenter: "1.6.0" },
  "1.35": { karpenter: "1.9.0" },
  "1.36": { karpenter: "1.13.0" },
};

/** Lowest Kubernetes that each chart's Chart.yaml (`kubeVersion`) accepts. */
const chartKubernetes: Readonly<Record<string, string>> = {
  vault: "1.20",
  "kube-prometheus-stack": "1.25",
  dagster: "1.18",
};

const parse = (version: string): number[] => version.replace(/^v/, "").split(/[.-]/).slice(0, 3).map(Number);

/** -1, 0 or 1, by major, minor and patch; a missing part counts as 0. */
function compareVersions(a: string, b: string): number {
  const [left, right] = [parse(a), parse(b)];
  for (let i = 0; i < 3; i++) {
    const difference = (left[i] ?? 0) - (right[i] ?? 0);
    if (difference !== 0) return Math.sign(difference);
  }
  return 0;
}

/** All contradictions between the pinned versions, as sentences that name the setting, its value and what is legal. */
export function versionConflicts(pinned: Versions): string[] {
  const conflicts: string[] = [];
  const known = kubernetesCompatibility[pinned.kubernetes];
  const kubernetesSetting = `versions.kubernetes is "${pinned.kubernetes}"`;
  if (!known) {
    return [
      `${kubernetesSetting}; this platform knows ${Object.keys(kubernetesCompatibility).join(", ")}. Add a row to kubernetesCompatibility in config/versions.ts from Karpenter's compatibility matrix.`,
    ];
  }
  if (compareVersions(pinned.charts.karpenter, known.karpenter) < 0) {
    conflicts.push(
      `versions.charts.karpenter is "${pinned.charts.karpenter}"; Kubernetes ${pinned.kubernetes} needs Karpenter ${known.karpenter} or later. Raise versions.charts.karpenter first, then Kubernetes.`,
    );
  }
  if (pinned.charts["karpenter-crd"] !== pinned.charts.karpenter) {
    conflicts.push(
      `versions.charts.karpenter-crd is "${pinned.charts["karpenter-crd"]}" and versions.charts.karpenter is "${pinned.charts.karpenter}"; the CRDs and the controller must have one version.`,
    );
  }
  for (const [chart, lowest] of Object.entries(chartKubernetes)) {
    if (compareVersions(pinned.kubernetes, lowest) < 0) {
      conflicts.push(`${kubernetesSetting}; chart ${chart} needs Kubernetes ${lowest} or later.`);
    }
  }
  const kubeProxy = pinned.addons["kube-proxy"];
  if (!kubeProxy.startsWith(`v${pinned.kubernetes}.`)) {
    conflicts.push(
      `versions.addons.kube-proxy is "${kubeProxy}"; it must be a build of v${pinned.kubernetes}, the version of the control plane.`,
    );
  }
  return conflicts;
}
