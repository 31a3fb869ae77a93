import fc from "fast-check";
import { versions } from "../../config/versions";
import { ClusterAddons, PlatformCluster, type PlatformClusterProps, SystemNodes } from "../../lib/eks";
import {
  fitName,
  IrsaRole,
  managedPolicyLimit,
  type PolicyStatement,
  policyDocument,
  ServiceRole,
} from "../../lib/iam";
import { controllerPolicies, interruptionEvents, KarpenterInfrastructure } from "../../lib/karpenter";
import { type Block, synthStack, type TestStack } from "../support/synth";

const clusterProps: PlatformClusterProps = {
  clusterName: "dagster-eks",
  accountId: "111122223333",
  kubernetesVersion: "1.35",
  subnetIds: ["subnet-1", "subnet-2"],
  publicAccessCidrs: [],
  logRetentionDays: 90,
  access: [
    { name: "admin", roleArn: "arn:aws:iam::111122223333:role/admin", policy: "AmazonEKSClusterAdminPolicy" },
    {
      name: "developers",
      roleArn: "arn:aws:iam::111122223333:role/developers",
      policy: "AmazonEKSEditPolicy",
      namespaces: ["data"],
    },
  ],
  keyDeletionWindowDays: 30,
};

const cluster = (stack: TestStack, overrides: Partial<PlatformClusterProps> = {}) =>
  new PlatformCluster(stack, "eks", { ...clusterProps, ...overrides });

describe("PlatformCluster", () => {
  const template = synthStack((stack) => void cluster(stack));

  test("knows access entries only, is private, encrypts secrets and logs everything into a group made first", () => {
    expect(template.resource("aws_eks_cluster")).toMatchObject({
      name: "dagster-eks",
      version: "1.35",
      bootstrap_self_managed_addons: false,
      access_config: { authentication_mode: "API", bootstrap_cluster_creator_admin_permissions: false },
      vpc_config: { endpoint_private_access: true, endpoint_public_access: false },
      encryption_config: {
        resources: ["secrets"],
        provider: { key_arn: "${aws_kms_key.eks_secrets-key_key.arn}" },
      },
      enabled_cluster_log_types: ["api", "audit", "authenticator", "controllerManager", "scheduler"],
      upgrade_policy: { support_type: "STANDARD" },
      depends_on: [
        "aws_cloudwatch_log_group.eks_log-group",
        "aws_iam_role_policy_attachment.eks_control-plane-role_cluster-policy-attachment",
      ],
    });
    expect(template.resource("aws_cloudwatch_log_group")).toMatchObject({
      name: "/aws/eks/dagster-eks/cluster",
      retention_in_days: 90,
    });
  });

  test("gives each principal one entry and one policy, the whole cluster or named namespaces", () => {
    expect(template.resource("aws_eks_access_policy_association", "eks_admin-access-policy")).toMatchObject({
      policy_arn: "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy",
      principal_arn: "${aws_eks_access_entry.eks_admin-access.principal_arn}",
      access_scope: { type: "cluster" },
    });
    expect(
      template.resource("aws_eks_access_policy_association", "eks_developers-access-policy"),
    ).toMatchObject({
      access_scope: { type: "namespace", namespaces: ["data"] },
    });
    expect(Object.keys(template.resources("aws_eks_access_entry")).sort()).toEqual([
      "eks_admin-access",
      "eks_developers-access",
    ]);
    expect(JSON.stringify(template.json)).not.toContain("aws_caller_identity");
  });

  test("opens a public end point only to a list of addresses", () => {
    const open = synthStack((stack) => void cluster(stack, { publicAccessCidrs: ["203.0.113.0/24"] }));
    expect(open.resource("aws_eks_cluster")["vpc_config"]).toMatchObject({
      endpoint_public_access: true,
      public_access_cidrs: ["203.0.113.0/24"],
    });
  });

  test("tags the security group that EKS makes, for Karpenter", () => {
    expect(template.resource("aws_ec2_tag")).toMatchObject({
      resource_id: "${aws_eks_cluster.eks_cluster.vpc_config[0].cluster_security_group_id}",
      key: "karpenter.sh/discovery",
      value: "dagster-eks",
    });
  });
});

