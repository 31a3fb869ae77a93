import { CloudwatchLogGroup } from "@cdktf/provider-aws/lib/cloudwatch-log-group";
import { DefaultSecurityGroup } from "@cdktf/provider-aws/lib/default-security-group";
import { Eip } from "@cdktf/provider-aws/lib/eip";
import { FlowLog } from "@cdktf/provider-aws/lib/flow-log";
import { InternetGateway } from "@cdktf/provider-aws/lib/internet-gateway";
import { NatGateway } from "@cdktf/provider-aws/lib/nat-gateway";
import { Route } from "@cdktf/provider-aws/lib/route";
import { RouteTable } from "@cdktf/provider-aws/lib/route-table";
import { RouteTableAssociation } from "@cdktf/provider-aws/lib/route-table-association";
import { SecurityGroup } from "@cdktf/provider-aws/lib/security-group";
import { Subnet } from "@cdktf/provider-aws/lib/subnet";
import { Vpc } from "@cdktf/provider-aws/lib/vpc";
import { VpcEndpoint } from "@cdktf/provider-aws/lib/vpc-endpoint";
import { VpcSecurityGroupIngressRule } from "@cdktf/provider-aws/lib/vpc-security-group-ingress-rule";
import { Construct } from "constructs";
import { ServiceRole } from "../iam";
import { planSubnets } from "./cidr";

export interface NetworkProps {
  /** Prefix of names and `Name` tags. */
  readonly name: string;
  /** AWS region; endpoint services are named after it. */
  readonly region: string;
  /** Account that owns the flow logs, 12 digits. */
  readonly accountId: string;
  /** IPv4 block of the VPC, /16 to /20. */
  readonly cidr: string;
  /** 2 to 4 Availability Zones; the position of a zone decides its blocks. */
  readonly availabilityZones: readonly string[];
  /** Egress of the private subnets. */
  readonly natGateways: "none" | "single" | "per-az";
  /** Services with an interface endpoint, as in `com.amazonaws.<region>.<service>`; S3 always has a gateway endpoint. */
  readonly interfaceEndpoints: readonly string[];
  /** Name of the EKS cluster, for the discovery tags. */
  readonly clusterName: string;
  /** Days that CloudWatch keeps the flow logs. */
  readonly flowLogRetentionDays: number;
  /** Seconds that one flow log record aggregates: 60 or 600. */
  readonly flowLogAggregationSeconds: 60 | 600;
}

/**
 * A VPC with public, private and database subnets in each Availability Zone.
 *
 * - Private subnets hold nodes and pods and carry the tags by which the AWS Load Balancer Controller
 *   (`kubernetes.io/role/internal-elb`) and Karpenter (`karpenter.sh/discovery`) find them; public ones never carry the
 *   latter, or Karpenter would start nodes with public addresses.
 * - Each zone has a route table of its own, so that a change from one NAT gateway to one per zone changes routes only.
 * - Database subnets have no route out of the VPC.
 * - The default security group is emptied: whoever forgets to choose a group gets no access.
 */
export class Network extends Construct {
  public readonly vpcId: string;
  /** In the order of the Availability Zones. */
  public readonly privateSubnetIds: readonly string[];
  /** In the order of the Availability Zones. */
  public readonly publicSubnetIds: readonly string[];
  /** In the order of the Availability Zones. */
  public readonly databaseSubnetIds: readonly string[];

  private readonly props: NetworkProps;

  /** @throws RangeError when the CIDR or the number of zones is outside its range */
  constructor(scope: Construct, id: string, props: NetworkProps) {
    super(scope, id);
    this.props = props;
    const blocks = planSubnets(props.cidr, props.availabilityZones.length);

    const vpc = new Vpc(this, "vpc", {
      cidrBlock: props.cidr,
      enableDnsHostnames: true,
      enableDnsSupport: true,
      tags: { Name: props.name },
    });
    this.vpcId = vpc.id;
    new DefaultSecurityGroup(this, "default-security-group", {
      vpcId: vpc.id,
      tags: { Name: `${props.name}-default-closed` },
    });

    const zones = props.availabilityZones.map((zone, position) => ({
      zone,
      letter: zone.slice(-1),
      block: blocks[position] as (typeof blocks)[number],
    }));
    const subnets = (
      tier: "public" | "private" | "database",
      tags: Readonly<Record<string, string>>,
    ): Subnet[] =>
      zones.map(
        ({ zone, letter, block }) =>
          new Subnet(this, `${tier}-${letter}`, {
            vpcId: vpc.id,
            availabilityZone: zone,
            cidrBlock: block[tier],
            // a public subnet is for NAT gateways and load balancers, which bring their own addresses
            mapPublicIpOnLaunch: false,
            tags: { Name: `${props.name}-${tier}-${letter}`, ...tags },
          }),
      );
    const publicSubnets = subnets("public", { "kubernetes.io/role/elb": "1" });
    const privateSubnets = subnets("private", {
      "kubernetes.io/role/internal-elb": "1",
      "karpenter.sh/discovery": props.clusterName,
    });
    const databaseSubnets = subnets("database", {});
    this.publicSubnetIds = publicSubnets.map((subnet) => subnet.id);
    this.privateSubnetIds = privateSubnets.map((subnet) => subnet.id);
    this.databaseSubnetIds = databaseSubnets.map((subnet) => subnet.id);

    const internetGateway = new InternetGateway(this, "internet-gateway", {
      vpcId: vpc.id,
      tags: { Name: props.name },
    });
    const publicRoutes = this.routeTable("public", publicSubnets, zones);
    new Route(this, "public-internet", {
      routeTableId: publicRoutes.id,
      destinationCidrBlock: "0.0.0.0/0",
      gatewayId: internetGateway.id,
    });

    const natZones = { none: 0, single: 1, "per-az": zones.length }[props.natGateways];
    const natGateways = zones.slice(0, natZones).map(({ letter }, position) => {
      const address = new Eip(this, `nat-${letter}-address`, {
        domain: "vpc",
        tags: { Name: `${props.name}-nat-${letter}` },
      });
      return new NatGateway(this, `nat-${letter}`, {
        allocationId: address.allocationId,
        subnetId: (publicSubnets[position] as Subnet).id,
        tags: { Name: `${props.name}-${letter}` },
        // without a way to the internet a NAT gateway never becomes available
        dependsOn: [internetGateway],
      });
    });
    const privateRoutes = zones.map(({ letter }, position) => {
      const table = this.routeTable(`private-${letter}`, [privateSubnets[position] as Subnet], [{ letter }]);
      const natGateway = natGateways[position] ?? natGateways[0];
      if (natGateway) {
        new Route(this, `private-${letter}-nat`, {
          routeTableId: table.id,
          destinationCidrBlock: "0.0.0.0/0",
          natGatewayId: natGateway.id,
        });
      }
      return table;
    });
    const databaseRoutes = this.routeTable("database", databaseSubnets, zones);

    new VpcEndpoint(this, "s3-endpoint", {
      vpcId: vpc.id,
      serviceName: `com.amazonaws.${props.region}.s3`,
      vpcEndpointType: "Gateway",
      routeTableIds: [...privateRoutes, databaseRoutes].map((table) => table.id),
      tags: { Name: `${props.name}-s3` },
    });
    this.interfaceEndpoints();
    this.flowLogs();
  }

