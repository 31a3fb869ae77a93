import type { Construct } from "constructs";
import type { Environment } from "../config/schema";
import { Network } from "../lib/network";
import { list, StackOutputs, text } from "../lib/synth";
import { EnvironmentStack } from "./environment-stack";

const outputs = {
  vpcId: text("Id of the VPC"),
  privateSubnetIds: list("Subnets of nodes and pods, one per Availability Zone"),
  databaseSubnetIds: list("Subnets of the database, one per Availability Zone"),
};

/** VPC, subnets, NAT, endpoints, flow logs: changes rarely, everything stands on it. */
export class NetworkStack extends EnvironmentStack {
  public readonly outputs: StackOutputs<typeof outputs>;

  constructor(scope: Construct, id: string, environment: Environment) {
    super(scope, id, environment);
    const { aws, cluster, network } = environment;
    const { vpcId, privateSubnetIds, databaseSubnetIds } = new Network(this, "network", {
      name: `${cluster.name}-${environment.name}`,
      region: aws.region,
      accountId: aws.accountId,
      cidr: network.cidr,
      availabilityZones: network.availabilityZones,
      natGateways: network.natGateways,
      interfaceEndpoints: network.interfaceEndpoints,
      clusterName: cluster.name,
      flowLogRetentionDays: network.flowLogs.retentionDays,
      flowLogAggregationSeconds: network.flowLogs.aggregationSeconds,
    });
    this.outputs = new StackOutputs(this, {
      specs: outputs,
      backend: this.backend,
      values: { vpcId, privateSubnetIds, databaseSubnetIds },
    });
  }
}
