import { readdirSync } from "node:fs";
import { join } from "node:path";
import { composePlatform } from "../stacks";
import { emulatorGaps } from "../stacks/emulator-gaps";
import { expectCommitted, normalise } from "./support/golden";
import {
  type Block,
  environment,
  environmentNames,
  synthApp,
  synthPlatform,
  type Template,
} from "./support/synth";

const platforms = Object.fromEntries(environmentNames.map((name) => [name, synthPlatform(name)]));
const stack = (name: string, id: string): Template => platforms[name]?.[id] as Template;
const everyStack = environmentNames.flatMap((name) =>
  Object.keys(platforms[name] ?? {}).map((id) => [name, id] as const),
);

describe.each(environmentNames)("%s", (name) => {
  test("is what was reviewed last (npm run generate writes test/golden)", () => {
    const ids = Object.keys(platforms[name] ?? {});
    for (const id of ids) expectCommitted(`test/golden/${name}/${id}.json`, normalise(stack(name, id)));
    expect(readdirSync(join(__dirname, "golden", name)).sort()).toEqual(ids.map((id) => `${id}.json`).sort());
  });

  test("is the same in every run", () => {
    for (const [id, template] of Object.entries(synthPlatform(name))) {
      expect(template.json).toEqual(stack(name, id).json);
    }
  });
});

describe.each(everyStack)("%s/%s", (name, id) => {
  const template = stack(name, id);

  test("touches only its own account, or only the emulator", () => {
    const [provider] = (template.json["provider"] as unknown as { aws: [Block] }).aws;
    const { aws } = environment(name);
    expect(provider["allowed_account_ids"]).toEqual([aws.accountId]);
    if (aws.emulator) {
      const [endpoints] = provider["endpoints"] as [Record<string, string>];
      expect(new Set(Object.values(endpoints))).toEqual(new Set(["https://127.0.0.1:4566"]));
    } else {
      for (const argument of ["endpoints", "access_key", "secret_key", "custom_ca_bundle"]) {
        expect(provider[argument]).toBeUndefined();
      }
    }
    expect(provider["default_tags"]).toEqual([
      { tags: { Project: "dagster-eks", Environment: name, Stack: id, ManagedBy: "cdktf" } },
    ]);
  });

  test("keeps its state where the environment says, locked and encrypted", () => {
    const backend = template.json["terraform"]?.["backend"];
    expect(backend).toEqual(
      environment(name).state.backend === "local"
        ? { local: { path: `../../../.local/state/${id}.tfstate` } }
        : {
            s3: {
              bucket: `dagster-eks-state-${environment(name).aws.accountId}`,
              key: `dagster-eks/${name}/${id}.tfstate`,
              region: "us-east-2",
              encrypt: true,
              use_lockfile: true,
              allowed_account_ids: [environment(name).aws.accountId],
            },
          },
    );
  });

  test("asks for OpenTofu 1.11 and the provider that the environment takes", () => {
    expect(template.json["terraform"]).toMatchObject({
      required_version: ">= 1.11.0, < 2.0.0",
      required_providers: {
        aws: { source: "aws", version: name === "local" ? ">= 5.100.0, < 7.0.0" : "6.25.0" },
      },
    });
  });

  test("ignores changes only where the emulator forgets an argument, or autoscaling may act", () => {
    for (const [type, resources] of Object.entries(template.json["resource"] ?? {})) {
      const gaps = environment(name).aws.emulator ? (emulatorGaps[type] ?? []) : [];
      const own = type === "aws_eks_node_group" ? ["scaling_config[0].desired_size"] : [];
      for (const block of Object.values(resources)) {
        const ignored =
          (block["lifecycle"] as { ignore_changes?: string[] } | undefined)?.ignore_changes ?? [];
        expect([type, ...ignored]).toEqual([type, ...[...own, ...gaps].sort()]);
      }
    }
  });

  // IAM by rule: no statement anywhere allows everything on everything, every wildcard resource has a reason
  test("allows no action on everything that could be narrower", () => {
    /** Actions that IAM lets no one narrow, or that a condition narrows; sid → why. */
    const wildcardResources = new Map([
      ["AllowRegionalReadActions", "Describe actions know no resource; limited to the region"],
      ["AllowPricingReadActions", "the price list knows no resource"],
      ["AllowUnscopedInstanceProfileListAction", "List knows no resource"],
      ["AllowZonalShiftStatusReadOnly", "the condition names the cluster"],
      ["LetIamDecide", "a key policy: * is this key"],
    ]);
    const documents = Object.entries(template.json["resource"] ?? {}).flatMap(([type, resources]) =>
      Object.entries(resources).flatMap(([resource, block]) =>
        ["policy", "assume_role_policy"]
          .map((argument) => block[argument])
          .filter((value): value is string => typeof value === "string" && value.includes('"Statement"'))
          .map((value) => ({
            address: `${type}.${resource}`,
            statements: JSON.parse(value).Statement as Block[],
          })),
      ),
    );
    const makesRoles = Object.keys(template.resources("aws_iam_role")).length > 0;
    expect([id, documents.length > 0]).toEqual([id, makesRoles || ["network", "data"].includes(id)]);
    for (const { address, statements } of documents) {
      for (const { Sid, Effect, Action, Resource, Principal } of statements) {
        if (Effect !== "Allow") continue;
        const actions = [Action].flat() as string[];
        expect([address, Sid, actions]).not.toEqual([address, Sid, expect.arrayContaining(["*"])]);
        if ([Resource].flat().includes("*"))
          expect([address, [...wildcardResources.keys()]]).toEqual([address, expect.arrayContaining([Sid])]);
        // a principal of * may only be refused something
        expect([address, Sid, Principal]).not.toEqual([address, Sid, "*"]);
      }
    }
  });

  test("holds no secret: no password, key or token argument has a literal value", () => {
    const suspicious: string[] = [];
    JSON.stringify(template.json["resource"], (key, value) => {
      if (
        /password|secret_(string|key)|^token|access_key|private_key/.test(key) &&
        typeof value === "string" &&
        !/^\$\{var\.\w+\}$/.test(value)
      ) {
        suspicious.push(key);
      }
      return value;
    });
    expect(suspicious).toEqual([]);
  });

  test("takes secrets from ephemeral variables only, into write-only arguments only", () => {
    for (const [name, variable] of Object.entries(template.json["variable"] ?? {})) {
      expect([name, variable]).toEqual([
        name,
        expect.objectContaining({ ephemeral: true, sensitive: true, nullable: false, type: "string" }),
      ]);
      const uses: string[] = [];
      const visit = (value: unknown, path: string): void => {
        if (typeof value === "string" && value.includes(`var.${name}`)) uses.push(path);
        else if (typeof value === "object" && value !== null) {
          for (const [key, item] of Object.entries(value)) visit(item, `${path}.${key}`);
        }
      };
      for (const part of ["resource", "data", "output", "locals", "provider"]) {
        visit(template.json[part], part);
      }
      expect(uses.length).toBeGreaterThan(0);
      expect(uses.filter((use) => !/^resource\.kubernetes_secret_v1\.[\w-]+\.data_wo\./.test(use))).toEqual(
        [],
      );
    }
  });
});

