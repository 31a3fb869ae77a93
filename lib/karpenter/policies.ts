import type { PolicyStatement } from "../iam";

/** What the controller's policies are scoped to. */
export interface KarpenterScope {
  /** Name of the EKS cluster. */
  readonly clusterName: string;
  readonly region: string;
  readonly accountId: string;
  /** ARN of the role of Karpenter's nodes: the only one that the controller may hand on. */
  readonly nodeRoleArn: string;
  /** ARN of the interruption queue. */
  readonly queueArn: string;
}

/**
 * The six policies of Karpenter's controller, by their upstream names ("Karpenter: CloudFormation", reference of the
 * getting-started template, v1.12 and later). One policy would exceed IAM's 6,144 characters; and each right is limited to
 * what carries the cluster's tags.
 */
export function controllerPolicies({
  clusterName,
  region,
  accountId,
  nodeRoleArn,
  queueArn,
}: KarpenterScope): Readonly<Record<string, readonly PolicyStatement[]>> {
  const ec2 = (kind: string, account = "*"): string => `arn:aws:ec2:${region}:${account}:${kind}/*`;
  const instanceProfiles = `arn:aws:iam::${accountId}:instance-profile/*`;
  const clusterArn = `arn:aws:eks:${region}:${accountId}:cluster/${clusterName}`;
  const ownedTag = `kubernetes.io/cluster/${clusterName}`;

  /** Resources that exist and belong to a NodePool of this cluster. */
  const ownedByNodePool = {
    StringEquals: { [`aws:ResourceTag/${ownedTag}`]: "owned" },
    StringLike: { "aws:ResourceTag/karpenter.sh/nodepool": "*" },
  };
  /** Requests that tag what they make as belonging to a NodePool of this cluster. */
  const requestedTags = {
    [`aws:RequestTag/${ownedTag}`]: "owned",
    "aws:RequestTag/eks:eks-cluster-name": clusterName,
  };
  const requestedByNodePool = {
    StringEquals: requestedTags,
    StringLike: { "aws:RequestTag/karpenter.sh/nodepool": "*" },
  };
  const launched = [
    "fleet",
    "instance",
    "volume",
    "network-interface",
    "launch-template",
    "spot-instances-request",
  ].map((kind) => ec2(kind));
  const profileTags = (operation: "Request" | "Resource") => ({
    [`aws:${operation}Tag/${ownedTag}`]: "owned",
    [`aws:${operation}Tag/topology.kubernetes.io/region`]: region,
  });

  return {
    NodeLifecycle: [
      {
        sid: "AllowScopedEC2InstanceAccessActions",
        actions: ["ec2:RunInstances", "ec2:CreateFleet"],
        resources: [
          ec2("image", ""),
          ec2("snapshot", ""),
          ...["security-group", "subnet", "capacity-reservation", "placement-group"].map((kind) => ec2(kind)),
        ],
      },
      {
        sid: "AllowScopedEC2LaunchTemplateAccessActions",
        actions: ["ec2:RunInstances", "ec2:CreateFleet"],
        resources: [ec2("launch-template")],
        conditions: ownedByNodePool,
      },
      {
        sid: "AllowScopedEC2InstanceActionsWithTags",
        actions: ["ec2:RunInstances", "ec2:CreateFleet", "ec2:CreateLaunchTemplate"],
        resources: launched,
        conditions: requestedByNodePool,
      },
      {
        sid: "AllowScopedResourceCreationTagging",
        actions: ["ec2:CreateTags"],
        resources: launched,
        conditions: {
          ...requestedByNodePool,
          StringEquals: {
            ...requestedTags,
            "ec2:CreateAction": ["RunInstances", "CreateFleet", "CreateLaunchTemplate"],
          },
        },
      },
      {
        sid: "AllowScopedResourceTagging",
        actions: ["ec2:CreateTags"],
        resources: [ec2("instance")],
        conditions: {
          ...ownedByNodePool,
          StringEqualsIfExists: { "aws:RequestTag/eks:eks-cluster-name": clusterName },
          "ForAllValues:StringEquals": {
            "aws:TagKeys": ["eks:eks-cluster-name", "karpenter.sh/nodeclaim", "Name"],
          },
        },
      },
      {
        sid: "AllowScopedDeletion",
        actions: ["ec2:TerminateInstances", "ec2:DeleteLaunchTemplate"],
        resources: [ec2("instance"), ec2("launch-template")],
        conditions: ownedByNodePool,
      },
    ],
    IAMIntegration: [
      {
        sid: "AllowPassingInstanceRole",
        actions: ["iam:PassRole"],
        resources: [nodeRoleArn],
        conditions: {
          StringEquals: { "iam:PassedToService": ["ec2.amazonaws.com", "ec2.amazonaws.com.cn"] },
        },
      },
      {
        sid: "AllowScopedInstanceProfileCreationActions",
        actions: ["iam:CreateInstanceProfile"],
        resources: [instanceProfiles],
        conditions: {
          StringEquals: { ...profileTags("Request"), "aws:RequestTag/eks:eks-cluster-name": clusterName },
          StringLike: { "aws:RequestTag/karpenter.k8s.aws/ec2nodeclass": "*" },
        },
      },
      {
        sid: "AllowScopedInstanceProfileTagActions",
        actions: ["iam:TagInstanceProfile"],
        resources: [instanceProfiles],
        conditions: {
          StringEquals: {
            ...profileTags("Resource"),
            ...profileTags("Request"),
            "aws:RequestTag/eks:eks-cluster-name": clusterName,
          },
          StringLike: {
            "aws:ResourceTag/karpenter.k8s.aws/ec2nodeclass": "*",
            "aws:RequestTag/karpenter.k8s.aws/ec2nodeclass": "*",
          },
        },
      },
      {
        sid: "AllowScopedInstanceProfileActions",
        actions: [
          "iam:AddRoleToInstanceProfile",
          "iam:RemoveRoleFromInstanceProfile",
          "iam:DeleteInstanceProfile",
        ],
        resources: [instanceProfiles],
        conditions: {
          StringEquals: profileTags("Resource"),
          StringLike: { "aws:ResourceTag/karpenter.k8s.aws/ec2nodeclass": "*" },
        },
      },
    ],
    EKSIntegration: [
      {
        sid: "AllowAPIServerEndpointDiscovery",
        actions: ["eks:DescribeCluster"],
        resources: [clusterArn],
      },
    ],
    Interruption: [
      {
        sid: "AllowInterruptionQueueActions",
        actions: ["sqs:DeleteMessage", "sqs:GetQueueUrl", "sqs:ReceiveMessage"],
        resources: [queueArn],
      },
    ],
    ZonalShift: [
      {
        sid: "AllowZonalShiftStatusReadOnly",
        actions: ["arc-zonal-shift:GetManagedResource"],
        // the action knows no resource; the condition names the cluster
        resources: ["*"],
        conditions: { StringEquals: { "arc-zonal-shift:ResourceIdentifier": clusterArn } },
      },
    ],
    ResourceDiscovery: [
      {
        sid: "AllowRegionalReadActions",
        actions: [
          "CapacityReservations",
          "Images",
          "InstanceStatus",
          "InstanceTypeOfferings",
          "InstanceTypes",
          "Instances",
          "LaunchTemplates",
          "PlacementGroups",
          "SecurityGroups",
          "SpotPriceHistory",
          "Subnets",
        ].map((kind) => `ec2:Describe${kind}`),
        resources: ["*"],
        conditions: { StringEquals: { "aws:RequestedRegion": region } },
      },
      {
        sid: "AllowSSMReadActions",
        actions: ["ssm:GetParameter"],
        resources: [`arn:aws:ssm:${region}::parameter/aws/service/*`],
      },
      { sid: "AllowPricingReadActions", actions: ["pricing:GetProducts"], resources: ["*"] },
      {
        sid: "AllowUnscopedInstanceProfileListAction",
        actions: ["iam:ListInstanceProfiles"],
        resources: ["*"],
      },
      {
        sid: "AllowInstanceProfileReadActions",
        actions: ["iam:GetInstanceProfile"],
        resources: [instanceProfiles],
      },
    ],
  };
}