describe("nodes and add-ons", () => {
  const template = synthStack((stack) => {
    const eks = cluster(stack);
    const before = new ClusterAddons(stack, "before", {
      cluster: eks,
      versions: versions.addons,
      phase: "before-compute",
    });
    const nodes = new SystemNodes(stack, "nodes", {
      cluster: eks,
      kubernetesVersion: "1.35",
      amiType: "AL2023_x86_64_STANDARD",
      subnetIds: ["subnet-1", "subnet-2"],
      instanceTypes: ["m7i.large"],
      minSize: 2,
      maxSize: 4,
      diskGib: 50,
      dependsOn: before.addons,
    });
    new ClusterAddons(stack, "after", {
      cluster: eks,
      versions: versions.addons,
      phase: "after-compute",
      dependsOn: [nodes.ready],
    });
  });

  test("network and identity come before the nodes, the rest after them", () => {
    const addons = template.resources("aws_eks_addon");
    const names = (half: string) =>
      Object.entries(addons)
        .filter(([name]) => name.startsWith(half))
        .map(([, addon]) => addon["addon_name"])
        .sort();
    expect(names("before")).toEqual(["eks-pod-identity-agent", "vpc-cni"]);
    expect(names("after")).toEqual(["aws-ebs-csi-driver", "coredns", "kube-proxy", "metrics-server"]);
    expect(template.resource("aws_eks_node_group")["depends_on"]).toEqual(
      expect.arrayContaining(["aws_eks_addon.before_eks-pod-identity-agent", "aws_eks_addon.before_vpc-cni"]),
    );
    for (const [name, addon] of Object.entries(addons)) {
      const waits = (addon["depends_on"] ?? []) as string[];
      expect(waits.includes("aws_eks_node_group.nodes_node-group")).toBe(name.startsWith("after"));
      expect(addon["addon_version"]).toBe(
        versions.addons[addon["addon_name"] as keyof typeof versions.addons],
      );
    }
    expect(JSON.parse(String(addons["before_vpc-cni"]?.["configuration_values"]))).toEqual({
      enableNetworkPolicy: "true",
    });
  });

  test("add-ons that call AWS have an association before they start, and the node role has not their rights", () => {
    const associations = Object.values(template.resources("aws_eks_pod_identity_association"));
    expect(associations.map((one) => `${one["namespace"]}/${one["service_account"]}`).sort()).toEqual([
      "kube-system/aws-node",
      "kube-system/ebs-csi-controller-sa",
    ]);
    expect(template.resource("aws_eks_addon", "before_vpc-cni")["depends_on"]).toContain(
      "aws_eks_pod_identity_association.before_vpc-cni-identity",
    );
    expect(
      Object.entries(template.resources("aws_iam_role_policy_attachment"))
        .filter(([name]) => name.startsWith("nodes_"))
        .map(([, attachment]) => String(attachment["policy_arn"]).split("/").pop())
        .sort(),
    ).toEqual([
      "AmazonEC2ContainerRegistryPullOnly",
      "AmazonEKSWorkerNodePolicy",
      "AmazonSSMManagedInstanceCore",
    ]);
  });

  test("nodes have IMDSv2 with one hop, an encrypted gp3 disk, and a size that autoscaling may change", () => {
    expect(template.resource("aws_launch_template")).toMatchObject({
      metadata_options: { http_endpoint: "enabled", http_tokens: "required", http_put_response_hop_limit: 1 },
      block_device_mappings: [
        { device_name: "/dev/xvda", ebs: { volume_type: "gp3", volume_size: 50, encrypted: "true" } },
      ],
    });
    expect(template.resource("aws_eks_node_group")).toMatchObject({
      scaling_config: { min_size: 2, max_size: 4, desired_size: 2 },
      lifecycle: { ignore_changes: ["scaling_config[0].desired_size"] },
      launch_template: { version: "${aws_launch_template.nodes_launch-template.latest_version}" },
    });
  });
});

