import { SecretV1 } from "@cdktf/provider-kubernetes/lib/secret-v1";
import type { ITerraformDependable } from "cdktf";
import { Construct } from "constructs";
import { requireDnsLabel } from "./names";
import type { NamespaceRef } from "./namespace";

export interface WriteOnlySecretProps {
  readonly namespace: NamespaceRef;
  readonly name: string;
  /** Key → value; each an ephemeral variable, never a literal. */
  readonly values: Readonly<Record<string, string>>;
  /**
   * Keys that are no secret, for example a user's name.
   * @default - none
   */
  readonly plain?: Readonly<Record<string, string>>;
  /** Raise it when a value has changed: OpenTofu cannot compare values that it does not keep. A whole number from 1. */
  readonly revision: number;
}

/**
 * A Secret whose values are in no plan and in no state: they go to the API server as a write-only argument (`data_wo`; OpenTofu
 * 1.11 and provider 2.36 or later). What they are, an ephemeral variable says at apply.
 */
export class WriteOnlySecret extends Construct {
  public readonly secretName: string;
  public readonly ready: ITerraformDependable;

  /** @throws Error when a value is literal text, there is none, or the revision is no whole number from 1 */
  constructor(scope: Construct, id: string, props: WriteOnlySecretProps) {
    super(scope, id);
    const { namespace, name, values, plain = {}, revision } = props;
    requireDnsLabel(scope, id, "name of the Secret", name, 253);
    if (Object.keys(values).length === 0) {
      throw new Error(`${this.node.path}: the Secret "${name}" has no key; leave it out`);
    }
    for (const [key, value] of Object.entries(values)) {
      if (!/^\$\{TfToken\[[^\]]+\]\}$/.test(value)) {
        // the value is not shown: it may be the secret
        throw new Error(
          `${this.node.path}: the value of "${key}" is literal text; a secret comes from an ephemeral variable, never from code or configuration`,
        );
      }
    }
    if (!Number.isInteger(revision) || revision < 1) {
      throw new Error(`${this.node.path}: revision is ${revision}; it must be a whole number of at least 1`);
    }
    this.secretName = name;
    this.ready = new SecretV1(this, "secret", {
      metadata: { namespace: namespace.namespaceName, name },
      type: "Opaque",
      dataWo: { ...plain, ...values },
      dataWoRevision: revision,
      dependsOn: [...namespace.ready],
    });
  }
}
