import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { emulatorGaps } from "../../stacks/emulator-gaps";
import {
  baseEnv,
  freePort,
  isRunning,
  listing,
  processesIn,
  type Result,
  ROOT,
  Sandbox,
  until,
} from "./support/sandbox";

/**
 * One platform, from nothing to nothing: cut off while it is first applied, brought up again, read, changed, robbed of its
 * emulator, and taken down. The tests stand in this order and share it.
 */

interface Tools {
  readonly tofu: { readonly path: string; readonly version: string };
  readonly provider: { readonly version: string };
}

type Resources = Record<string, Record<string, Record<string, unknown>>>;

const tools = JSON.parse(
  execFileSync(join(ROOT, "node_modules/.bin/tsx"), [join(ROOT, "test/local/support/providers.mts")], {
    cwd: ROOT,
    env: baseEnv(),
    encoding: "utf8",
  }),
) as Tools;
const major = Number(tools.provider.version.split(".")[0]);

/** Credentials and settings that a newcomer may have; using any of them would leave this machine. */
const FOREIGN = {
  AWS_ACCESS_KEY_ID: "AKIAFOREIGNFOREIGN00",
  AWS_SECRET_ACCESS_KEY: "foreign-secret",
  AWS_SESSION_TOKEN: "foreign-token",
  AWS_PROFILE: "foreign",
  AWS_REGION: "eu-north-1",
  AWS_ENDPOINT_URL: "https://192.0.2.1",
  TF_CLI_ARGS_plan: "-destroy",
  TF_WORKSPACE: "foreign",
};

/** OpenTofu that is called by hand makes ~/.terraform.d unless its settings are elsewhere (docs/LOCAL.md). */
const QUIET = { XDG_CONFIG_HOME: "/dev/null" };

let sandbox: Sandbox;

const resources = (stack: string): Resources =>
  sandbox.json<{ resource: Resources }>(`cdktf.out/stacks/${stack}/cdk.tf.json`).resource;
const all = (stack: string, type: string) => Object.values(resources(stack)[type] ?? {});
/** The stacks that the local target applies: those whose only provider is that of AWS. */
const stackNames = () =>
  Object.keys(sandbox.json<{ stacks: object }>("cdktf.out/manifest.json").stacks).filter((name) => {
    const { terraform } = sandbox.json<{ terraform: { required_providers: object } }>(
      `cdktf.out/stacks/${name}/cdk.tf.json`,
    );
    return Object.keys(terraform.required_providers).join() === "aws";
  });
const rows = ({ stdout }: Result): Record<string, { held: number; changed: number }> =>
  Object.fromEntries(
    [...stdout.matchAll(/^(\w[\w-]*) +(\d+) +(\d+) +\d+$/gm)].map(([, name, held, changed]) => [
      name,
      { held: Number(held), changed: Number(changed) },
    ]),
  );
const tofuProcess = (stack: string) =>
  processesIn(sandbox.tree).find((line) => line.includes(`stacks/${stack} apply`));
const list = (value: unknown) => value as Record<string, unknown>[];

beforeAll(async () => {
  sandbox = new Sandbox(await freePort());
  mkdirSync(join(sandbox.home, ".aws"));
  writeFileSync(
    join(sandbox.home, ".aws/credentials"),
    "[foreign]\naws_access_key_id = AKIAFOREIGNFOREIGN00\naws_secret_access_key = x\n",
  );
  writeFileSync(
    join(sandbox.home, ".aws/config"),
    "[profile foreign]\nregion = eu-north-1\nendpoint_url = https://192.0.2.1\n",
  );
});

afterAll(() => sandbox?.remove());