describe("prod", () => {
  test("spreads over three zones, protects its data and lets nobody in from outside", () => {
    expect(Object.keys(stack("prod", "network").resources("aws_nat_gateway"))).toHaveLength(3);
    expect(stack("prod", "data").resource("aws_db_instance")).toMatchObject({
      multi_az: true,
      deletion_protection: true,
      skip_final_snapshot: false,
    });
    for (const bucket of Object.values(stack("prod", "data").resources("aws_s3_bucket"))) {
      expect(bucket["force_destroy"]).toBe(false);
    }
    for (const repository of Object.values(stack("prod", "data").resources("aws_ecr_repository"))) {
      expect(repository["force_delete"]).toBe(false);
    }
    expect(stack("prod", "cluster").resource("aws_eks_cluster")["vpc_config"]).toMatchObject({
      endpoint_public_access: false,
    });
  });

  test("gives the applications one prefix of one bucket, and the database one port from the cluster", () => {
    const cluster = stack("prod", "cluster");
    const actions = (role: string) =>
      cluster
        .policy("aws_iam_policy", `${role}-role_products`)
        .Statement.flatMap((statement) => statement["Action"]);
    expect(actions("dagster-user-code")).toEqual([
      "s3:ListBucket",
      "s3:AbortMultipartUpload",
      "s3:GetObject",
      "s3:PutObject",
      "kms:Decrypt",
      "kms:GenerateDataKey",
    ]);
    expect(actions("products-api")).toEqual(["s3:ListBucket", "s3:GetObject", "kms:Decrypt"]);
    expect(cluster.resource("aws_vpc_security_group_ingress_rule")).toMatchObject({
      from_port: 5432,
      to_port: 5432,
      referenced_security_group_id: "${aws_eks_cluster.eks_cluster.vpc_config[0].cluster_security_group_id}",
    });
  });

  test("hands out the cluster's end point only after the access entries", () => {
    const entries = Object.keys(stack("prod", "cluster").resources("aws_eks_access_policy_association"));
    expect(stack("prod", "cluster").json["output"]?.["cluster_endpoint"]?.["depends_on"]).toEqual(
      expect.arrayContaining(entries.map((entry) => `aws_eks_access_policy_association.${entry}`)),
    );
  });
});

