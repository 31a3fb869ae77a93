import { VpcSecurityGroupIngressRule } from "@cdktf/provider-aws/lib/vpc-security-group-ingress-rule";
import type { Construct } from "constructs";
import type { Environment } from "../config/schema";
import { versions } from "../config/versions";
import { ClusterAddons, PlatformCluster, SystemNodes } from "../lib/eks";
import { IrsaRole, type PolicyStatement } from "../lib/iam";
import { KarpenterInfrastructure } from "../lib/karpenter";
import { postgresPort, readObjects, writeObjects } from "../lib/storage";
import { StackOutputs, text } from "../lib/synth";
import type { DataStack } from "./data";
import { EnvironmentStack } from "./environment-stack";
import type { NetworkStack } from "./network";

/** Prefix of the weather products in their bucket. */
const productsPrefix = "weather-products/";

/** Namespace of Dagster and the products API. */
const dataNamespace = "data";

const outputs = {
  clusterName: text("Name of the EKS cluster"),
  clusterEndpoint: text("URL of the Kubernetes API server"),
  clusterCertificateAuthority: text("Certificate of the API server's authority, base64"),
  clusterSecurityGroupId: text("Security group of the control plane and the nodes"),
  oidcProviderArn: text("ARN of the cluster's IAM OIDC provider"),
  oidcIssuer: text("Issuer of the service account tokens, without https://"),
  dagsterUserCodeRoleArn: text("IAM role of the service account dagster-user-code"),
  productsApiRoleArn: text("IAM role of the service account products-api"),
  karpenterNodeRoleName: text("IAM role of Karpenter's nodes, for the EC2NodeClass"),
  karpenterQueueName: text("Interruption queue of Karpenter"),
};

export interface ClusterStackProps {
  readonly environment: Environment;
  readonly network: NetworkStack;
  readonly data: DataStack;
}

/** EKS, its system nodes, add-ons and identities: the ground under every Kubernetes and Helm provider. */
export class ClusterStack extends EnvironmentStack {
  public readonly outputs: StackOutputs<typeof outputs>;

  constructor(scope: Construct, id: string, { environment, network, data }: ClusterStackProps) {
    super(scope, id, environment);
    const { aws, cluster: settings } = environment;
    const { privateSubnetIds } = network.outputs.readBy(this);
    const stored = data.outputs.readBy(this);

    const cluster = new PlatformCluster(this, "eks", {
      clusterName: settings.name,
      accountId: aws.accountId,
      kubernetesVersion: versions.kubernetes,
      subnetIds: privateSubnetIds,
      publicAccessCidrs: settings.publicAccessCidrs,
      logRetentionDays: settings.logRetentionDays,
      access: settings.access,
      keyDeletionWindowDays: environment.data.deletable ? 7 : 30,
    });
    const beforeCompute = new ClusterAddons(this, "addons-before", {
      cluster,
      versions: versions.addons,
      phase: "before-compute",
    });
    const systemNodes = new SystemNodes(this, "system-nodes", {
      ...settings.systemNodes,
      cluster,
      kubernetesVersion: versions.kubernetes,
      amiType: versions.amis.systemNodeGroupType,
      subnetIds: privateSubnetIds,
      dependsOn: beforeCompute.addons,
    });
    new ClusterAddons(this, "addons-after", {
      cluster,
      versions: versions.addons,
      phase: "after-compute",
      dependsOn: [systemNodes.ready],
    });

    const karpenter = new KarpenterInfrastructure(this, "karpenter", {
      cluster,
      region: aws.region,
      accountId: aws.accountId,
    });

    const products = {
      bucketArn: stored.productsBucketArn,
      keyArn: stored.productsKeyArn,
      prefix: productsPrefix,
      region: aws.region,
    };
    const applicationRole = (
      name: string,
      description: string,
      statements: readonly PolicyStatement[],
    ): IrsaRole =>
      new IrsaRole(this, `${name}-role`, {
        name: `${cluster.name}-${name}`,
        description,
        oidcProviderArn: cluster.oidcProviderArn,
        oidcIssuer: cluster.oidcIssuer,
        serviceAccount: { namespace: dataNamespace, name },
        policies: { products: statements },
      });
    const userCode = applicationRole(
      "dagster-user-code",
      "Dagster's user code and runs: write weather products",
      writeObjects(products),
    );
    const productsApi = applicationRole(
      "products-api",
      "Products API: read weather products",
      readObjects(products),
    );

    new VpcSecurityGroupIngressRule(this, "database-from-cluster", {
      securityGroupId: stored.databaseSecurityGroupId,
      referencedSecurityGroupId: cluster.securityGroupId,
      description: "PostgreSQL from the nodes and pods of the cluster",
      ipProtocol: "tcp",
      fromPort: postgresPort,
      toPort: postgresPort,
    });

    this.outputs = new StackOutputs(this, {
      specs: outputs,
      backend: this.backend,
      // nobody gets the end point before access exists, and on destroy access goes after its users
      dependsOn: cluster.accessReady,
      values: {
        clusterName: cluster.clusterName,
        clusterEndpoint: cluster.endpoint,
        clusterCertificateAuthority: cluster.certificateAuthority,
        clusterSecurityGroupId: cluster.securityGroupId,
        oidcProviderArn: cluster.oidcProviderArn,
        oidcIssuer: cluster.oidcIssuer,
        dagsterUserCodeRoleArn: userCode.roleArn,
        productsApiRoleArn: productsApi.roleArn,
        karpenterNodeRoleName: karpenter.nodeRoleName,
        karpenterQueueName: karpenter.queueName,
      },
    });
  }
}
