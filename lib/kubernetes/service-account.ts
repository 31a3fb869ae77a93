import { ServiceAccountV1 } from "@cdktf/provider-kubernetes/lib/service-account-v1";
import type { ITerraformDependable } from "cdktf";
import { Construct } from "constructs";
import type { ServiceAccount } from "../iam";
import { state } from "../wiring";
import { requireDnsLabel } from "./names";
import type { NamespaceRef } from "./namespace";

export interface WorkloadServiceAccountProps {
  readonly namespace: NamespaceRef;
  readonly name: string;
  /**
   * IAM role that pods of this account assume through IRSA ("IAM roles for service accounts").
   * @default - none; Pod Identity needs no annotation
   */
  readonly irsaRoleArn?: string;
  /**
   * Whether pods get a token for the Kubernetes API without asking for one.
   * @default false
   */
  readonly mountToken?: boolean;
}

/** A service account for pods that no chart makes one for. */
export class WorkloadServiceAccount extends Construct {
  public readonly account: ServiceAccount;
  public readonly ready: ITerraformDependable;

  constructor(scope: Construct, id: string, props: WorkloadServiceAccountProps) {
    super(scope, id);
    requireDnsLabel(scope, id, "name of the service account", props.name);
    const namespace = props.namespace.namespaceName;
    this.account = { namespace, name: props.name };
    this.ready = new ServiceAccountV1(this, "service-account", {
      metadata: {
        namespace,
        name: props.name,
        ...(props.irsaRoleArn ? { annotations: { "eks.amazonaws.com/role-arn": props.irsaRoleArn } } : {}),
      },
      automountServiceAccountToken: props.mountToken ?? false,
      dependsOn: [...props.namespace.ready],
    });
    state(this, { kind: "service-account", account: this.account });
  }
}
