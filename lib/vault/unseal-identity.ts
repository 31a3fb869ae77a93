import { EksPodIdentityAssociation } from "@cdktf/provider-aws/lib/eks-pod-identity-association";
import type { ITerraformDependable } from "cdktf";
import { Construct } from "constructs";
import { PodIdentityRole } from "../iam";
import { vaultServiceAccount } from "./server";

export interface VaultUnsealIdentityProps {
  /** Name of the EKS cluster. */
  readonly clusterName: string;
  /** Begins the role's name, unique in the account. */
  readonly name: string;
  /** ARN of the KMS key that opens Vault. */
  readonly keyArn: string;
}

/**
 * The role with which Vault's pods use their KMS key, and nothing else ("AWS KMS seal configuration", authentication), bound to
 * their service account. It must exist before the pods: those that start before it have no credentials.
 */
export class VaultUnsealIdentity extends Construct {
  /** What starts Vault waits for this. */
  public readonly ready: ITerraformDependable;

  constructor(scope: Construct, id: string, props: VaultUnsealIdentityProps) {
    super(scope, id);
    const role = new PodIdentityRole(this, "role", {
      name: `${props.name}-vault`,
      description: `Vault of the EKS cluster ${props.name}: unseal`,
      policies: {
        unseal: [
          {
            sid: "UseUnsealKey",
            actions: ["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt"],
            resources: [props.keyArn],
          },
        ],
      },
    });
    this.ready = new EksPodIdentityAssociation(this, "identity", {
      clusterName: props.clusterName,
      namespace: vaultServiceAccount.namespace,
      serviceAccount: vaultServiceAccount.name,
      roleArn: role.roleArn,
      dependsOn: [...role.attachments],
    });
  }
}
