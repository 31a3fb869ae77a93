import {
  EncryptionKey,
  ImageRepository,
  PostgresDatabase,
  type PostgresDatabaseProps,
  readObjects,
  SecureBucket,
  type SecureBucketProps,
  writeObjects,
} from "../../lib/storage";
import { synthStack } from "../support/synth";

const keyArn = "arn:aws:kms:us-east-2:111122223333:key/1";

const bucketProps: SecureBucketProps = {
  bucketName: "dagster-weather-products",
  keyArn,
  lifecycle: { infrequentAccessAfterDays: 30, glacierAfterDays: 90 },
  noncurrentVersionDays: 30,
};
const bucket = (overrides: Partial<SecureBucketProps> = {}) =>
  synthStack((stack) => void new SecureBucket(stack, "b", { ...bucketProps, ...overrides }));

describe("SecureBucket", () => {
  test("is versioned, encrypted, closed to the public and to plain HTTP, and cheaper with age", () => {
    const template = bucket();
    expect(template.resource("aws_s3_bucket")).toMatchObject({
      bucket: "dagster-weather-products",
      force_destroy: false,
    });
    expect(template.resource("aws_s3_bucket_versioning")["versioning_configuration"]).toEqual({
      status: "Enabled",
    });
    expect(template.resource("aws_s3_bucket_server_side_encryption_configuration")["rule"]).toEqual([
      {
        bucket_key_enabled: true,
        apply_server_side_encryption_by_default: { sse_algorithm: "aws:kms", kms_master_key_id: keyArn },
      },
    ]);
    expect(template.resource("aws_s3_bucket_public_access_block")).toMatchObject({
      block_public_acls: true,
      block_public_policy: true,
      ignore_public_acls: true,
      restrict_public_buckets: true,
    });
    expect(template.resource("aws_s3_bucket_ownership_controls")["rule"]).toEqual({
      object_ownership: "BucketOwnerEnforced",
    });
    expect(template.policy("aws_s3_bucket_policy", undefined).Statement).toEqual([
      {
        Sid: "DenyInsecureTransport",
        Effect: "Deny",
        Principal: "*",
        Action: "s3:*",
        Resource: ["${aws_s3_bucket.b_bucket.arn}", "${aws_s3_bucket.b_bucket.arn}/*"],
        Condition: { Bool: { "aws:SecureTransport": "false" } },
      },
    ]);
    expect(template.resource("aws_s3_bucket_lifecycle_configuration")["rule"]).toEqual([
      {
        id: "cheaper-with-age",
        status: "Enabled",
        filter: [{ prefix: "" }],
        transition: [
          { days: 30, storage_class: "STANDARD_IA" },
          { days: 90, storage_class: "GLACIER_IR" },
        ],
        noncurrent_version_expiration: [{ noncurrent_days: 30 }],
        abort_incomplete_multipart_upload: [{ days_after_initiation: 7 }],
      },
    ]);
  });

  test("deletes objects with the bucket only when told so, and expires them only when told so", () => {
    expect(bucket({ deletable: true }).resource("aws_s3_bucket")["force_destroy"]).toBe(true);
    const [rule] = bucket({
      lifecycle: { infrequentAccessAfterDays: 30, glacierAfterDays: 60, expireAfterDays: 400 },
    }).resource("aws_s3_bucket_lifecycle_configuration")["rule"] as Record<string, unknown>[];
    expect(rule?.["expiration"]).toEqual([{ days: 400 }]);
  });

  test.each([
    [
      { infrequentAccessAfterDays: 29, glacierAfterDays: 90 },
      "test/b: lifecycle.infrequentAccessAfterDays is 29; S3 moves objects to Standard-IA after 30 days at the earliest",
    ],
    [
      { infrequentAccessAfterDays: 30, glacierAfterDays: 59 },
      "test/b: lifecycle.glacierAfterDays is 59; objects stay in Standard-IA for 30 days at least, so use 60 or more",
    ],
    [
      { infrequentAccessAfterDays: 10, glacierAfterDays: 20, expireAfterDays: 20 },
      "test/b: lifecycle.infrequentAccessAfterDays is 10; S3 moves objects to Standard-IA after 30 days at the earliest; lifecycle.glacierAfterDays is 20; objects stay in Standard-IA for 30 days at least, so use 40 or more; lifecycle.expireAfterDays is 20; it must be more than glacierAfterDays (20)",
    ],
  ])("refuses the lifecycle %j", (lifecycle, message) => {
    expect(() => bucket({ lifecycle })).toThrow(new Error(message));
  });

  test("grants one prefix: list and read, or write as well, and the key through S3 only", () => {
    const access = { bucketArn: "arn:aws:s3:::b", keyArn, prefix: "weather-products/", region: "us-east-2" };
    const actions = (statements: ReturnType<typeof readObjects>) =>
      Object.fromEntries(statements.map(({ actions, resources }) => [resources?.join(), actions]));
    expect(actions(readObjects(access))).toEqual({
      "arn:aws:s3:::b": ["s3:ListBucket"],
      "arn:aws:s3:::b/weather-products/*": ["s3:GetObject"],
      [keyArn]: ["kms:Decrypt"],
    });
    expect(actions(writeObjects(access))).toEqual({
      "arn:aws:s3:::b": ["s3:ListBucket"],
      "arn:aws:s3:::b/weather-products/*": ["s3:AbortMultipartUpload", "s3:GetObject", "s3:PutObject"],
      [keyArn]: ["kms:Decrypt", "kms:GenerateDataKey"],
    });
    for (const statement of [...readObjects(access), ...writeObjects(access)]) {
      if (statement.sid === "ListPrefix") {
        expect(statement.conditions).toEqual({
          StringLike: { "s3:prefix": ["", "weather-products/", "weather-products/*"] },
        });
      }
      if (statement.sid === "UseKeyThroughS3") {
        expect(statement.conditions).toEqual({
          StringEquals: { "kms:ViaService": "s3.us-east-2.amazonaws.com" },
        });
      }
    }
  });
});

