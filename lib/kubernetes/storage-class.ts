import { StorageClassV1 } from "@cdktf/provider-kubernetes/lib/storage-class-v1";
import type { ITerraformDependable } from "cdktf";
import { Construct } from "constructs";

/** What makes the volumes: the EBS CSI driver, or the controller manager of a node that stands for a cluster. */
export type VolumeProvisioner = "ebs.csi.aws.com" | "kubernetes.io/host-path";

export interface StorageClassesProps {
  readonly provisioner: VolumeProvisioner;
}

/**
 * The StorageClasses of the platform. EKS brings gp2 or none, and a claim without a class would wait for ever. A volume is
 * made where its pod is scheduled, is encrypted, and can grow.
 */
export class StorageClasses extends Construct {
  /** Name of the default class: a volume goes with its claim. */
  public readonly standard = "gp3";
  /** Name of the class for what must survive its claim and its namespace. */
  public readonly retained = "gp3-retained";
  /** What claims a volume waits for this. */
  public readonly ready: readonly ITerraformDependable[];

  constructor(scope: Construct, id: string, { provisioner }: StorageClassesProps) {
    super(scope, id);
    const storageClass = (name: string, reclaimPolicy: "Delete" | "Retain", isDefault: boolean) =>
      new StorageClassV1(this, name, {
        metadata: {
          name,
          ...(isDefault ? { annotations: { "storageclass.kubernetes.io/is-default-class": "true" } } : {}),
        },
        storageProvisioner: provisioner,
        ...(provisioner === "ebs.csi.aws.com" ? { parameters: { type: "gp3", encrypted: "true" } } : {}),
        reclaimPolicy,
        volumeBindingMode: "WaitForFirstConsumer",
        allowVolumeExpansion: true,
      });
    this.ready = [storageClass(this.standard, "Delete", true), storageClass(this.retained, "Retain", false)];
  }
}
