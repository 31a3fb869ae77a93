import { existsSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EksCluster } from "@cdktf/provider-aws/lib/eks-cluster";
import { AwsProvider } from "@cdktf/provider-aws/lib/provider";
import { S3Bucket } from "@cdktf/provider-aws/lib/s3-bucket";
import { SecurityGroup } from "@cdktf/provider-aws/lib/security-group";
import { Subnet } from "@cdktf/provider-aws/lib/subnet";
import { Vpc } from "@cdktf/provider-aws/lib/vpc";
import {
  App,
  Aspects,
  DataTerraformRemoteStateLocal,
  Fn,
  LocalBackend,
  TerraformOutput,
  TerraformStack,
  TerraformVariable,
} from "cdktf";
import { Construct } from "constructs";
import { list, StackOutputs, SynthGuardError, synthesize, text, type Violation } from "../../lib/synth";
import { readExpressions } from "../../lib/synth/expressions";
import { synthApp, synthStack, TestStack } from "../support/synth";

/** Everything that the guard says about a stack. */
function violations(build: (stack: TestStack) => void): readonly Violation[] {
  return appViolations((app) => build(new TestStack(app, "test")));
}

function appViolations(build: (app: App) => void): readonly Violation[] {
  try {
    synthApp(build);
    return [];
  } catch (error) {
    if (error instanceof SynthGuardError) return error.violations;
    throw error;
  }
}

const vpc = (scope: Construct, id = "vpc") => new Vpc(scope, id, { cidrBlock: "10.0.0.0/16" });