describe("up", () => {
  let up: Result;
  let homeBefore: string[];

  it("killed with kill -9 amid the first apply: it says so and leaves no process of OpenTofu", async () => {
    homeBefore = listing(sandbox.home);
    const first = sandbox.start(["up"], FOREIGN);
    await until("OpenTofu is started", () => existsSync(sandbox.path(".local/applying/network")), 180_000);
    // some resources exist now, of which OpenTofu has written nothing into its state yet
    const cidr = all("network", "aws_vpc")[0]?.["cidr_block"];
    await until("the VPC exists", () => {
      const [answer] = sandbox.ask([["ec2", "describe_vpcs"]]);
      return list((answer as { Vpcs: unknown }).Vpcs).some(({ CidrBlock }) => CidrBlock === cidr);
    });
    const line = tofuProcess("network");
    expect(line).toBeDefined();
    process.kill(Number(line?.split(" ")[0]), "SIGKILL");
    const { code, stderr } = await first.result;
    expect(stderr).toContain("error:  stack network: OpenTofu was ended from outside");
    expect(code).toBe(1);
    expect(processesIn(join(sandbox.tree, "cdktf.out"))).toEqual([]);
    const { stdout } = await sandbox.platform(["status"]);
    expect(stdout).toContain("cut off   network");
  });

  it("again: goes back to the checkpoint and applies everything, while a second one is refused", async () => {
    const running = sandbox.start(["up"], FOREIGN);
    await until(
      "the first one holds the lock",
      () => existsSync(sandbox.path(".local/lock")) || running.child.exitCode !== null,
    );
    const second = await sandbox.platform(["up"]);
    expect(second.code).toBe(75);
    expect(second.stderr).toContain("`up` is running in this checkout");
    expect(second.stderr).toContain(`process ${sandbox.json<{ pid: number }>(".local/lock").pid} holds`);
    up = await running.result;
    expect(up.stderr).toMatch(
      /recovery: the last run was cut off while it changed network; went back to the checkpoint of/,
    );
    expect(up.stderr).toContain("ignored, the local target does not use them: AWS_ACCESS_KEY_ID");
    expect(up.code).toBe(0);
  });

  it("prints a table that matches the synthesized JSON, and the outputs", () => {
    const expected = Object.fromEntries(
      stackNames().map((stack) => {
        const count = Object.values(resources(stack)).reduce((sum, ids) => sum + Object.keys(ids).length, 0);
        return [stack, { held: count, changed: count }];
      }),
    );
    expect(Object.keys(expected).length).toBeGreaterThanOrEqual(3);
    expect(rows(up)).toEqual(expected);
    expect(up.stdout).toMatch(/^network\.\S+ +vpc-[0-9a-f]+$/m);
    expect(up.stdout).toContain("make plan");
  });

  it("reported progress while it worked", () => {
    expect(up.stderr).toMatch(/^data: \d+ of \d+ resources, \d+ s/m);
  });

  it("listens on one port of the loopback interface only, and uses no docker", () => {
    const sockets = execFileSync("ss", ["-Hltnp"], { encoding: "utf8" })
      .split("\n")
      .filter((line) => line.includes(`pid=${sandbox.emulatorPid()},`))
      .map((line) => line.trim().split(/\s+/)[3]);
    expect(sockets).toEqual([`127.0.0.1:${sandbox.port}`]);
  });

  it("used none of the caller's credentials: the log and the state do not know them", () => {
    const state = stackNames().map((stack) =>
      readFileSync(sandbox.path(`.local/state/${stack}.tfstate`), "utf8"),
    );
    expect([...state, readFileSync(sandbox.path(".local/aws/log"), "utf8")].join("")).not.toContain(
      "AKIAFOREIGN",
    );
  });

  it("wrote nothing into the home folder", () => {
    expect(listing(sandbox.home)).toEqual(homeBefore);
  });
});

