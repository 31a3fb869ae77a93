import fc from "fast-check";
import { maxZones, Network, type NetworkProps, parseCidr, planSubnets, subnetOf } from "../../lib/network";
import { synthStack, type Template } from "../support/synth";

const props: NetworkProps = {
  name: "net",
  region: "us-east-2",
  accountId: "111122223333",
  cidr: "10.20.0.0/16",
  availabilityZones: ["us-east-2a", "us-east-2b", "us-east-2c"],
  natGateways: "per-az",
  interfaceEndpoints: ["sts", "ecr.api"],
  clusterName: "dagster-eks",
  flowLogRetentionDays: 30,
  flowLogAggregationSeconds: 60,
};

const network = (overrides: Partial<NetworkProps> = {}): Template =>
  synthStack((stack) => void new Network(stack, "network", { ...props, ...overrides }));

describe("CIDR plan", () => {
  const vpcs = fc
    .record({ prefix: fc.integer({ min: 16, max: 20 }), second: fc.nat(255), third: fc.nat(255) })
    .map(({ prefix, second, third }) => {
      const address = (10 * 256 + second) * 65536 + third * 256;
      const aligned = address - (address % 2 ** (32 - prefix));
      return `${[24, 16, 8, 0].map((shift) => Math.floor(aligned / 2 ** shift) % 256).join(".")}/${prefix}`;
    });
  const range = (cidr: string): [number, number] => {
    const block = parseCidr(cidr);
    if (!block) throw new Error(`not a block: ${cidr}`);
    return [block.address, block.address + 2 ** (32 - block.prefix) - 1];
  };

  test("no two subnets overlap, all lie in the VPC, none is smaller than AWS allows (/28)", () => {
    fc.assert(
      fc.property(vpcs, fc.integer({ min: 1, max: maxZones }), (vpc, zones) => {
        const [first, last] = range(vpc);
        const ranges = planSubnets(vpc, zones)
          .flatMap((zone) => [zone.private, zone.public, zone.database])
          .map(range)
          .sort(([a], [b]) => a - b);
        expect(ranges).toHaveLength(3 * zones);
        ranges.forEach(([from, to], index) => {
          expect(from).toBeGreaterThanOrEqual(first);
          expect(to).toBeLessThanOrEqual(last);
          expect(to - from + 1).toBeGreaterThanOrEqual(16);
          const next = ranges[index + 1];
          if (next) expect(to).toBeLessThan(next[0]);
        });
      }),
    );
  });

  test("a zone that is appended renumbers nothing", () => {
    fc.assert(
      fc.property(vpcs, fc.integer({ min: 1, max: maxZones - 1 }), (vpc, zones) => {
        expect(planSubnets(vpc, zones + 1).slice(0, zones)).toEqual(planSubnets(vpc, zones));
      }),
    );
  });

  test("of a /16", () => {
    expect(planSubnets("10.20.0.0/16", 4)).toEqual([
      { private: "10.20.0.0/19", public: "10.20.128.0/22", database: "10.20.144.0/24" },
      { private: "10.20.32.0/19", public: "10.20.132.0/22", database: "10.20.145.0/24" },
      { private: "10.20.64.0/19", public: "10.20.136.0/22", database: "10.20.146.0/24" },
      { private: "10.20.96.0/19", public: "10.20.140.0/22", database: "10.20.147.0/24" },
    ]);
  });

  test.each([
    [
      "10.20.0.0/15",
      2,
      'CIDR of the VPC is "10.20.0.0/15"; it must be an aligned IPv4 block from /16 to /20',
    ],
    [
      "10.20.0.0/21",
      2,
      'CIDR of the VPC is "10.20.0.0/21"; it must be an aligned IPv4 block from /16 to /20',
    ],
    [
      "10.20.0.1/16",
      2,
      'CIDR of the VPC is "10.20.0.1/16"; it must be an aligned IPv4 block from /16 to /20',
    ],
    ["10.20.0.0", 2, 'CIDR of the VPC is "10.20.0.0"; it must be an aligned IPv4 block from /16 to /20'],
    [
      "10.256.0.0/16",
      2,
      'CIDR of the VPC is "10.256.0.0/16"; it must be an aligned IPv4 block from /16 to /20',
    ],
    ["10.20.0.0/16", 5, "5 Availability Zones; it must be 1 to 4"],
    ["10.20.0.0/16", 0, "0 Availability Zones; it must be 1 to 4"],
  ])("%s with %d zones is refused", (cidr, zones, message) => {
    expect(() => planSubnets(cidr, zones)).toThrow(new RangeError(message));
  });

  test("a block that does not fit is refused", () => {
    expect(() => subnetOf({ address: 0x0a140000, prefix: 16 }, 24, 256)).toThrow(
      new RangeError("block 256 of /24 does not fit into 10.20.0.0/16"),
    );
  });
});

