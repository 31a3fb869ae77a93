import type { Construct } from "constructs";
import type { Environment } from "../config/schema";
import { versions } from "../config/versions";
import { EncryptionKey, ImageRepository, PostgresDatabase, SecureBucket } from "../lib/storage";
import { StackOutputs, text } from "../lib/synth";
import { EnvironmentStack } from "./environment-stack";
import type { NetworkStack } from "./network";

const outputs = {
  productsBucketArn: text("ARN of the bucket that the pipeline writes and the API reads"),
  productsKeyArn: text("ARN of the products' KMS key"),
  backupBucketArn: text("ARN of the bucket of Vault's snapshots"),
  backupKeyArn: text("ARN of the backups' KMS key"),
  vaultUnsealKeyArn: text("ARN of the KMS key that unseals Vault"),
  dagsterRepositoryUrl: text("ECR repository of the pipeline's image"),
  apiRepositoryUrl: text("ECR repository of the API's image"),
  databaseAddress: text("Host name of Dagster's PostgreSQL"),
  databaseName: text("Name of Dagster's database"),
  databaseSecurityGroupId: text("Security group of the database; clients add their ingress rule to it"),
  databaseMasterSecretArn: text("ARN of the Secrets Manager secret that RDS rotates; not its value"),
};

export interface DataStackProps {
  readonly environment: Environment;
  readonly network: NetworkStack;
}

/** What must survive a rebuilt cluster: buckets, images, the database and the keys of all of them. */
export class DataStack extends EnvironmentStack {
  public readonly outputs: StackOutputs<typeof outputs>;

  constructor(scope: Construct, id: string, { environment, network }: DataStackProps) {
    super(scope, id, environment);
    const { aws, data, cluster } = environment;
    const { vpcId, databaseSubnetIds } = network.outputs.readBy(this);
    const name = `${cluster.name}-${environment.name}`;
    const key = (keyId: string, description: string): EncryptionKey =>
      new EncryptionKey(this, keyId, {
        alias: `${name}/${keyId.replace(/-key$/, "")}`,
        description,
        accountId: aws.accountId,
        deletionWindowDays: data.deletable ? 7 : 30,
      });

    const productsKey = key("products-key", "Weather products and the images that make them");
    const backupKey = key("backup-key", "Vault snapshots and other backups");
    const databaseKey = key("database-key", "Dagster's PostgreSQL, its backups and its master password");
    const vaultUnsealKey = key("vault-unseal-key", "Unseals Vault");

    const products = new SecureBucket(this, "products", {
      bucketName: data.productsBucket,
      keyArn: productsKey.keyArn,
      lifecycle: { infrequentAccessAfterDays: 30, glacierAfterDays: 90 },
      noncurrentVersionDays: 30,
      deletable: data.deletable,
    });
    const backups = new SecureBucket(this, "backups", {
      bucketName: data.backupBucket,
      keyArn: backupKey.keyArn,
      lifecycle: { infrequentAccessAfterDays: 30, glacierAfterDays: 60, expireAfterDays: 400 },
      noncurrentVersionDays: 90,
      deletable: data.deletable,
    });
    const repository = (repositoryId: string, repositoryName: string): ImageRepository =>
      new ImageRepository(this, repositoryId, {
        repositoryName,
        keyArn: productsKey.keyArn,
        imagesKept: data.imagesKept,
        deletable: data.deletable,
      });
    const dagsterImages = repository("dagster-images", "dagster-weather-app");
    const apiImages = repository("api-images", "weather-products-api");

    const database = new PostgresDatabase(this, "database", {
      ...data.database,
      identifier: `${name}-dagster`,
      databaseName: "dagster",
      majorVersion: versions.postgresql,
      vpcId,
      subnetIds: databaseSubnetIds,
      keyArn: databaseKey.keyArn,
      deletable: data.deletable,
    });

    this.outputs = new StackOutputs(this, {
      specs: outputs,
      backend: this.backend,
      values: {
        productsBucketArn: products.bucketArn,
        productsKeyArn: productsKey.keyArn,
        backupBucketArn: backups.bucketArn,
        backupKeyArn: backupKey.keyArn,
        vaultUnsealKeyArn: vaultUnsealKey.keyArn,
        dagsterRepositoryUrl: dagsterImages.repositoryUrl,
        apiRepositoryUrl: apiImages.repositoryUrl,
        databaseAddress: database.address,
        databaseName: database.databaseName,
        databaseSecurityGroupId: database.securityGroupId,
        databaseMasterSecretArn: database.masterSecretArn,
      },
    });
  }
}