describe("Karpenter", () => {
  const longName = "k".repeat(100);
  const scope = {
    clusterName: longName,
    region: "ap-southeast-2",
    accountId: "111122223333",
    nodeRoleArn: `arn:aws:iam::111122223333:role/${"r".repeat(64)}`,
    queueArn: `arn:aws:sqs:ap-southeast-2:111122223333:${"q".repeat(80)}`,
  };

  test("six policies, each below IAM's limit at a cluster name of 100 characters", () => {
    const sizes = Object.fromEntries(
      Object.entries(controllerPolicies(scope)).map(([name, statements]) => [
        name,
        policyDocument(statements).length,
      ]),
    );
    expect(Object.keys(sizes).sort()).toEqual([
      "EKSIntegration",
      "IAMIntegration",
      "Interruption",
      "NodeLifecycle",
      "ResourceDiscovery",
      "ZonalShift",
    ]);
    for (const size of Object.values(sizes)) expect(size).toBeLessThan(managedPolicyLimit);
    // all in one would not fit, which is why there are six
    expect(Object.values(sizes).reduce((sum, size) => sum + size)).toBeGreaterThan(managedPolicyLimit);
  });

  // written out from "Karpenter: CloudFormation", independently of the code: action → what limits it
  test.each([
    ["ec2:TerminateInstances", { tag: true }],
    ["ec2:DeleteLaunchTemplate", { tag: true }],
    ["ec2:CreateLaunchTemplate", { tag: true }],
    ["ec2:CreateTags", { tag: true }],
    ["iam:PassRole", { resource: scope.nodeRoleArn }],
    ["iam:CreateInstanceProfile", { tag: true }],
    ["iam:DeleteInstanceProfile", { tag: true }],
    ["iam:AddRoleToInstanceProfile", { tag: true }],
    ["iam:TagInstanceProfile", { tag: true }],
    ["iam:ListInstanceProfiles", {}],
    ["iam:GetInstanceProfile", {}],
    ["ec2:DescribeInstanceStatus", {}],
    ["ec2:DescribePlacementGroups", {}],
    ["eks:DescribeCluster", { resource: `arn:aws:eks:ap-southeast-2:111122223333:cluster/${longName}` }],
    ["sqs:ReceiveMessage", { resource: scope.queueArn }],
    ["arc-zonal-shift:GetManagedResource", {}],
    ["pricing:GetProducts", {}],
    ["ssm:GetParameter", { resource: "arn:aws:ssm:ap-southeast-2::parameter/aws/service/*" }],
  ])(
    "%s is there and as narrow as upstream",
    (action: string, limit: { tag?: boolean; resource?: string }) => {
      const statements = Object.values(controllerPolicies(scope))
        .flat()
        .filter((statement) => statement.actions.includes(action));
      expect(statements.length).toBeGreaterThan(0);
      for (const statement of statements) {
        if (limit.resource) expect(statement.resources).toEqual([limit.resource]);
        if (limit.tag) {
          expect(JSON.stringify(statement.conditions)).toContain(
            `kubernetes.io/cluster/${longName}":"owned"`,
          );
        }
      }
    },
  );

  test("no verb on EC2 or IAM that changes something is allowed without a condition", () => {
    const reads = /:(Describe|Get|List)/;
    // launching needs these existing things, which carry no tag of ours
    const untagged = new Set(["AllowScopedEC2InstanceAccessActions"]);
    for (const { sid, actions, conditions } of Object.values(controllerPolicies(scope)).flat()) {
      if (actions.every((action) => reads.test(action)) || untagged.has(sid)) continue;
      if (actions.every((action) => action.startsWith("sqs:"))) continue;
      expect([sid, conditions]).toEqual([sid, expect.anything()]);
    }
  });

  const template = synthStack((stack) => {
    new KarpenterInfrastructure(stack, "karpenter", {
      cluster: cluster(stack),
      region: "us-east-2",
      accountId: "111122223333",
    });
  });

  // written out from "Karpenter: Disruption", Interruption
  const upstreamEvents = [
    { source: ["aws.health"], "detail-type": ["AWS Health Event"] },
    { source: ["aws.ec2"], "detail-type": ["EC2 Spot Instance Interruption Warning"] },
    { source: ["aws.ec2"], "detail-type": ["EC2 Instance Rebalance Recommendation"] },
    { source: ["aws.ec2"], "detail-type": ["EC2 Instance State-change Notification"] },
    { source: ["aws.ec2"], "detail-type": ["EC2 Capacity Reservation Instance Interruption Warning"] },
  ];

  test("five event rules, each to the queue", () => {
    const rules = Object.values(template.resources("aws_cloudwatch_event_rule"));
    const patterns = rules.map((rule) => JSON.parse(String(rule["event_pattern"])));
    expect(patterns).toHaveLength(Object.keys(interruptionEvents).length);
    expect(patterns).toEqual(expect.arrayContaining(upstreamEvents));
    expect(upstreamEvents).toHaveLength(patterns.length);
    const targets = Object.values(template.resources("aws_cloudwatch_event_target"));
    expect(targets.map((target) => target["arn"])).toEqual(
      Array(5).fill("${aws_sqs_queue.karpenter_queue.arn}"),
    );
  });

  test("the queue is encrypted, forgets after five minutes, takes messages of these rules only and no plain HTTP", () => {
    expect(template.resource("aws_sqs_queue")).toMatchObject({
      name: "dagster-eks",
      sqs_managed_sse_enabled: true,
      message_retention_seconds: 300,
    });
    const [send, deny] = template.policy("aws_sqs_queue_policy", undefined).Statement as [Block, Block];
    expect(send).toMatchObject({ Principal: { Service: "events.amazonaws.com" }, Action: "sqs:SendMessage" });
    expect(
      (send["Condition"] as { ArnEquals: Record<string, string[]> }).ArnEquals["aws:SourceArn"],
    ).toHaveLength(5);
    expect(deny).toMatchObject({
      Effect: "Deny",
      Principal: "*",
      Action: "sqs:*",
      Condition: { Bool: { "aws:SecureTransport": "false" } },
    });
  });

  test("nodes get an EC2_LINUX entry, the controller an association for its one service account", () => {
    expect(template.resource("aws_eks_access_entry", "karpenter_node-access")).toMatchObject({
      type: "EC2_LINUX",
    });
    expect(template.resource("aws_eks_pod_identity_association")).toMatchObject({
      namespace: "karpenter",
      service_account: "karpenter",
      depends_on: expect.arrayContaining([
        "aws_iam_role_policy_attachment.karpenter_controller-role_NodeLifecycle-attachment",
      ]),
    });
    expect(template.resource("aws_iam_role", "karpenter_node-role_role")["name"]).toBe(
      "KarpenterNodeRole-dagster-eks",
    );
  });
});