describe("the guard refuses what cdktf lets pass", () => {
  // one case per way; each gives the construct, the rule and the whole sentence
  const cases: [string, (stack: TestStack) => void, Violation][] = [
    [
      "a token as a map key in jsonencode",
      (stack) => {
        const { arn } = vpc(stack);
        new S3Bucket(stack, "bucket", { bucket: Fn.jsonencode({ [`${arn}:sub`]: "x" }) });
      },
      {
        construct: "test/bucket",
        rule: "lost-value",
        message:
          'contains "${jsonencode({\\"aws_vpc.vpc.arn:sub\\" = undefined})}": a token as a map key loses its value in Fn. Use JSON.stringify, or the provider\'s policy document data source.',
      },
    ],
    [
      "two ids that become one",
      (stack) => {
        vpc(stack, "a.b");
        vpc(stack, "ab");
      },
      {
        construct: "test/ab",
        rule: "merged-ids",
        message:
          "has the address aws_vpc.ab, as has test/a.b; cdktf merges the two into one. Choose an id that differs in more than characters outside A-Z, a-z, 0-9, _ and -.",
      },
    ],
    [
      "addition to a number token",
      (stack) => {
        const cluster = vpc(stack);
        const number = cluster.getNumberAttribute("owner_id");
        new SecurityGroup(stack, "group", {
          vpcId: cluster.id,
          ingress: [{ fromPort: number + 1, toPort: 443, protocol: "tcp" }],
        });
      },
      {
        construct: "test/group",
        rule: "number-token",
        message:
          '"ingress[0].fromPort" is a number token, and arithmetic on one vanishes without a trace. Pass a number of the configuration, or an expression as a string (Token.asString).',
      },
    ],
    [
      "multiplication of a number token",
      (stack) => {
        const number = vpc(stack).getNumberAttribute("owner_id");
        new TerraformOutput(stack, "doubled", { value: number * 2, staticId: true });
      },
      {
        construct: "test: output.doubled",
        rule: "number-token",
        message: expect.stringMatching(
          /^"value" is -\d\.\d+e\+2\d\d, what is left of a number token after arithmetic\. Calculate in the expression \(Token\.asString\), or with numbers of the configuration\.$/,
        ) as unknown as string,
      },
    ],
    [
      "an upper-cased token",
      (stack) => {
        const { arn } = vpc(stack);
        new S3Bucket(stack, "bucket", { bucket: arn.toUpperCase() });
      },
      {
        construct: "test/bucket",
        rule: "broken-token",
        message: expect.stringMatching(
          /^contains "\$\{TFTOKEN\[TOKEN\.\d+\]\}": a string method \(toUpperCase, slice, split …\) ran on a token\. Use the Fn of the same name\.$/,
        ) as unknown as string,
      },
    ],
    [
      "a sliced token",
      (stack) => {
        const { arn } = vpc(stack);
        new S3Bucket(stack, "bucket", { bucket: arn.slice(0, 10) });
      },
      {
        construct: "test/bucket",
        rule: "broken-token",
        message:
          'contains "${TfToken[": a string method (toUpperCase, slice, split …) ran on a token. Use the Fn of the same name.',
      },
    ],
    [
      "a condition on a boolean attribute",
      (stack) => {
        const network = vpc(stack);
        const hostnames = network.getBooleanAttribute("enable_dns_hostnames");
        new S3Bucket(stack, "bucket", { bucket: hostnames ? "with-dns" : "without-dns" });
      },
      {
        construct: "test/vpc",
        rule: "boolean-token",
        message:
          'its attribute "enable_dns_hostnames" was read but is nowhere in the output: a condition on it was decided at synth, where every token is true. Use Fn.conditional, or decide on the configuration.',
      },
    ],
    [
      "a reference to nothing",
      (stack) => {
        new S3Bucket(stack, "bucket", { bucket: "${aws_vpc.nowhere.id}" });
      },
      {
        construct: "test/bucket",
        rule: "dangling-reference",
        message:
          "refers to aws_vpc.nowhere, which is not in this stack. Pass the value through the outputs of the stack that owns it.",
      },
    ],
    [
      "a literal template that was not escaped",
      (stack) => {
        new S3Bucket(stack, "bucket", { bucket: "${HOME}/products" });
      },
      {
        construct: "test/bucket",
        rule: "unescaped-template",
        message: 'contains "${HOME}", which OpenTofu would evaluate. Write "$${HOME}" for the literal text.',
      },
    ],
    [
      "an absolute path",
      (stack) => {
        new S3Bucket(stack, "bucket", { bucket: `${process.cwd()}/dist/lambda.zip` });
      },
      {
        construct: "test/bucket",
        rule: "absolute-path",
        message: `contains ${JSON.stringify(`${process.cwd()}/dist/lambda.zip`)}, a path of this machine. Use a path relative to the stack's folder.`,
      },
    ],
    [
      "two providers without an alias",
      (stack) => {
        new AwsProvider(stack, "second", { region: "us-east-1" });
      },
      {
        construct: "test/aws",
        rule: "duplicate-provider",
        message:
          'configures provider "aws" without an alias, and so does test/second. Give all but one an alias of their own.',
      },
    ],
    [
      "a name that begins with a digit",
      (stack) => {
        vpc(stack, "1a");
      },
      {
        construct: "test/1a",
        rule: "invalid-name",
        message:
          'becomes the name "1a", which OpenTofu refuses. Begin the id with a letter or an underscore.',
      },
    ],
    [
      "camelCase in ignore_changes",
      (stack) => {
        new Vpc(stack, "vpc", { cidrBlock: "10.0.0.0/16", lifecycle: { ignoreChanges: ["cidrBlock"] } });
      },
      {
        construct: "test/vpc",
        rule: "ignore-changes",
        message:
          'ignores changes of "cidrBlock", which no argument is called. cdktf does not translate it: write it in snake_case.',
      },
    ],
    [
      "an unknown argument",
      (stack) => {
        const misspelt = { cidrBlock: "10.0.0.0/16", enableDnsHostname: true };
        new Vpc(stack, "vpc", misspelt);
      },
      {
        construct: "test/vpc",
        rule: "unknown-argument",
        message:
          'was given "enableDnsHostname", which the provider\'s class does not know and cdktf dropped. Correct the name; the type checker refuses it too, unless a cast or a variable hides it.',
      },
    ],
    [
      "an unknown argument in a nested block",
      (stack) => {
        const vpcConfig = { subnetIds: ["subnet-1"], endpointPrivat: true };
        new EksCluster(stack, "cluster", { name: "c", roleArn: "arn", vpcConfig });
      },
      {
        construct: "test/cluster",
        rule: "unknown-argument",
        message:
          'was given "vpcConfig.endpointPrivat", which the provider\'s class does not know and cdktf dropped. Correct the name; the type checker refuses it too, unless a cast or a variable hides it.',
      },
    ],
    [
      "a sensitive variable in a plain output",
      (stack) => {
        const secret = new TerraformVariable(stack, "webhook", { type: "string", sensitive: true });
        new TerraformOutput(stack, "leak", { value: secret.stringValue, staticId: true });
      },
      {
        construct: "test: output.leak",
        rule: "lost-sensitivity",
        message: "shows var.webhook, which is sensitive. Mark the output sensitive, or do not publish it.",
      },
    ],
  ];

  test.each(cases)("%s", (_name, build, expected) => {
    expect(violations(build)).toEqual([expected]);
  });

  test("a dependency on a resource of another stack", () => {
    const found = appViolations((app) => {
      const first = vpc(new TestStack(app, "first"), "main");
      new Vpc(new TestStack(app, "second"), "vpc", { cidrBlock: "10.1.0.0/16", dependsOn: [first] });
    });
    expect(found).toEqual([
      {
        construct: "second/vpc",
        rule: "depends-on",
        message:
          'depends on "aws_vpc.main", which is not a whole resource of this stack. Between stacks use stack.addDependency.',
      },
    ]);
  });

  test("an attribute of another stack's resource", () => {
    const found = appViolations((app) => {
      const { id } = vpc(new TestStack(app, "first"));
      new Subnet(new TestStack(app, "second"), "subnet", { vpcId: id });
    });
    expect(found).toEqual([
      {
        construct: "second/subnet",
        rule: "dangling-reference",
        message:
          "refers to aws_vpc.vpc, which is not in this stack. Pass the value through the outputs of the stack that owns it.",
      },
    ]);
  });

  test("in stacks that are not ours, what cdktf makes of the two", () => {
    class PlainStack extends TerraformStack {
      readonly backend = new LocalBackend(this, { path: "test.tfstate" });
      readonly aws = new AwsProvider(this, "aws", { region: "us-east-2" });
    }
    const found = appViolations((app) => {
      const first = vpc(new PlainStack(app, "first"));
      const second = new PlainStack(app, "second");
      new Subnet(second, "subnet", { vpcId: first.id });
      new Vpc(second, "vpc", { cidrBlock: "10.1.0.0/16", dependsOn: [first] });
    });
    expect(found).toContainEqual({
      construct: "first: output.cross-stack-output-aws_vpcvpcid",
      rule: "automatic-cross-stack",
      message:
        "another stack uses an attribute of this one directly. Such an output loses its sensitive mark and vanishes with its last reader; publish it in the outputs of the stack and read it from there.",
    });
    expect(found).toContainEqual({
      construct: "second/vpc",
      rule: "depends-on",
      message: expect.stringMatching(
        /^depends on "data\.terraform_remote_state\.\S+", which is not a whole resource of this stack\. Between stacks use stack\.addDependency\.$/,
      ),
    });
  });

  test("a sensitive output that another stack reads", () => {
    const found = appViolations((app) => {
      const first = new TestStack(app, "first");
      const secret = new TerraformVariable(first, "webhook", { type: "string", sensitive: true });
      new TerraformOutput(first, "webhook_copy", {
        value: secret.stringValue,
        sensitive: true,
        staticId: true,
      });
      const second = new TestStack(app, "second");
      const state = new DataTerraformRemoteStateLocal(second, "first", { path: "first.tfstate" });
      new S3Bucket(second, "bucket", { bucket: state.getString("webhook_copy") });
      new S3Bucket(second, "other", { bucket: state.getString("misspelt") });
    });
    expect(found).toEqual([
      {
        construct: "second/bucket",
        rule: "lost-sensitivity",
        message:
          'reads the sensitive output "webhook_copy" of stack first: its mark is lost on the way and the value would show in plans. Secrets cross no stack; read it from Vault.',
      },
      {
        construct: "second/other",
        rule: "dangling-reference",
        message: 'reads output "misspelt" of stack first, which publishes no such output.',
      },
    ]);
  });

  test("two stacks with one id", () => {
    const found = appViolations((app) => {
      vpc(new TestStack(new Construct(app, "dev"), "net"));
      vpc(new TestStack(new Construct(app, "prod"), "net"));
    });
    expect(found).toContainEqual({
      construct: "prod/net",
      rule: "stack-id",
      message:
        "has the id of dev/net; both write stacks/net, and the last one wins. Give each stack of the app an id of its own.",
    });
  });

  test("an aspect above the stacks, which cdktf never visits", () => {
    const found = appViolations((app) => {
      vpc(new TestStack(app, "test"));
      Aspects.of(app).add({ visit: () => {} });
    });
    expect(found).toEqual([
      {
        construct: "App",
        rule: "aspect-above-stack",
        message: "has an aspect, which cdktf never visits above a stack. Add it to each stack.",
      },
    ]);
  });

  test("a backend without a path, which cdktf fills with this machine's", () => {
    const found = appViolations((app) => {
      const stack = new TerraformStack(app, "test");
      new LocalBackend(stack, {});
    });
    expect(found).toMatchObject([{ construct: "test: terraform", rule: "absolute-path" }]);
  });

  test("all problems at once, by construct, and leaves nothing to deploy", () => {
    const outdir = mkdtempSync(join(tmpdir(), "guard-"));
    const app = new App({ outdir });
    const stack = new TestStack(app, "test");
    vpc(stack, "1a");
    new S3Bucket(stack, "bucket", { bucket: "${HOME}" });
    expect(() => synthesize(app)).toThrow(
      [
        "The synth guard refused the output (2 problems); nothing was left to deploy.",
        "",
        "  test/1a",
        '    invalid-name: becomes the name "1a", which OpenTofu refuses. Begin the id with a letter or an underscore.',
        "",
        "  test/bucket",
        '    unescaped-template: contains "${HOME}", which OpenTofu would evaluate. Write "$${HOME}" for the literal text.',
      ].join("\n"),
    );
    expect(existsSync(join(outdir, "manifest.json"))).toBe(false);
    expect(existsSync(join(outdir, "stacks"))).toBe(false);
  });

  test("nothing that is right", () => {
    const found = violations((stack) => {
      const network = vpc(stack);
      new S3Bucket(stack, "policy", {
        bucket: JSON.stringify({ [`${network.arn}:sub`]: "$${aws:username}" }),
      });
      new S3Bucket(stack, "expression", {
        bucket: Fn.replace(network.arn, "https://", "${x}".replace("${x}", "")),
      });
      new TerraformOutput(stack, "dns", {
        value: network.getBooleanAttribute("enable_dns_support"),
        staticId: true,
      });
      new Vpc(stack, "second", {
        cidrBlock: "10.1.0.0/16",
        tags: { "kubernetes.io/role/elb": "1" },
        lifecycle: { ignoreChanges: ["tags", 'tags_all["camelCase"]'], preventDestroy: false },
        dependsOn: [network],
      });
    });
    expect(found).toEqual([]);
  });
});

