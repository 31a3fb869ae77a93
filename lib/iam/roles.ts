import { IamPolicy } from "@cdktf/provider-aws/lib/iam-policy";
import { IamRole } from "@cdktf/provider-aws/lib/iam-role";
import { IamRolePolicyAttachment } from "@cdktf/provider-aws/lib/iam-role-policy-attachment";
import { Construct } from "constructs";
import { fitName, roleNameLimit } from "./names";
import { managedPolicyLimit, type PolicyStatement, policyDocument } from "./policy";

/** Longest name of a managed policy ("IAM and AWS STS quotas"). */
const policyNameLimit = 128;

/** A Kubernetes service account. */
export interface ServiceAccount {
  readonly namespace: string;
  readonly name: string;
}

export interface WorkloadRoleProps {
  /**
   * Name of the role, unique in the account: letters, digits and `+=,.@_-`. Longer than 64 characters it is shortened, with
   * a hash at the end.
   */
  readonly name: string;
  /** What the role is for, in one sentence. */
  readonly description: string;
  /**
   * Managed policies of our own: name → statements. Each is a policy of its own, because IAM limits one to 6,144 characters.
   * @default - none
   */
  readonly policies?: Readonly<Record<string, readonly PolicyStatement[]>>;
  /**
   * ARNs of policies that AWS manages, by a stable id.
   * @default - none
   */
  readonly awsManagedPolicies?: Readonly<Record<string, string>>;
}

interface TrustedRoleProps extends WorkloadRoleProps {
  readonly trust: readonly PolicyStatement[];
}

/** A role with its trust policy and its managed policies; the base of the roles below. */
abstract class TrustedRole extends Construct {
  public readonly roleArn: string;
  public readonly roleName: string;
  /** What a user of the role must wait for: the role without its policies is of no use. */
  public readonly attachments: readonly IamRolePolicyAttachment[];

  /** @throws Error when the name or one of the policies breaks a limit of IAM */
  constructor(scope: Construct, id: string, props: TrustedRoleProps) {
    super(scope, id);
    if (!/^[\w+=,.@-]+$/.test(props.name)) {
      throw new Error(
        `${this.node.path}: role name is "${props.name}"; IAM accepts letters, digits and +=,.@_- only`,
      );
    }
    const role = new IamRole(this, "role", {
      name: fitName(props.name, roleNameLimit),
      description: props.description,
      assumeRolePolicy: policyDocument(props.trust),
      maxSessionDuration: 3600,
    });
    this.roleArn = role.arn;
    this.roleName = role.name;

    const own = Object.entries(props.policies ?? {}).map(([name, statements]) => {
      const policy = policyDocument(statements);
      if (policy.length > managedPolicyLimit) {
        throw new Error(
          `${this.node.path}: policy "${name}" has ${policy.length} characters; IAM accepts ${managedPolicyLimit}. Split it into two.`,
        );
      }
      const { arn } = new IamPolicy(this, name, {
        name: fitName(`${props.name}-${name}`, policyNameLimit),
        policy,
      });
      return new IamRolePolicyAttachment(this, `${name}-attachment`, { role: role.name, policyArn: arn });
    });
    const managed = Object.entries(props.awsManagedPolicies ?? {}).map(
      ([name, policyArn]) =>
        new IamRolePolicyAttachment(this, `${name}-attachment`, { role: role.name, policyArn }),
    );
    this.attachments = [...own, ...managed];
  }
}

export interface ServiceRoleProps extends WorkloadRoleProps {
  /** Service principal that assumes the role, for example `eks.amazonaws.com`. */
  readonly service: string;
  /**
   * Further actions of the trust policy beside `sts:AssumeRole`.
   * @default - none
   */
  readonly trustActions?: readonly string[];
  /**
   * Conditions of the trust policy.
   * @default - none
   */
  readonly trustConditions?: NonNullable<PolicyStatement["conditions"]>;
}

/** A role that an AWS service assumes. */
export class ServiceRole extends TrustedRole {
  constructor(scope: Construct, id: string, props: ServiceRoleProps) {
    super(scope, id, {
      ...props,
      trust: [
        {
          sid: "AssumeRole",
          principal: { service: props.service },
          actions: ["sts:AssumeRole", ...(props.trustActions ?? [])],
          ...(props.trustConditions ? { conditions: props.trustConditions } : {}),
        },
      ],
    });
  }
}

/**
 * A role that EKS Pod Identity hands to the pods of a service account ("Learn how EKS Pod Identity grants pods access to
 * AWS services" in the Amazon EKS User Guide). Which service account, the association says.
 */
export class PodIdentityRole extends ServiceRole {
  constructor(scope: Construct, id: string, props: WorkloadRoleProps) {
    super(scope, id, { ...props, service: "pods.eks.amazonaws.com", trustActions: ["sts:TagSession"] });
  }
}

export interface IrsaRoleProps extends WorkloadRoleProps {
  /** ARN of the cluster's IAM OIDC provider. */
  readonly oidcProviderArn: string;
  /** Issuer of the cluster without `https://`. */
  readonly oidcIssuer: string;
  /** The only service account that may assume the role. */
  readonly serviceAccount: ServiceAccount;
}

/**
 * IAM role for one service account ("IAM roles for service accounts" in the Amazon EKS User Guide). The trust policy names
 * exactly one service account of one namespace and the audience of STS; a wildcard would let any pod in.
 */
export class IrsaRole extends TrustedRole {
  public readonly serviceAccount: ServiceAccount;

  /** @throws Error when the service account has a wildcard or is not a Kubernetes name */
  constructor(scope: Construct, id: string, props: IrsaRoleProps) {
    const { namespace, name } = props.serviceAccount;
    for (const [part, value] of Object.entries({ namespace, name })) {
      if (!/^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/.test(value)) {
        throw new Error(
          `${scope.node.path}/${id}: serviceAccount.${part} is "${value}"; it must be one exact Kubernetes name, without wildcards`,
        );
      }
    }
    super(scope, id, {
      ...props,
      trust: [
        {
          sid: "AssumeRoleWithWebIdentity",
          principal: { federated: props.oidcProviderArn },
          actions: ["sts:AssumeRoleWithWebIdentity"],
          conditions: {
            StringEquals: {
              [`${props.oidcIssuer}:aud`]: "sts.amazonaws.com",
              [`${props.oidcIssuer}:sub`]: `system:serviceaccount:${namespace}:${name}`,
            },
          },
        },
      ],
    });
    this.serviceAccount = props.serviceAccount;
  }
}