describe("the platform stack", () => {
  const platform = stack("prod", "platform");
  const release = (name: string): Block => platform.resource("helm_release", `${name}_release`);

  test("reaches EKS with credentials of whoever applies, which last minutes; the local node by its kubeconfig", () => {
    const exec = {
      api_version: "client.authentication.k8s.io/v1beta1",
      command: "aws",
      args: [
        "eks",
        "get-token",
        "--cluster-name",
        "${data.terraform_remote_state.cluster.outputs.cluster_name}",
        "--region",
        "us-east-2",
      ],
    };
    const cluster = {
      host: "${data.terraform_remote_state.cluster.outputs.cluster_endpoint}",
      cluster_ca_certificate:
        "${base64decode(data.terraform_remote_state.cluster.outputs.cluster_certificate_authority)}",
    };
    for (const name of ["dev", "prod"]) {
      const { kubernetes, helm } = stack(name, "platform").json["provider"] as Record<string, unknown>;
      expect([kubernetes, helm]).toEqual([
        [{ ...cluster, exec: [exec] }],
        [{ kubernetes: { ...cluster, exec } }],
      ]);
    }
    const { kubernetes, helm } = stack("local", "platform").json["provider"] as Record<string, unknown>;
    const configPath = { config_path: "../../../.local/node/kubeconfig" };
    expect([kubernetes, helm]).toEqual([[configPath], [{ kubernetes: configPath }]]);
  });

  test("installs the operator's CRDs before everything that has monitors, and the role of Vault before its pods", () => {
    expect(Object.keys(platform.resources("helm_release")).sort()).toEqual([
      "karpenter_controller_release",
      "karpenter_crds_release",
      "monitoring_stack_release",
      "vault_server_release",
    ]);
    for (const name of ["karpenter_controller", "vault_server"]) {
      expect(release(name)["depends_on"]).toContain("helm_release.monitoring_stack_release");
    }
    expect(release("vault_server")["depends_on"]).toContain(
      "aws_eks_pod_identity_association.vault-identity_identity",
    );
  });

  test("isolates every namespace before anything runs there, and enforces restricted in all but one", () => {
    const levels = Object.values(platform.resources("kubernetes_namespace_v1")).map(({ metadata }) => {
      const { name, labels } = metadata as { name: string; labels: Record<string, string> };
      return [name, labels["pod-security.kubernetes.io/enforce"]];
    });
    expect(Object.fromEntries(levels)).toEqual({
      data: "restricted",
      karpenter: "restricted",
      monitoring: "restricted",
      "node-exporter": "privileged",
      vault: "restricted",
    });
    const denied = Object.values(platform.resources("kubernetes_network_policy_v1"))
      .map(({ metadata }) => metadata as { name: string; namespace: string })
      .filter(({ name }) => name === "default-deny")
      .map((one) => one.namespace);
    expect(denied.sort()).toEqual(["data", "karpenter", "monitoring", "node-exporter", "vault"]);
    for (const [name, id] of [
      ["karpenter_crds", "karpenter"],
      ["karpenter_controller", "karpenter"],
      ["monitoring_stack", "monitoring"],
      ["vault_server", "vault"],
    ] as const) {
      expect(release(name)["depends_on"]).toContain(
        `kubernetes_network_policy_v1.${id}-policies_default-deny`,
      );
    }
  });

  test("gives Vault the one key of the data stack, in dev and prod; operators unseal in local", () => {
    for (const name of ["dev", "prod"]) {
      const [statement] = stack(name, "platform").policy("aws_iam_policy", undefined).Statement;
      expect(statement).toMatchObject({
        Action: ["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt"],
        Resource: "${data.terraform_remote_state.data.outputs.vault_unseal_key_arn}",
      });
    }
    expect(stack("local", "platform").types).not.toContain("aws_iam_role");
  });

  test("takes charts and images from a mirror, and the operator's own values last", () => {
    const prod = environment("prod");
    const mirrored = synthApp(
      (app) =>
        void composePlatform(app, {
          ...prod,
          charts: { mirror: { kind: "folder", path: "mirror" }, imageRegistry: "registry.example.com" },
          platform: {
            ...prod.platform,
            vault: { ...prod.platform.vault, values: { server: { logLevel: "debug" } } },
          },
        }),
    )["platform"] as Template;
    const vault = mirrored.resource("helm_release", "vault_server_release");
    expect([vault["chart"], vault["repository"]]).toEqual(["../../../mirror/vault-0.34.1.tgz", undefined]);
    const values = JSON.stringify(vault["values"]);
    for (const part of ["logLevel", "registry.example.com/hashicorp/vault"]) expect(values).toContain(part);
  });
});