describe("Network", () => {
  test("has three tiers of subnets per zone, with the tags that EKS and Karpenter look for on the right ones only", () => {
    const subnets = network().resources("aws_subnet");
    const tags = Object.fromEntries(
      Object.entries(subnets).map(([name, { tags }]) => [name, tags as Record<string, string>]),
    );
    expect(Object.keys(tags).sort()).toEqual(
      ["a", "b", "c"]
        .flatMap((z) => [`network_database-${z}`, `network_private-${z}`, `network_public-${z}`])
        .sort(),
    );
    for (const [name, found] of Object.entries(tags)) {
      const tier = name.replace(/^network_|-[abc]$/g, "");
      expect(found["karpenter.sh/discovery"]).toBe(tier === "private" ? "dagster-eks" : undefined);
      expect(found["kubernetes.io/role/internal-elb"]).toBe(tier === "private" ? "1" : undefined);
      expect(found["kubernetes.io/role/elb"]).toBe(tier === "public" ? "1" : undefined);
    }
    expect(Object.values(subnets).map((subnet) => subnet["map_public_ip_on_launch"])).toEqual(
      Array(9).fill(false),
    );
  });

  test.each([
    ["none", 0, []],
    ["single", 1, ["nat-a", "nat-a", "nat-a"]],
    ["per-az", 3, ["nat-a", "nat-b", "nat-c"]],
  ] as const)("natGateways %s", (natGateways, gateways, targets) => {
    const template = network({ natGateways });
    expect(Object.keys(template.resources("aws_nat_gateway"))).toHaveLength(gateways);
    expect(Object.keys(template.resources("aws_eip"))).toHaveLength(gateways);
    // tables stay whatever the gateways: a change of the setting changes routes only
    expect(Object.keys(template.resources("aws_route_table")).sort()).toEqual([
      "network_database-routes",
      "network_private-a-routes",
      "network_private-b-routes",
      "network_private-c-routes",
      "network_public-routes",
    ]);
    const routes = Object.entries(template.resources("aws_route")).filter(
      ([, route]) => route["nat_gateway_id"],
    );
    expect(routes.map(([name]) => name)).toEqual(
      targets.map((_, index) => `network_private-${"abc"[index]}-nat`),
    );
    expect(routes.map(([, route]) => route["nat_gateway_id"])).toEqual(
      targets.map((target) => `\${aws_nat_gateway.network_${target}.id}`),
    );
  });

  test("the database's routes lead nowhere but to S3", () => {
    const template = network();
    const routes = Object.values(template.resources("aws_route"));
    expect(routes.map((route) => route["route_table_id"])).not.toContain(
      "${aws_route_table.network_database-routes.id}",
    );
    expect(template.resource("aws_vpc_endpoint", "network_s3-endpoint")).toMatchObject({
      vpc_endpoint_type: "Gateway",
      service_name: "com.amazonaws.us-east-2.s3",
      route_table_ids: expect.arrayContaining(["${aws_route_table.network_database-routes.id}"]),
    });
  });

  test("the default security group has no rule, and flow logs take all traffic under a role of this account only", () => {
    const template = network();
    const group = template.resource("aws_default_security_group");
    expect([group["ingress"], group["egress"]]).toEqual([undefined, undefined]);
    expect(template.resource("aws_flow_log")).toMatchObject({
      traffic_type: "ALL",
      max_aggregation_interval: 60,
    });
    expect(template.resource("aws_flow_log")["lifecycle"]).toBeUndefined();
    expect(
      template.policy("aws_iam_role", "network_flow-log-role_role", "assume_role_policy").Statement,
    ).toEqual([
      {
        Sid: "AssumeRole",
        Effect: "Allow",
        Principal: { Service: "vpc-flow-logs.amazonaws.com" },
        Action: "sts:AssumeRole",
        Condition: {
          ArnLike: { "aws:SourceArn": "arn:aws:ec2:us-east-2:111122223333:vpc-flow-log/*" },
          StringEquals: { "aws:SourceAccount": "111122223333" },
        },
      },
    ]);
  });

  test("interface endpoints answer HTTPS from the VPC only; without any there is no group", () => {
    const template = network();
    expect(template.resource("aws_vpc_security_group_ingress_rule")).toMatchObject({
      cidr_ipv4: "10.20.0.0/16",
      from_port: 443,
      to_port: 443,
      ip_protocol: "tcp",
    });
    expect(template.resource("aws_vpc_endpoint", "network_ecr-api-endpoint")).toMatchObject({
      service_name: "com.amazonaws.us-east-2.ecr.api",
      private_dns_enabled: true,
      subnet_ids: ["a", "b", "c"].map((zone) => `\${aws_subnet.network_private-${zone}.id}`),
    });
    const bare = network({ interfaceEndpoints: [] });
    expect(bare.types).not.toContain("aws_security_group");
    expect(Object.keys(bare.resources("aws_vpc_endpoint"))).toEqual(["network_s3-endpoint"]);
  });
});