test("EncryptionKey rotates, waits before it goes, and belongs to the account", () => {
  const template = synthStack(
    (stack) =>
      void new EncryptionKey(stack, "k", {
        alias: "dagster-eks/data",
        description: "Data",
        accountId: "111122223333",
      }),
  );
  expect(template.resource("aws_kms_key")).toMatchObject({
    enable_key_rotation: true,
    deletion_window_in_days: 30,
  });
  expect(template.policy("aws_kms_key", undefined).Statement).toMatchObject([
    { Principal: { AWS: "arn:aws:iam::111122223333:root" }, Action: "kms:*" },
  ]);
  expect(template.resource("aws_kms_alias")["name"]).toBe("alias/dagster-eks/data");
});

test("ImageRepository has immutable tags, scans each push and expires old images", () => {
  const template = synthStack(
    (stack) =>
      void new ImageRepository(stack, "r", { repositoryName: "dagster-weather-app", keyArn, imagesKept: 20 }),
  );
  expect(template.resource("aws_ecr_repository")).toMatchObject({
    name: "dagster-weather-app",
    image_tag_mutability: "IMMUTABLE",
    image_scanning_configuration: { scan_on_push: true },
    encryption_configuration: [{ encryption_type: "KMS", kms_key: keyArn }],
    force_delete: false,
  });
  const { rules } = JSON.parse(String(template.resource("aws_ecr_lifecycle_policy")["policy"]));
  expect(rules.map((rule: { selection: unknown }) => rule.selection)).toEqual([
    { tagStatus: "untagged", countType: "sinceImagePushed", countUnit: "days", countNumber: 7 },
    { tagStatus: "any", countType: "imageCountMoreThan", countNumber: 20 },
  ]);
});

describe("PostgresDatabase", () => {
  const props: PostgresDatabaseProps = {
    identifier: "dagster-eks-prod-dagster",
    databaseName: "dagster",
    majorVersion: "17",
    vpcId: "vpc-1",
    subnetIds: ["subnet-1", "subnet-2"],
    keyArn,
    instanceClass: "db.m7g.large",
    storageGib: 100,
    maxStorageGib: 500,
    multiAz: true,
    backupRetentionDays: 35,
    deletionProtection: true,
  };
  const database = (overrides: Partial<PostgresDatabaseProps> = {}) =>
    synthStack((stack) => void new PostgresDatabase(stack, "db", { ...props, ...overrides }));

  test("is private and encrypted, RDS keeps the master password, TLS is forced, nothing is open", () => {
    const template = database();
    const instance = template.resource("aws_db_instance");
    expect(instance).toMatchObject({
      storage_encrypted: true,
      kms_key_id: keyArn,
      publicly_accessible: false,
      manage_master_user_password: true,
      master_user_secret_kms_key_id: keyArn,
      multi_az: true,
      backup_retention_period: 35,
      deletion_protection: true,
      skip_final_snapshot: false,
      final_snapshot_identifier: "dagster-eks-prod-dagster-final",
      storage_type: "gp3",
    });
    expect(Object.keys(instance)).not.toContain("password");
    expect(template.resource("aws_db_parameter_group")["parameter"]).toContainEqual({
      name: "rds.force_ssl",
      value: "1",
    });
    expect(template.types).not.toContain("aws_vpc_security_group_ingress_rule");
    const group = template.resource("aws_security_group");
    expect([group["ingress"], group["egress"]]).toEqual([undefined, undefined]);
  });

  test("goes without a snapshot only when told so", () => {
    const instance = database({ deletable: true, deletionProtection: false }).resource("aws_db_instance");
    expect(instance).toMatchObject({ skip_final_snapshot: true, deletion_protection: false });
    expect(instance["final_snapshot_identifier"]).toBeUndefined();
  });
});
