import { DbInstance } from "@cdktf/provider-aws/lib/db-instance";
import { DbParameterGroup } from "@cdktf/provider-aws/lib/db-parameter-group";
import { DbSubnetGroup } from "@cdktf/provider-aws/lib/db-subnet-group";
import { SecurityGroup } from "@cdktf/provider-aws/lib/security-group";
import { Fn, propertyAccess, Token } from "cdktf";
import { Construct } from "constructs";

/** Port that PostgreSQL listens on. */
export const postgresPort = 5432;

export interface PostgresDatabaseProps {
  /** Identifier of the instance, unique in account and region. */
  readonly identifier: string;
  /** Name of the first database. */
  readonly databaseName: string;
  /** Major version of PostgreSQL, for example "17". */
  readonly majorVersion: string;
  readonly vpcId: string;
  /** Subnets in at least two Availability Zones. */
  readonly subnetIds: readonly string[];
  /** ARN of the KMS key of the storage, the backups and the master password's secret. */
  readonly keyArn: string;
  readonly instanceClass: string;
  /** GiB of gp3 storage at first. */
  readonly storageGib: number;
  /** GiB that storage autoscaling stops at. */
  readonly maxStorageGib: number;
  readonly multiAz: boolean;
  /** Days that automated backups are kept, 1 to 35. */
  readonly backupRetentionDays: number;
  readonly deletionProtection: boolean;
  /**
   * Whether destroy goes without a final snapshot.
   * @default false
   */
  readonly deletable?: boolean;
}

/**
 * PostgreSQL on RDS: private, encrypted, TLS only. RDS makes and rotates the master password in Secrets Manager, so it is
 * in no variable, plan or state ("Password management with Amazon RDS and AWS Secrets Manager"). The security group starts
 * closed; the stack that owns the clients opens it for them.
 */
export class PostgresDatabase extends Construct {
  /** Host name of the instance. */
  public readonly address: string;
  public readonly databaseName: string;
  public readonly securityGroupId: string;
  /** ARN of the secret with the master user's name and password. */
  public readonly masterSecretArn: string;

  constructor(scope: Construct, id: string, props: PostgresDatabaseProps) {
    super(scope, id);
    const subnetGroup = new DbSubnetGroup(this, "subnet-group", {
      name: props.identifier,
      description: `Database subnets of ${props.identifier}`,
      subnetIds: [...props.subnetIds],
    });
    const securityGroup = new SecurityGroup(this, "security-group", {
      name: `${props.identifier}-database`,
      description: `Clients of ${props.identifier}; opened by their own stacks`,
      vpcId: props.vpcId,
      tags: { Name: `${props.identifier}-database` },
    });
    const parameters = new DbParameterGroup(this, "parameter-group", {
      name: `${props.identifier}-postgres${props.majorVersion}`,
      description: `PostgreSQL ${props.majorVersion} of ${props.identifier}`,
      family: `postgres${props.majorVersion}`,
      parameter: [
        { name: "rds.force_ssl", value: "1" },
        // a statement that takes longer than this is in the log
        { name: "log_min_duration_statement", value: "1000" },
      ],
      // a new major version brings a new group before the old one can go
      lifecycle: { createBeforeDestroy: true },
    });
    const instance = new DbInstance(this, "instance", {
      identifier: props.identifier,
      engine: "postgres",
      engineVersion: props.majorVersion,
      instanceClass: props.instanceClass,
      dbName: props.databaseName,
      port: postgresPort,
      username: "postgres",
      manageMasterUserPassword: true,
      masterUserSecretKmsKeyId: props.keyArn,
      storageType: "gp3",
      allocatedStorage: props.storageGib,
      maxAllocatedStorage: props.maxStorageGib,
      storageEncrypted: true,
      kmsKeyId: props.keyArn,
      dbSubnetGroupName: subnetGroup.name,
      parameterGroupName: parameters.name,
      vpcSecurityGroupIds: [securityGroup.id],
      publiclyAccessible: false,
      multiAz: props.multiAz,
      autoMinorVersionUpgrade: true,
      backupRetentionPeriod: props.backupRetentionDays,
      backupWindow: "03:00-04:00",
      maintenanceWindow: "sun:04:30-sun:05:30",
      copyTagsToSnapshot: true,
      enabledCloudwatchLogsExports: ["postgresql", "upgrade"],
      deletionProtection: props.deletionProtection,
      skipFinalSnapshot: props.deletable ?? false,
      ...(props.deletable ? {} : { finalSnapshotIdentifier: `${props.identifier}-final` }),
      deleteAutomatedBackups: props.deletable ?? false,
    });
    this.address = instance.address;
    this.databaseName = props.databaseName;
    this.securityGroupId = securityGroup.id;
    // empty, and no error, where there is no such secret (the AWS emulator makes none)
    const secretArns = propertyAccess(instance.interpolationForAttribute("master_user_secret"), [
      "*",
      "secret_arn",
    ]);
    this.masterSecretArn = Token.asString(Fn.join("", Token.asList(secretArns)));
  }
}