describe("IAM", () => {
  const irsa = (serviceAccount: { namespace: string; name: string }) =>
    synthStack((stack) => {
      const eks = cluster(stack);
      new IrsaRole(stack, "role", {
        name: "products-api",
        description: "Reads products",
        oidcProviderArn: eks.oidcProviderArn,
        oidcIssuer: eks.oidcIssuer,
        serviceAccount,
      });
    });

  test("an IRSA role trusts exactly one service account, with its audience, for a token of the cluster's issuer", () => {
    const template = irsa({ namespace: "data", name: "products-api" });
    expect(template.policy("aws_iam_role", "role_role", "assume_role_policy").Statement).toEqual([
      {
        Sid: "AssumeRoleWithWebIdentity",
        Effect: "Allow",
        Principal: { Federated: "${aws_iam_openid_connect_provider.eks_oidc-provider.arn}" },
        Action: "sts:AssumeRoleWithWebIdentity",
        Condition: {
          StringEquals: {
            "${local.eks_oidc-issuer}:aud": "sts.amazonaws.com",
            "${local.eks_oidc-issuer}:sub": "system:serviceaccount:data:products-api",
          },
        },
      },
    ]);
    expect(template.json["locals"]).toEqual({
      "eks_oidc-issuer": '${replace(aws_eks_cluster.eks_cluster.identity[0].oidc[0].issuer, "https://", "")}',
    });
  });

  test.each([
    [
      { namespace: "data", name: "*" },
      'test/role: serviceAccount.name is "*"; it must be one exact Kubernetes name, without wildcards',
    ],
    [
      { namespace: "da*", name: "x" },
      'test/role: serviceAccount.namespace is "da*"; it must be one exact Kubernetes name, without wildcards',
    ],
    [
      { namespace: "", name: "x" },
      'test/role: serviceAccount.namespace is ""; it must be one exact Kubernetes name, without wildcards',
    ],
  ])("an IRSA role for %j is refused", (serviceAccount, message) => {
    expect(() => irsa(serviceAccount)).toThrow(new Error(message));
  });

  const statement: PolicyStatement = { sid: "A", actions: ["s3:GetObject"], resources: ["arn:aws:s3:::b/*"] };

  test.each<[string, PolicyStatement[], string]>([
    [
      "a sid twice",
      [statement, statement],
      'two statements have the id "A"; ids are unique within a document',
    ],
    [
      "a sid with a space",
      [{ ...statement, sid: "a b" }],
      'statement id "a b" must consist of letters and digits',
    ],
    [
      "everything on everything",
      [{ ...statement, actions: ["*"], resources: ["*"] }],
      'statement "A" allows every action on every resource; name the actions and the ARNs',
    ],
  ])("a policy with %s is refused", (_name, statements, message) => {
    expect(() => policyDocument(statements)).toThrow(new Error(message));
  });

  test("a policy is the same in whatever order its parts are built", () => {
    const one = policyDocument([
      {
        sid: "A",
        actions: ["s3:B", "s3:A"],
        resources: ["r2", "r1"],
        conditions: { X: { b: "1", a: ["2", "1"] }, A: { k: "v" } },
      },
    ]);
    const other = policyDocument([
      {
        sid: "A",
        actions: ["s3:A", "s3:B"],
        resources: ["r1", "r2"],
        conditions: { A: { k: "v" }, X: { a: ["1", "2"], b: "1" } },
      },
    ]);
    expect(one).toBe(other);
  });

  const service = (name: string, statements: PolicyStatement[]) =>
    synthStack(
      (stack) =>
        void new ServiceRole(stack, "role", {
          name,
          description: "Test",
          service: "ec2.amazonaws.com",
          policies: { big: statements },
        }),
    );

  test("a policy beyond IAM's limit is refused with its size", () => {
    const resources = Array.from({ length: 200 }, (_, index) => `arn:aws:s3:::bucket-number-${index}/*`);
    expect(() => service("r", [{ ...statement, resources }])).toThrow(
      /^test\/role: policy "big" has \d+ characters; IAM accepts 6144\. Split it into two\.$/,
    );
  });

  test("a role name with other characters is refused", () => {
    expect(() => service("my role", [statement])).toThrow(
      new Error('test/role: role name is "my role"; IAM accepts letters, digits and +=,.@_- only'),
    );
  });

  test("names that are too long are cut, stay different and stable", () => {
    const names = fc.stringMatching(/^[A-Za-z0-9-]{1,120}$/);
    fc.assert(
      fc.property(names, fc.integer({ min: 16, max: 128 }), (name, limit) => {
        const fitted = fitName(name, limit);
        expect(fitted.length).toBeLessThanOrEqual(limit);
        expect(fitName(name, limit)).toBe(fitted);
        if (name.length <= limit) expect(fitted).toBe(name);
        else expect(fitName(`${name}x`, limit)).not.toBe(fitted);
      }),
    );
  });
});
