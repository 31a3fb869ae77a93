import { EcrLifecyclePolicy } from "@cdktf/provider-aws/lib/ecr-lifecycle-policy";
import { EcrRepository } from "@cdktf/provider-aws/lib/ecr-repository";
import { Construct } from "constructs";

export interface ImageRepositoryProps {
  /** Name of the repository in the account's registry. */
  readonly repositoryName: string;
  /** ARN of the KMS key of the layers. */
  readonly keyArn: string;
  /** Tagged images that are kept; older ones expire. */
  readonly imagesKept: number;
  /**
   * Whether destroy deletes a repository that still holds images.
   * @default false
   */
  readonly deletable?: boolean;
}

/** An ECR repository: a tag never changes its image, every push is scanned, what no tag names goes after a week. */
export class ImageRepository extends Construct {
  /** Address for `docker push`, without a tag. */
  public readonly repositoryUrl: string;
  public readonly repositoryArn: string;

  constructor(scope: Construct, id: string, props: ImageRepositoryProps) {
    super(scope, id);
    const repository = new EcrRepository(this, "repository", {
      name: props.repositoryName,
      imageTagMutability: "IMMUTABLE",
      imageScanningConfiguration: { scanOnPush: true },
      encryptionConfiguration: [{ encryptionType: "KMS", kmsKey: props.keyArn }],
      forceDelete: props.deletable ?? false,
    });
    this.repositoryUrl = repository.repositoryUrl;
    this.repositoryArn = repository.arn;
    new EcrLifecyclePolicy(this, "lifecycle", {
      repository: repository.name,
      policy: JSON.stringify({
        rules: [
          {
            rulePriority: 1,
            description: "Untagged images go after a week",
            selection: {
              tagStatus: "untagged",
              countType: "sinceImagePushed",
              countUnit: "days",
              countNumber: 7,
            },
            action: { type: "expire" },
          },
          {
            rulePriority: 2,
            description: `The ${props.imagesKept} newest images stay`,
            selection: { tagStatus: "any", countType: "imageCountMoreThan", countNumber: props.imagesKept },
            action: { type: "expire" },
          },
        ],
      }),
    });
  }
}