  private routeTable(
    name: string,
    subnets: readonly Subnet[],
    zones: readonly { readonly letter: string }[],
  ): RouteTable {
    const table = new RouteTable(this, `${name}-routes`, {
      vpcId: this.vpcId,
      tags: { Name: `${this.props.name}-${name}` },
    });
    subnets.forEach((subnet, position) => {
      const suffix = subnets.length > 1 ? `-${zones[position]?.letter}` : "";
      new RouteTableAssociation(this, `${name}-routes${suffix}-association`, {
        routeTableId: table.id,
        subnetId: subnet.id,
      });
    });
    return table;
  }

  private interfaceEndpoints(): void {
    const { name, region, cidr, interfaceEndpoints } = this.props;
    if (interfaceEndpoints.length === 0) return;
    const group = new SecurityGroup(this, "endpoints-security-group", {
      name: `${name}-endpoints`,
      description: "HTTPS from the VPC to the interface endpoints",
      vpcId: this.vpcId,
      tags: { Name: `${name}-endpoints` },
    });
    new VpcSecurityGroupIngressRule(this, "endpoints-https", {
      securityGroupId: group.id,
      description: "HTTPS from the VPC",
      cidrIpv4: cidr,
      ipProtocol: "tcp",
      fromPort: 443,
      toPort: 443,
    });
    for (const service of interfaceEndpoints) {
      const id = service.replaceAll(".", "-");
      new VpcEndpoint(this, `${id}-endpoint`, {
        vpcId: this.vpcId,
        serviceName: `com.amazonaws.${region}.${service}`,
        vpcEndpointType: "Interface",
        privateDnsEnabled: true,
        subnetIds: [...this.privateSubnetIds],
        securityGroupIds: [group.id],
        tags: { Name: `${name}-${id}` },
      });
    }
  }

  private flowLogs(): void {
    const { name, region, accountId, flowLogRetentionDays, flowLogAggregationSeconds } = this.props;
    const logGroupName = `/vpc/${name}/flow-logs`;
    const logGroup = new CloudwatchLogGroup(this, "flow-log-group", {
      name: logGroupName,
      retentionInDays: flowLogRetentionDays,
    });
    const role = new ServiceRole(this, "flow-log-role", {
      name: `${name}-flow-logs`,
      description: "Writes the VPC's flow logs to CloudWatch",
      service: "vpc-flow-logs.amazonaws.com",
      // "IAM role for publishing flow logs to CloudWatch Logs": only this account's flow logs may use the role
      trustConditions: {
        StringEquals: { "aws:SourceAccount": accountId },
        ArnLike: { "aws:SourceArn": `arn:aws:ec2:${region}:${accountId}:vpc-flow-log/*` },
      },
      policies: {
        write: [
          {
            sid: "WriteFlowLogs",
            actions: ["logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"],
            resources: [`arn:aws:logs:${region}:${accountId}:log-group:${logGroupName}:*`],
          },
          {
            sid: "FindLogGroups",
            actions: ["logs:DescribeLogGroups"],
            resources: [`arn:aws:logs:${region}:${accountId}:log-group:*`],
          },
        ],
      },
    });
    new FlowLog(this, "flow-log", {
      vpcId: this.vpcId,
      trafficType: "ALL",
      logDestinationType: "cloud-watch-logs",
      logDestination: logGroup.arn,
      iamRoleArn: role.roleArn,
      maxAggregationInterval: flowLogAggregationSeconds,
      tags: { Name: name },
      dependsOn: [...role.attachments],
    });
  }
}