describe("the emulator holds what the JSON says", () => {
  it("buckets: versioning, encryption by their own key, TLS only, public access blocked", () => {
    const buckets = all("data", "aws_s3_bucket").map(({ bucket }) => bucket as string);
    expect(buckets.length).toBeGreaterThanOrEqual(2);
    for (const Bucket of buckets) {
      const [versioning, encryption, policy, access] = sandbox.ask([
        ["s3", "get_bucket_versioning", { Bucket }],
        ["s3", "get_bucket_encryption", { Bucket }],
        ["s3", "get_bucket_policy", { Bucket }],
        ["s3", "get_public_access_block", { Bucket }],
      ]);
      expect(versioning).toMatchObject({ Status: "Enabled" });
      expect(encryption).toMatchObject({
        ServerSideEncryptionConfiguration: {
          Rules: [
            {
              ApplyServerSideEncryptionByDefault: {
                SSEAlgorithm: "aws:kms",
                KMSMasterKeyID: expect.stringMatching(/^arn:aws:kms:us-east-2:/),
              },
            },
          ],
        },
      });
      const { Statement } = JSON.parse((policy as { Policy: string }).Policy) as { Statement: object[] };
      expect(Statement).toContainEqual(
        expect.objectContaining({
          Effect: "Deny",
          Principal: "*",
          Condition: { Bool: { "aws:SecureTransport": "false" } },
        }),
      );
      expect(access).toMatchObject({
        PublicAccessBlockConfiguration: {
          BlockPublicAcls: true,
          BlockPublicPolicy: true,
          IgnorePublicAcls: true,
          RestrictPublicBuckets: true,
        },
      });
    }
  });

  it("image repositories: immutable tags, scan on push", () => {
    const wanted = all("data", "aws_ecr_repository").map(({ name }) => name as string);
    const [answer] = sandbox.ask([["ecr", "describe_repositories", { repositoryNames: wanted }]]);
    const found = list((answer as { repositories: unknown }).repositories);
    expect(found.map(({ repositoryName }) => repositoryName).sort()).toEqual([...wanted].sort());
    for (const one of found) {
      expect(one).toMatchObject({
        imageTagMutability: "IMMUTABLE",
        imageScanningConfiguration: { scanOnPush: true },
      });
    }
  });

  it("cluster: version, authentication mode, end point, logs, encryption of secrets", () => {
    const [json] = all("cluster", "aws_eks_cluster") as [Record<string, unknown>];
    const [answer] = sandbox.ask([["eks", "describe_cluster", { name: json["name"] }]]);
    const vpc = json["vpc_config"] as Record<string, unknown>;
    const access = json["access_config"] as Record<string, unknown>;
    expect((answer as { cluster: object }).cluster).toMatchObject({
      version: json["version"],
      status: "ACTIVE",
      accessConfig: { authenticationMode: access["authentication_mode"] },
      resourcesVpcConfig: {
        endpointPrivateAccess: vpc["endpoint_private_access"],
        endpointPublicAccess: vpc["endpoint_public_access"],
      },
      encryptionConfig: [{ resources: ["secrets"] }],
    });
    expect(access["authentication_mode"]).toBe("API");
    const logging = (
      answer as { cluster: { logging: { clusterLogging: { enabled: boolean; types: string[] }[] } } }
    ).cluster.logging;
    const enabled = logging.clusterLogging.filter((one) => one.enabled).flatMap((one) => one.types);
    expect(enabled.sort()).toEqual([...(json["enabled_cluster_log_types"] as string[])].sort());
  });

  it("add-ons: all of them, in the pinned versions", () => {
    const clusterName = all("cluster", "aws_eks_cluster")[0]?.["name"];
    const addons = all("cluster", "aws_eks_addon");
    const answers = sandbox.ask(
      addons.map(({ addon_name }) => ["eks", "describe_addon", { clusterName, addonName: addon_name }]),
    );
    expect(addons.length).toBeGreaterThanOrEqual(5);
    expect(answers.map((answer) => (answer as { addon: object }).addon)).toEqual(
      addons.map(({ addon_name, addon_version }) =>
        expect.objectContaining({ addonName: addon_name, addonVersion: addon_version, status: "ACTIVE" }),
      ),
    );
  });

  it("interruption queue: encrypted, denies plain HTTP, and every event rule targets it", () => {
    const QueueName = all("cluster", "aws_sqs_queue")[0]?.["name"];
    const [url] = sandbox.ask([["sqs", "get_queue_url", { QueueName }]]) as [{ QueueUrl: string }];
    const ruleNames = all("cluster", "aws_cloudwatch_event_rule").map(({ name }) => name);
    const [queue, ...targets] = sandbox.ask([
      ["sqs", "get_queue_attributes", { QueueUrl: url.QueueUrl, AttributeNames: ["All"] }],
      ...ruleNames.map((Rule) => ["events", "list_targets_by_rule", { Rule }] as const),
    ]);
    const { Attributes } = queue as { Attributes: Record<string, string> };
    expect(Attributes["SqsManagedSseEnabled"]).toBe("true");
    const { Statement } = JSON.parse(Attributes["Policy"] ?? "{}") as { Statement: object[] };
    expect(Statement).toContainEqual(
      expect.objectContaining({ Effect: "Deny", Condition: { Bool: { "aws:SecureTransport": "false" } } }),
    );
    expect(ruleNames).toHaveLength(5);
    for (const target of targets)
      expect(target).toMatchObject({ Targets: [{ Arn: Attributes["QueueArn"] }] });
  });

  it("subnets: CIDR, zone and the tags that EKS and Karpenter look for", () => {
    const [answer] = sandbox.ask([["ec2", "describe_subnets"]]);
    const found = list((answer as { Subnets: unknown }).Subnets).map(
      ({ CidrBlock, AvailabilityZone, Tags }) => ({
        cidr: CidrBlock,
        zone: AvailabilityZone,
        tags: Object.fromEntries(
          ((Tags ?? []) as { Key: string; Value: string }[]).map(({ Key, Value }) => [Key, Value]),
        ),
      }),
    );
    const wanted = all("network", "aws_subnet");
    expect(wanted.length).toBeGreaterThanOrEqual(6);
    for (const { cidr_block, availability_zone, tags } of wanted) {
      expect(found).toContainEqual({
        cidr: cidr_block,
        zone: availability_zone,
        tags: expect.objectContaining(tags as object),
      });
    }
    const keys = wanted.flatMap(({ tags }) => Object.keys(tags as object));
    for (const key of ["kubernetes.io/role/elb", "kubernetes.io/role/internal-elb"])
      expect(keys).toContain(key);
  });

  it("roles of the two applications trust one service account each", () => {
    const trusted = all("cluster", "aws_iam_role")
      .map(({ name }) => name as string)
      .filter((name) => /dagster-user-code|products-api/.test(name));
    expect(trusted).toHaveLength(2);
    const answers = sandbox.ask(trusted.map((RoleName) => ["iam", "get_role", { RoleName }]));
    const subjects = answers.map((answer) => {
      const { AssumeRolePolicyDocument } = (
        answer as {
          Role: {
            AssumeRolePolicyDocument: { Statement: { Condition: Record<string, Record<string, string>> }[] };
          };
        }
      ).Role;
      const conditions = Object.entries(
        AssumeRolePolicyDocument.Statement[0]?.Condition["StringEquals"] ?? {},
      );
      return conditions.find(([key]) => key.endsWith(":sub"))?.[1];
    });
    expect(subjects.sort()).toEqual([
      "system:serviceaccount:data:dagster-user-code",
      "system:serviceaccount:data:products-api",
    ]);
  });
});

