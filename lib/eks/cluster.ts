import { CloudwatchLogGroup } from "@cdktf/provider-aws/lib/cloudwatch-log-group";
import { Ec2Tag } from "@cdktf/provider-aws/lib/ec2-tag";
import { EksAccessEntry } from "@cdktf/provider-aws/lib/eks-access-entry";
import { EksAccessPolicyAssociation } from "@cdktf/provider-aws/lib/eks-access-policy-association";
import { EksCluster } from "@cdktf/provider-aws/lib/eks-cluster";
import { IamOpenidConnectProvider } from "@cdktf/provider-aws/lib/iam-openid-connect-provider";
import { Fn, TerraformLocal, type TerraformResource } from "cdktf";
import { Construct } from "constructs";
import { ServiceRole } from "../iam";
import { EncryptionKey } from "../storage";

/** Who may use the Kubernetes API. */
export interface ClusterAccess {
  /** Stable id of the entry; a new one replaces it. */
  readonly name: string;
  /** ARN of an IAM role, never of a session. */
  readonly roleArn: string;
  /** Name of an EKS access policy, for example `AmazonEKSViewPolicy`. */
  readonly policy: string;
  /**
   * Namespaces that the policy is limited to.
   * @default - the whole cluster
   */
  readonly namespaces?: readonly string[] | undefined;
}

export interface PlatformClusterProps {
  /** Name of the cluster, at most 100 characters. */
  readonly clusterName: string;
  readonly accountId: string;
  /** Kubernetes minor version, for example "1.35". */
  readonly kubernetesVersion: string;
  /** Subnets of the control plane's network interfaces. */
  readonly subnetIds: readonly string[];
  /** IPv4 blocks that may reach the public end point; empty means that there is none. */
  readonly publicAccessCidrs: readonly string[];
  /** Days that CloudWatch keeps the control plane's logs. */
  readonly logRetentionDays: number;
  readonly access: readonly ClusterAccess[];
  /** Days until the key of the Kubernetes secrets is gone after a destroy, 7 to 30. */
  readonly keyDeletionWindowDays: number;
}

/**
 * An EKS control plane.
 *
 * - Access is a list of access entries (authentication mode API). The identity that creates the cluster gets none by itself:
 *   else the next identity that plans would replace it, and nobody would see who has access.
 * - The API end point is private; a public one exists only with a list of addresses.
 * - Secrets are encrypted with a key of ours. The log group is made first, or EKS makes one that is kept for ever.
 */
export class PlatformCluster extends Construct {
  /** The name as text, for names and tags. */
  public readonly name: string;
  /** The name as an attribute of the cluster: what uses it waits for the cluster. */
  public readonly clusterName: string;
  public readonly endpoint: string;
  /** Certificate of the API server's authority, base64. */
  public readonly certificateAuthority: string;
  /** Security group that EKS puts on the control plane and the nodes. */
  public readonly securityGroupId: string;
  public readonly oidcProviderArn: string;
  /** Issuer of service account tokens, without `https://`. */
  public readonly oidcIssuer: string;
  /** What anyone who talks to the API server must wait for. */
  public readonly accessReady: readonly TerraformResource[];

  constructor(scope: Construct, id: string, props: PlatformClusterProps) {
    super(scope, id);
    const { clusterName } = props;
    this.name = clusterName;

    const logGroup = new CloudwatchLogGroup(this, "log-group", {
      name: `/aws/eks/${clusterName}/cluster`,
      retentionInDays: props.logRetentionDays,
    });
    const role = new ServiceRole(this, "control-plane-role", {
      name: `${clusterName}-control-plane`,
      description: `Control plane of the EKS cluster ${clusterName}`,
      service: "eks.amazonaws.com",
      awsManagedPolicies: { "cluster-policy": "arn:aws:iam::aws:policy/AmazonEKSClusterPolicy" },
    });
    const secretsKey = new EncryptionKey(this, "secrets-key", {
      alias: `${clusterName}/kubernetes-secrets`,
      description: `Kubernetes secrets of ${clusterName}`,
      accountId: props.accountId,
      deletionWindowDays: props.keyDeletionWindowDays,
    });

    const cluster = new EksCluster(this, "cluster", {
      name: clusterName,
      version: props.kubernetesVersion,
      roleArn: role.roleArn,
      // VPC CNI, CoreDNS and kube-proxy come as add-ons with pinned versions
      bootstrapSelfManagedAddons: false,
      accessConfig: { authenticationMode: "API", bootstrapClusterCreatorAdminPermissions: false },
      vpcConfig: {
        subnetIds: [...props.subnetIds],
        endpointPrivateAccess: true,
        endpointPublicAccess: props.publicAccessCidrs.length > 0,
        ...(props.publicAccessCidrs.length > 0 ? { publicAccessCidrs: [...props.publicAccessCidrs] } : {}),
      },
      encryptionConfig: { resources: ["secrets"], provider: { keyArn: secretsKey.keyArn } },
      enabledClusterLogTypes: ["api", "audit", "authenticator", "controllerManager", "scheduler"],
      // extended support costs six times as much: upgrade instead
      upgradePolicy: { supportType: "STANDARD" },
      zonalShiftConfig: { enabled: true },
      dependsOn: [logGroup, ...role.attachments],
    });
    this.clusterName = cluster.name;
    this.endpoint = cluster.endpoint;
    this.certificateAuthority = cluster.certificateAuthority.get(0).data;
    this.securityGroupId = cluster.vpcConfig.clusterSecurityGroupId;

    this.accessReady = props.access.flatMap(({ name, roleArn, policy, namespaces }) => {
      const entry = new EksAccessEntry(this, `${name}-access`, {
        clusterName: cluster.name,
        principalArn: roleArn,
        type: "STANDARD",
      });
      const association = new EksAccessPolicyAssociation(this, `${name}-access-policy`, {
        clusterName: cluster.name,
        principalArn: entry.principalArn,
        policyArn: `arn:aws:eks::aws:cluster-access-policy/${policy}`,
        accessScope: namespaces ? { type: "namespace", namespaces: [...namespaces] } : { type: "cluster" },
      });
      return [entry, association];
    });

    const { issuer } = cluster.identity.get(0).oidc.get(0);
    const oidcProvider = new IamOpenidConnectProvider(this, "oidc-provider", {
      url: issuer,
      clientIdList: ["sts.amazonaws.com"],
    });
    this.oidcProviderArn = oidcProvider.arn;
    // a local keeps the trust policies, which use it as a key, readable
    const issuerHost = new TerraformLocal(this, "oidc-issuer", Fn.replace(issuer, "https://", ""));
    this.oidcIssuer = issuerHost.asString;

    // Karpenter finds the security group of its nodes by this tag; EKS made the group, so only the tag is ours
    new Ec2Tag(this, "karpenter-discovery", {
      resourceId: this.securityGroupId,
      key: "karpenter.sh/discovery",
      value: clusterName,
    });
  }
}
