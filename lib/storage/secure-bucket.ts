import { S3Bucket } from "@cdktf/provider-aws/lib/s3-bucket";
import {
  S3BucketLifecycleConfiguration,
  type S3BucketLifecycleConfigurationRule,
} from "@cdktf/provider-aws/lib/s3-bucket-lifecycle-configuration";
import { S3BucketOwnershipControls } from "@cdktf/provider-aws/lib/s3-bucket-ownership-controls";
import { S3BucketPolicy } from "@cdktf/provider-aws/lib/s3-bucket-policy";
import { S3BucketPublicAccessBlock } from "@cdktf/provider-aws/lib/s3-bucket-public-access-block";
import { S3BucketServerSideEncryptionConfigurationA } from "@cdktf/provider-aws/lib/s3-bucket-server-side-encryption-configuration";
import { S3BucketVersioningA } from "@cdktf/provider-aws/lib/s3-bucket-versioning";
import { Construct } from "constructs";
import { denyInsecureTransport, type PolicyStatement, policyDocument } from "../iam";

/** When current objects move to a cheaper storage class, and when they go. */
export interface ObjectLifecycle {
  /** Days until Standard-IA; S3 refuses less than 30. */
  readonly infrequentAccessAfterDays: number;
  /** Days until Glacier Instant Retrieval; at least 30 more than the above. */
  readonly glacierAfterDays: number;
  /**
   * Days until the object is deleted.
   * @default - kept for ever
   */
  readonly expireAfterDays?: number;
}

export interface SecureBucketProps {
  /** Name of the bucket, unique in all of AWS. */
  readonly bucketName: string;
  /** ARN of the KMS key of every object. */
  readonly keyArn: string;
  readonly lifecycle: ObjectLifecycle;
  /** Days that a replaced or deleted version can be taken back. */
  readonly noncurrentVersionDays: number;
  /**
   * Whether destroy deletes a bucket that still holds objects.
   * @default false
   */
  readonly deletable?: boolean;
}

/**
 * A private bucket: versioned, encrypted with a key of ours, closed to the public whatever an ACL says, TLS only, cheaper
 * with age. Uploads that were cut off are removed after a week.
 */
export class SecureBucket extends Construct {
  public readonly bucketName: string;
  public readonly bucketArn: string;

  /** @throws Error when the lifecycle breaks a rule of S3 */
  constructor(scope: Construct, id: string, props: SecureBucketProps) {
    super(scope, id);
    const { infrequentAccessAfterDays, glacierAfterDays, expireAfterDays } = props.lifecycle;
    const broken = [
      infrequentAccessAfterDays < 30 &&
        `lifecycle.infrequentAccessAfterDays is ${infrequentAccessAfterDays}; S3 moves objects to Standard-IA after 30 days at the earliest`,
      glacierAfterDays < infrequentAccessAfterDays + 30 &&
        `lifecycle.glacierAfterDays is ${glacierAfterDays}; objects stay in Standard-IA for 30 days at least, so use ${infrequentAccessAfterDays + 30} or more`,
      expireAfterDays !== undefined &&
        expireAfterDays <= glacierAfterDays &&
        `lifecycle.expireAfterDays is ${expireAfterDays}; it must be more than glacierAfterDays (${glacierAfterDays})`,
    ].filter((problem) => problem !== false);
    if (broken.length > 0) throw new Error(`${this.node.path}: ${broken.join("; ")}`);

    const bucket = new S3Bucket(this, "bucket", {
      bucket: props.bucketName,
      forceDestroy: props.deletable ?? false,
    });
    this.bucketName = bucket.bucket;
    this.bucketArn = bucket.arn;

    const versioning = new S3BucketVersioningA(this, "versioning", {
      bucket: bucket.id,
      versioningConfiguration: { status: "Enabled" },
    });
    new S3BucketServerSideEncryptionConfigurationA(this, "encryption", {
      bucket: bucket.id,
      rule: [
        {
          // one data key per bucket and hour instead of one call to KMS per object
          bucketKeyEnabled: true,
          applyServerSideEncryptionByDefault: { sseAlgorithm: "aws:kms", kmsMasterKeyId: props.keyArn },
        },
      ],
    });
    const publicAccess = new S3BucketPublicAccessBlock(this, "public-access-block", {
      bucket: bucket.id,
      blockPublicAcls: true,
      blockPublicPolicy: true,
      ignorePublicAcls: true,
      restrictPublicBuckets: true,
    });
    new S3BucketOwnershipControls(this, "ownership", {
      bucket: bucket.id,
      rule: { objectOwnership: "BucketOwnerEnforced" },
    });
    new S3BucketPolicy(this, "policy", {
      bucket: bucket.id,
      policy: policyDocument([denyInsecureTransport("s3", [bucket.arn, `${bucket.arn}/*`])]),
      // S3 answers 409 when both are written at once
      dependsOn: [publicAccess],
    });

    const rules: S3BucketLifecycleConfigurationRule[] = [
      {
        id: "cheaper-with-age",
        status: "Enabled",
        filter: [{ prefix: "" }],
        transition: [
          { days: infrequentAccessAfterDays, storageClass: "STANDARD_IA" },
          { days: glacierAfterDays, storageClass: "GLACIER_IR" },
        ],
        ...(expireAfterDays === undefined ? {} : { expiration: [{ days: expireAfterDays }] }),
        noncurrentVersionExpiration: [{ noncurrentDays: props.noncurrentVersionDays }],
        abortIncompleteMultipartUpload: [{ daysAfterInitiation: 7 }],
      },
    ];
    new S3BucketLifecycleConfiguration(this, "lifecycle", {
      bucket: bucket.id,
      rule: rules,
      // rules on versions need the versioning first
      dependsOn: [versioning],
    });
  }
}

export interface BucketAccess {
  readonly bucketArn: string;
  /** ARN of the bucket's key. */
  readonly keyArn: string;
  /** Prefix that the access is limited to, ending in `/`. */
  readonly prefix: string;
  /** AWS region of the bucket: the key may be used through S3 of this region only. */
  readonly region: string;
}

const listPrefix = ({ bucketArn, prefix }: BucketAccess): PolicyStatement => ({
  sid: "ListPrefix",
  actions: ["s3:ListBucket"],
  resources: [bucketArn],
  // "" lets `aws s3 ls s3://bucket/` of the runbook answer
  conditions: { StringLike: { "s3:prefix": ["", prefix, `${prefix}*`] } },
});

const useKey = ({ keyArn, region }: BucketAccess, actions: readonly string[]): PolicyStatement => ({
  sid: "UseKeyThroughS3",
  actions,
  resources: [keyArn],
  conditions: { StringEquals: { "kms:ViaService": `s3.${region}.amazonaws.com` } },
});

/** Statements of a role that may list and read the objects of a prefix, and nothing else. */
export const readObjects = (access: BucketAccess): PolicyStatement[] => [
  listPrefix(access),
  { sid: "ReadObjects", actions: ["s3:GetObject"], resources: [`${access.bucketArn}/${access.prefix}*`] },
  useKey(access, ["kms:Decrypt"]),
];

/** Statements of a role that may also write objects under the prefix; it can delete none. */
export const writeObjects = (access: BucketAccess): PolicyStatement[] => [
  listPrefix(access),
  {
    sid: "WriteObjects",
    actions: ["s3:AbortMultipartUpload", "s3:GetObject", "s3:PutObject"],
    resources: [`${access.bucketArn}/${access.prefix}*`],
  },
  // a multipart upload decrypts its parts
  useKey(access, ["kms:Decrypt", "kms:GenerateDataKey"]),
];