describe("plan and a second up", () => {
  it("plan: no changes, also with foreign settings around", async () => {
    const { code, stdout } = await sandbox.platform(["plan"], FOREIGN);
    expect(stdout).toContain("No changes: ");
    expect(code).toBe(0);
  });

  it("a change of the configuration: plan ends with 2 and names it", async () => {
    const undo = sandbox.edit("config/local.ts", /imagesKept: \d+/, "imagesKept: 7");
    const { code, stdout } = await sandbox.platform(["plan"]);
    undo();
    expect(stdout).toMatch(/^data +(update|replace) +aws_ecr_lifecycle_policy\./m);
    expect(stdout).toMatch(/2 changes are pending in 1 of \d+ stacks/);
    expect(code).toBe(2);
  });

  it("OpenTofu by hand: what `env` prints makes `tofu -chdir` work", async () => {
    const script = [
      'eval "$(node_modules/.bin/tsx local/cli.ts env)"',
      "node scripts/synth.cjs",
      "tofu -chdir=cdktf.out/stacks/network init -input=false >/dev/null",
      "tofu -chdir=cdktf.out/stacks/network plan -input=false -detailed-exitcode",
    ].join(" && ");
    const { code, stdout } = await sandbox.spawn("bash", ["-c", script], { ...FOREIGN, ...QUIET }).result;
    expect(stdout).toContain("No changes.");
    expect(code).toBe(0);
  });
});

