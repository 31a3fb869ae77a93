import { AwsProvider } from "@cdktf/provider-aws/lib/provider";
import { Aspects, LocalBackend, S3Backend, type TerraformBackend } from "cdktf";
import type { Construct } from "constructs";
import type { Environment } from "../config/schema";
import { versions } from "../config/versions";
import { PathNamedStack } from "../lib/synth";
import { IgnoreEmulatorGaps } from "./emulator-gaps";

/** Services of the AWS emulator that the stacks call. */
const emulatedServices = [
  "cloudwatchlogs",
  "ec2",
  "ecr",
  "eks",
  "eventbridge",
  "iam",
  "kms",
  "rds",
  "s3",
  "secretsmanager",
  "sqs",
  "sts",
] as const;

/** From a stack's folder in cdktf.out up to the checkout: paths in the JSON must not name the machine. */
export const checkout = "../../..";

/** Base of every stack: backend, AWS provider, tags. */
export abstract class EnvironmentStack extends PathNamedStack {
  protected readonly environment: Environment;
  protected readonly backend: TerraformBackend;

  constructor(scope: Construct, id: string, environment: Environment) {
    super(scope, id);
    this.environment = environment;
    const { aws, state, name } = environment;

    this.addOverride("terraform.required_version", versions.openTofu);
    if (state.backend === "local") {
      this.backend = new LocalBackend(this, { path: `${checkout}/.local/state/${id}.tfstate` });
    } else {
      this.backend = new S3Backend(this, {
        bucket: state.bucket,
        key: `dagster-eks/${name}/${id}.tfstate`,
        region: state.region,
        encrypt: true,
        allowedAccountIds: [aws.accountId],
      });
      // S3BackendConfig has no use_lockfile (S3's own lock, without a DynamoDB table)
      this.addOverride("terraform.backend.s3.use_lockfile", true);
    }

    new AwsProvider(this, "aws", {
      region: aws.region,
      defaultTags: [{ tags: { Project: "dagster-eks", Environment: name, Stack: id, ManagedBy: "cdktf" } }],
      ...(aws.deployRoleArn ? { assumeRole: [{ roleArn: aws.deployRoleArn }] } : {}),
      allowedAccountIds: [aws.accountId],
      ...(aws.emulator ? emulatorArguments(aws.emulator.port) : {}),
    });
    if (aws.emulator) {
      // an offline machine applies with the provider that it has
      this.addOverride("terraform.required_providers.aws.version", versions.localAwsProvider);
      Aspects.of(this).add(new IgnoreEmulatorGaps());
    }
  }
}

function emulatorArguments(port: number) {
  const url = `https://127.0.0.1:${port}`;
  return {
    // the emulator takes any credentials; these can open nothing else
    accessKey: "local-emulator",
    secretKey: "local-emulator",
    customCaBundle: `${checkout}/.local/aws/tls/ca.pem`,
    s3UsePathStyle: true,
    skipCredentialsValidation: true,
    skipMetadataApiCheck: "true",
    endpoints: [Object.fromEntries(emulatedServices.map((service) => [service, url]))],
  };
}