describe("expressions", () => {
  test.each([
    ["plain text", [], []],
    ["a-${aws_vpc.main.id}-b", ["aws_vpc.main.id"], []],
    ["$${aws:username} and %%{ if }", [], []],
    [
      '${replace(aws_eks_cluster.c.identity[0].oidc[0].issuer, "https://", "")}',
      ["aws_eks_cluster.c.identity"],
      [],
    ],
    ['${jsonencode({"a" = "x-${var.name}", b = local.c})}', ["local.c", "var.name"], []],
    ["${[for k, v in aws_subnet.all : v.id]}", ["aws_subnet.all"], []],
    ["${HOME}", [], ["HOME"]],
    [
      "${data.terraform_remote_state.network.outputs.vpc_id}",
      ["data.terraform_remote_state.network.outputs.vpc_id"],
      [],
    ],
    ['${true ? "a" : null}', [], []],
  ])("%s", (template, references, bareNames) => {
    const found = readExpressions(template);
    expect([...found.references].sort()).toEqual(references);
    expect(found.bareNames).toEqual(bareNames);
  });
});

describe("construct dependencies", () => {
  class Pair extends Construct {
    readonly first = vpc(this, "first");
    readonly second = vpc(this, "second");
  }

  test("reach depends_on of every resource below, sorted and once", () => {
    const template = synthStack((stack) => {
      const before = new Pair(stack, "before");
      const after = new Pair(stack, "after");
      after.node.addDependency(before);
      after.first.node.addDependency(before.first);
    });
    const vpcs = Object.values(template.resources("aws_vpc")) as {
      depends_on?: string[];
      "//": { metadata: { path: string } };
    }[];
    const waiting = Object.fromEntries(vpcs.map((block) => [block["//"].metadata.path, block.depends_on]));
    const both = ["aws_vpc.before_first", "aws_vpc.before_second"];
    expect(waiting).toEqual({
      "test/before/first": undefined,
      "test/before/second": undefined,
      "test/after/first": both,
      "test/after/second": both,
    });
  });

  test("on a construct without resources is an error", () => {
    expect(() =>
      synthStack((stack) => {
        vpc(stack).node.addDependency(new Construct(stack, "empty"));
      }),
    ).toThrow(
      "test/vpc depends on test/empty, but test/empty holds no resource, so nothing would reach depends_on. Add the dependency to the construct that holds the resources.",
    );
  });

  test("across stacks is an error", () => {
    expect(() =>
      synthApp((app) => {
        const first = vpc(new TestStack(app, "first"));
        vpc(new TestStack(app, "second")).node.addDependency(first);
      }),
    ).toThrow(
      "second/vpc depends on first/vpc, which is in another stack: OpenTofu cannot wait across states. Use second.addDependency(first), or read an output of that stack.",
    );
  });

  test("between stacks order the stacks", () => {
    const outdir = mkdtempSync(join(tmpdir(), "order-"));
    const app = new App({ outdir });
    const first = new TestStack(app, "first");
    const second = new TestStack(app, "second");
    second.node.addDependency(first);
    synthesize(app);
    expect(second.dependencies).toEqual([first]);
  });
});