describe("the emulator's gaps", () => {
  it("are the ones that stacks/emulator-gaps.ts names: each row is needed, and no other is", async () => {
    const undo = sandbox.edit(
      "stacks/environment-stack.ts",
      "Aspects.of(this).add(new IgnoreEmulatorGaps());",
      "",
    );
    const perStack = stackNames().map(
      (name) =>
        `tofu -chdir=cdktf.out/stacks/${name} init -input=false >/dev/null && ` +
        `tofu -chdir=cdktf.out/stacks/${name} plan -input=false -out=gaps >/dev/null && ` +
        `tofu -chdir=cdktf.out/stacks/${name} show -json gaps && rm cdktf.out/stacks/${name}/gaps`,
    );
    const script = [
      'eval "$(node_modules/.bin/tsx local/cli.ts env)"',
      "node scripts/synth.cjs",
      ...perStack,
    ].join(" && ");
    const { code, stdout, stderr } = await sandbox.spawn("bash", ["-c", script], QUIET).result;
    undo();
    expect([code, stderr]).toEqual([0, ""]);

    interface Planned {
      readonly type: string;
      readonly change: {
        readonly before: Record<string, unknown> | null;
        readonly after: Record<string, unknown> | null;
      };
    }
    const plans = stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as { resource_changes?: readonly Planned[] });
    // nothing, an empty list and an empty map are one thing to a provider
    const text = (value: unknown) => JSON.stringify(value ?? []).replace(/^(\{\}|\[\]|"")$/, "none");
    const found = plans
      .flatMap(({ resource_changes = [] }) => resource_changes)
      .flatMap(({ type, change: { before, after } }) =>
        Object.keys(after ?? {})
          .filter((name) => text(after?.[name]) !== text(before?.[name]))
          .map((name) => `${type}.${name}`),
      );
    const named = Object.entries(emulatorGaps).flatMap(([type, names]) =>
      names.map((name) => `${type}.${name}`),
    );
    expect([...new Set(found)].sort()).toEqual(named.sort());
  });
});

describe("kill -9 of the emulator", () => {
  it("status and plan say what happened", async () => {
    process.kill(sandbox.emulatorPid(), "SIGKILL");
    await until("the emulator is gone", () => processesIn(sandbox.path("local/aws/serve.py")).length === 0);
    expect((await sandbox.platform(["status"])).stdout).toContain("emulator  ended without saving its state");
    const { code, stderr } = await sandbox.platform(["plan"]);
    expect(stderr).toContain("error:  the AWS emulator is not running");
    expect(code).toBe(69);
  });

  it("up goes back to the checkpoint and has nothing to change: this is also the idempotent second up", async () => {
    const up = await sandbox.platform(["up"]);
    expect(up.stderr).toContain(
      "recovery: the emulator ended without saving its state; went back to the checkpoint of",
    );
    expect(up.code).toBe(0);
    expect(Object.values(rows(up)).map(({ changed }) => changed)).toEqual(stackNames().map(() => 0));
  });
});

