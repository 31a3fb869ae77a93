import { KmsAlias } from "@cdktf/provider-aws/lib/kms-alias";
import { KmsKey } from "@cdktf/provider-aws/lib/kms-key";
import { Construct } from "constructs";
import { policyDocument } from "../iam";

export interface EncryptionKeyProps {
  /** Alias without the `alias/` prefix, unique in account and region. */
  readonly alias: string;
  /** What the key encrypts, in one sentence. */
  readonly description: string;
  /** Account that owns the key, 12 digits. */
  readonly accountId: string;
  /**
   * Days between the destroy and the end of the key, 7 to 30; until then it can be taken back.
   * @default 30
   */
  readonly deletionWindowDays?: number;
}

/**
 * A symmetric KMS key with yearly rotation. Its policy hands the decision to IAM ("Default key policy" in the AWS KMS
 * Developer Guide): who may use the key is said by the roles, next to what they may do with the data.
 */
export class EncryptionKey extends Construct {
  public readonly keyArn: string;

  constructor(scope: Construct, id: string, props: EncryptionKeyProps) {
    super(scope, id);
    const key = new KmsKey(this, "key", {
      description: props.description,
      enableKeyRotation: true,
      deletionWindowInDays: props.deletionWindowDays ?? 30,
      policy: policyDocument([
        {
          sid: "LetIamDecide",
          principal: { aws: `arn:aws:iam::${props.accountId}:root` },
          actions: ["kms:*"],
          resources: ["*"],
        },
      ]),
    });
    new KmsAlias(this, "alias", { name: `alias/${props.alias}`, targetKeyId: key.keyId });
    this.keyArn = key.arn;
  }
}