describe("stack outputs", () => {
  const specs = { vpcId: text("Id of the VPC"), subnetIds: list("Subnets") };

  class Publisher extends TestStack {
    readonly vpc = vpc(this);
    readonly outputs = new StackOutputs(this, {
      specs,
      backend: this.backend,
      values: { vpcId: this.vpc.id, subnetIds: [this.vpc.id, this.vpc.arn] },
      dependsOn: [this.vpc],
    });
  }

  test("exist under stable names even when nobody reads them", () => {
    const template = synthApp((app) => void new Publisher(app, "network"))["network"];
    expect(template?.json["output"]).toEqual({
      vpc_id: { description: "Id of the VPC", value: "${aws_vpc.vpc.id}", depends_on: ["aws_vpc.vpc"] },
      subnet_ids: {
        description: "Subnets",
        value: ["${aws_vpc.vpc.id}", "${aws_vpc.vpc.arn}"],
        depends_on: ["aws_vpc.vpc"],
      },
    });
  });

  test("are read from the publisher's state, once, and order the stacks", () => {
    let dependencies: string[] = [];
    const templates = synthApp((app) => {
      const publisher = new Publisher(app, "network");
      const reader = new TestStack(app, "reader");
      const values = publisher.outputs.readBy(reader);
      expect(publisher.outputs.readBy(reader)).toBe(values);
      new Subnet(reader, "subnet", {
        vpcId: values.vpcId,
        tags: { all: Fn.join(",", [...values.subnetIds]) },
      });
      dependencies = reader.dependencies.map((stack) => stack.node.id);
    });
    expect(dependencies).toEqual(["network"]);
    expect(templates["reader"]?.resource("aws_subnet")).toMatchObject({
      vpc_id: "${data.terraform_remote_state.network.outputs.vpc_id}",
      tags: { all: '${join(",", data.terraform_remote_state.network.outputs.subnet_ids)}' },
    });
    expect(Object.keys(templates["reader"]?.json["data"]?.["terraform_remote_state"] ?? {})).toEqual([
      "network",
    ]);
  });

  test("are not for the stack itself", () => {
    expect(() =>
      synthApp((app) => {
        const publisher = new Publisher(app, "network");
        publisher.outputs.readBy(publisher);
      }),
    ).toThrow("network reads its own outputs; use the constructs' attributes instead.");
  });
});