describe("the JSON of dev and prod", () => {
  const out = (environment: string) => `validate-${environment}`;
  const run = (args: readonly string[]) =>
    sandbox.spawn(tools.tofu.path, args, {
      TF_CLI_CONFIG_FILE: sandbox.path(".local/tofu/tofurc"),
      ...QUIET,
    }).result;

  for (const environment of ["dev", "prod"]) {
    it(`${environment}: tofu validate accepts every stack with provider ${tools.provider.version}`, async () => {
      const synth = await sandbox.spawn("node", ["scripts/synth.cjs"], {
        PLATFORM_ENV: environment,
        CDKTF_OUTDIR: out(environment),
        LOCAL_AWS_PORT: "",
      }).result;
      expect(synth).toMatchObject({ code: 0 });
      const { stacks } = sandbox.json<{ stacks: Record<string, { workingDirectory: string }> }>(
        out(environment),
        "manifest.json",
      );
      expect(Object.keys(stacks)).toEqual(expect.arrayContaining(["network", "data", "cluster"]));
      for (const name of stackNames()) {
        const folder = sandbox.path(out(environment), stacks[name]?.workingDirectory ?? "");
        const json = JSON.parse(readFileSync(join(folder, "cdk.tf.json"), "utf8")) as {
          terraform: { required_providers: { aws: { version: string } } };
        };
        json.terraform.required_providers.aws.version = tools.provider.version;
        writeFileSync(join(folder, "cdk.tf.json"), JSON.stringify(json));
        expect(
          await run([`-chdir=${folder}`, "init", "-backend=false", "-input=false", "-no-color"]),
        ).toMatchObject({ code: 0 });
        const { stdout } = await run([`-chdir=${folder}`, "validate", "-json"]);
        expect(JSON.parse(stdout)).toMatchObject({ valid: true, error_count: 0 });
      }
    });
  }

  it.skip("dev, prod: tofu validate of the stacks on top of Kubernetes [the local target has the AWS provider only]", () => {});

  for (const other of [5, 6]) {
    if (other === major) continue;
    it.skip(`tofu validate accepts every stack with provider ${other}.x [this machine has ${tools.provider.version} only, and the registry does not answer]`, () => {});
  }
});

describe("down", () => {
  it("destroys in reverse order and leaves no process, no port, no file", async () => {
    const names = stackNames();
    const pid = sandbox.emulatorPid();
    const { code, stdout, stderr } = await sandbox.platform(["down"]);
    expect(code).toBe(0);
    const order = [...stderr.matchAll(/^(\w[\w-]*): \d+ resources destroyed/gm)].map(([, name]) => name);
    expect([...order].sort()).toEqual([...names].sort());
    expect(order.indexOf("cluster")).toBeLessThan(order.indexOf("data"));
    expect(order.at(-1)).toBe("network");
    expect(stdout).toContain("no process and no file of the local target is left");
    expect(isRunning(pid)).toBe(false);
    expect(processesIn(sandbox.tree)).toEqual([]);
    expect(execFileSync("ss", ["-Hltn", `sport = :${sandbox.port}`], { encoding: "utf8" })).toBe("");
    expect(existsSync(sandbox.path(".local"))).toBe(false);
    expect(listing(sandbox.tree).filter((name) => /^cdktf\.out.*\.terraform/.test(name))).toEqual([]);
    expect(listing(sandbox.home)).toEqual([".aws", ".aws/config", ".aws/credentials"]);
  });
});

describe("down when the emulator is gone already", () => {
  it("drops the state and says so", async () => {
    mkdirSync(sandbox.path(".local/state"), { recursive: true });
    cpSync(sandbox.path("cdktf.out/manifest.json"), sandbox.path(".local/state/network.tfstate"));
    const { code, stderr } = await sandbox.platform(["down"]);
    expect(stderr).toContain("the state of network is dropped, nothing is left to destroy");
    expect(code).toBe(0);
    expect(existsSync(sandbox.path(".local"))).toBe(false);
  });
});
