import { CloudwatchEventRule } from "@cdktf/provider-aws/lib/cloudwatch-event-rule";
import { CloudwatchEventTarget } from "@cdktf/provider-aws/lib/cloudwatch-event-target";
import { EksAccessEntry } from "@cdktf/provider-aws/lib/eks-access-entry";
import { EksPodIdentityAssociation } from "@cdktf/provider-aws/lib/eks-pod-identity-association";
import { SqsQueue } from "@cdktf/provider-aws/lib/sqs-queue";
import { SqsQueuePolicy } from "@cdktf/provider-aws/lib/sqs-queue-policy";
import { Construct } from "constructs";
import { nodePolicies, type PlatformCluster } from "../eks";
import {
  denyInsecureTransport,
  fitName,
  PodIdentityRole,
  policyDocument,
  type ServiceAccount,
  ServiceRole,
} from "../iam";
import { controllerPolicies } from "./policies";

/** An event of which Karpenter learns through its interruption queue. */
interface InterruptionEvent {
  readonly source: "aws.ec2" | "aws.health";
  readonly detailType: string;
}

/** The five events, by the stable id of their rule ("Karpenter: Disruption", Interruption). */
export const interruptionEvents = {
  "scheduled-change": { source: "aws.health", detailType: "AWS Health Event" },
  "spot-interruption": { source: "aws.ec2", detailType: "EC2 Spot Instance Interruption Warning" },
  rebalance: { source: "aws.ec2", detailType: "EC2 Instance Rebalance Recommendation" },
  "instance-state-change": { source: "aws.ec2", detailType: "EC2 Instance State-change Notification" },
  "capacity-reservation-interruption": {
    source: "aws.ec2",
    detailType: "EC2 Capacity Reservation Instance Interruption Warning",
  },
} as const satisfies Record<string, InterruptionEvent>;

/** The service account of Karpenter's controller. */
export const karpenterServiceAccount: ServiceAccount = { namespace: "karpenter", name: "karpenter" };

export interface KarpenterInfrastructureProps {
  readonly cluster: PlatformCluster;
  readonly region: string;
  readonly accountId: string;
}

/**
 * What Karpenter needs of AWS: the role of its nodes with an access entry, the controller's role with six scoped policies
 * and its Pod Identity association, and the interruption queue with five event rules. The association exists before the
 * controller: pods that start before it would have no credentials (aws/amazon-eks-pod-identity-webhook #264).
 */
export class KarpenterInfrastructure extends Construct {
  /** Name of the nodes' role, for the EC2NodeClass. */
  public readonly nodeRoleName: string;
  /** Name of the interruption queue, for the controller's settings. */
  public readonly queueName: string;
  public readonly controllerRoleArn: string;

  constructor(scope: Construct, id: string, props: KarpenterInfrastructureProps) {
    super(scope, id);
    const { cluster, region, accountId } = props;

    const nodeRole = new ServiceRole(this, "node-role", {
      name: `KarpenterNodeRole-${cluster.name}`,
      description: `Karpenter's nodes of the EKS cluster ${cluster.name}`,
      service: "ec2.amazonaws.com",
      awsManagedPolicies: nodePolicies,
    });
    this.nodeRoleName = nodeRole.roleName;
    new EksAccessEntry(this, "node-access", {
      clusterName: cluster.clusterName,
      principalArn: nodeRole.roleArn,
      type: "EC2_LINUX",
    });

    // SQS names end at 80 characters
    const queue = new SqsQueue(this, "queue", {
      name: fitName(cluster.name, 80),
      // an event that is five minutes old says nothing about a node any more
      messageRetentionSeconds: 300,
      sqsManagedSseEnabled: true,
    });
    this.queueName = queue.name;
    const rules = Object.entries(interruptionEvents).map(([name, { source, detailType }]) => {
      const rule = new CloudwatchEventRule(this, `${name}-rule`, {
        name: fitName(`${cluster.name}-karpenter-${name}`, 64),
        description: `${detailType} to Karpenter's interruption queue`,
        eventPattern: JSON.stringify({ source: [source], "detail-type": [detailType] }),
      });
      new CloudwatchEventTarget(this, `${name}-target`, {
        rule: rule.name,
        targetId: "KarpenterInterruptionQueue",
        arn: queue.arn,
      });
      return rule;
    });
    new SqsQueuePolicy(this, "queue-policy", {
      queueUrl: queue.id,
      policy: policyDocument([
        {
          sid: "SendInterruptionEvents",
          principal: { service: "events.amazonaws.com" },
          actions: ["sqs:SendMessage"],
          resources: [queue.arn],
          // only these rules: other rules of the account cannot make Karpenter drain nodes
          conditions: { ArnEquals: { "aws:SourceArn": rules.map((rule) => rule.arn) } },
        },
        denyInsecureTransport("sqs", [queue.arn]),
      ]),
    });

    const controllerRole = new PodIdentityRole(this, "controller-role", {
      name: `${cluster.name}-karpenter`,
      description: `Karpenter's controller of the EKS cluster ${cluster.name}`,
      policies: controllerPolicies({
        clusterName: cluster.name,
        region,
        accountId,
        nodeRoleArn: nodeRole.roleArn,
        queueArn: queue.arn,
      }),
    });
    this.controllerRoleArn = controllerRole.roleArn;
    new EksPodIdentityAssociation(this, "controller-identity", {
      clusterName: cluster.clusterName,
      namespace: karpenterServiceAccount.namespace,
      serviceAccount: karpenterServiceAccount.name,
      roleArn: controllerRole.roleArn,
      dependsOn: [...controllerRole.attachments],
    });
  }
}