describe("logical ids", () => {
  const addresses = (template: Template): string[] =>
    Object.entries(template.json["resource"] ?? {})
      .flatMap(([type, resources]) => Object.keys(resources).map((name) => `${type}.${name}`))
      .sort();

  test("say the path, so that a reviewer can read them", () => {
    for (const [name, id] of everyStack) {
      for (const blocks of Object.values(stack(name, id).json["resource"] ?? {})) {
        for (const [logicalId, block] of Object.entries(blocks)) {
          const { path } = (block["//"] as { metadata: { path: string } }).metadata;
          expect(logicalId).toBe(path.split("/").slice(1).join("_"));
        }
      }
    }
  });

  test("of the resources that hold data are these, whatever happens to the code: a new one replaces the thing", () => {
    const holdsData = /^aws_(s3_bucket|db_instance|kms_key|ecr_repository|eks_cluster|vpc)\./;
    const held = ["network", "data", "cluster"].flatMap((id) =>
      addresses(stack("prod", id))
        .filter((address) => holdsData.test(address))
        .map((address) => `${id}: ${address}`),
    );
    expect(held).toEqual([
      "network: aws_vpc.network_vpc",
      "data: aws_db_instance.database_instance",
      "data: aws_ecr_repository.api-images_repository",
      "data: aws_ecr_repository.dagster-images_repository",
      "data: aws_kms_key.backup-key_key",
      "data: aws_kms_key.database-key_key",
      "data: aws_kms_key.products-key_key",
      "data: aws_kms_key.vault-unseal-key_key",
      "data: aws_s3_bucket.backups_bucket",
      "data: aws_s3_bucket.products_bucket",
      "cluster: aws_eks_cluster.eks_cluster",
      "cluster: aws_kms_key.eks_secrets-key_key",
    ]);
  });

  test("stay when an Availability Zone is added: nothing that existed changes but lists of all zones", () => {
    const two = environment("dev");
    const three = {
      ...two,
      network: { ...two.network, availabilityZones: [...two.network.availabilityZones, "us-east-2c"] },
    };
    const before = synthApp((app) => void composePlatform(app, two))["network"] as Template;
    const after = synthApp((app) => void composePlatform(app, three))["network"] as Template;
    expect(addresses(after)).toEqual(expect.arrayContaining(addresses(before)));
    const changedResources = addresses(before).filter((address) => {
      const [type = "", name = ""] = address.split(".");
      return JSON.stringify(before.resource(type, name)) !== JSON.stringify(after.resource(type, name));
    });
    expect(changedResources).toEqual(["aws_vpc_endpoint.network_s3-endpoint"]);
  });
});

test("one app can hold several environments, each as it is on its own", () => {
  const together = synthApp((app) => {
    for (const name of environmentNames) composePlatform(app, environment(name), `${name}-`);
  });
  expect(Object.keys(together)).toHaveLength(everyStack.length);
  for (const [name, id] of everyStack) {
    expect(Object.keys(together[`${name}-${id}`]?.json["resource"] ?? {})).toEqual(
      Object.keys(stack(name, id).json["resource"] ?? {}),
    );
  }
});
