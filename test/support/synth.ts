import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AwsProvider } from "@cdktf/provider-aws/lib/provider";
import { App, LocalBackend } from "cdktf";
import { loadEnvironment } from "../../config/load";
import type { Environment } from "../../config/schema";
import { PathNamedStack, synthesize } from "../../lib/synth";
import { composePlatform } from "../../stacks";

export type Block = Readonly<Record<string, unknown>>;
export type StackJson = Readonly<Record<string, Record<string, Record<string, Block>>>>;

/** The written JSON of one stack, as OpenTofu gets it. */
export class Template {
  constructor(readonly json: StackJson) {}

  /** Name → block of every resource of a type. */
  resources(type: string): Record<string, Block> {
    return this.json["resource"]?.[type] ?? {};
  }

  /** The one resource of a type, or the one whose name is given. */
  resource(type: string, name?: string): Block {
    const all = this.resources(type);
    const names = name === undefined ? Object.keys(all) : [name];
    const block = all[names[0] ?? ""];
    if (names.length !== 1 || block === undefined) {
      throw new Error(
        `wanted one ${type}${name ? ` called ${name}` : ""}, there are: ${Object.keys(all).join(", ") || "none"}`,
      );
    }
    return block;
  }

  /** A policy argument of a resource, parsed. */
  policy(type: string, name: string | undefined, argument = "policy"): { Statement: Block[] } {
    return JSON.parse(String(this.resource(type, name)[argument]));
  }

  get types(): string[] {
    return Object.keys(this.json["resource"] ?? {}).sort();
  }
}

/** Runs the whole synth, guard included, into a folder of its own and returns the JSON of each stack. */
export function synthApp(build: (app: App) => void): Record<string, Template> {
  const outdir = mkdtempSync(join(tmpdir(), "synth-"));
  try {
    const app = new App({ outdir, stackTraces: false });
    build(app);
    synthesize(app);
    const manifest = JSON.parse(readFileSync(join(outdir, "manifest.json"), "utf8"));
    return Object.fromEntries(
      Object.keys(manifest.stacks).map((id) => [
        id,
        new Template(JSON.parse(readFileSync(join(outdir, "stacks", id, "cdk.tf.json"), "utf8"))),
      ]),
    );
  } finally {
    rmSync(outdir, { recursive: true, force: true });
  }
}

/** A stack with a backend and an AWS provider, for a construct on its own. */
export class TestStack extends PathNamedStack {
  readonly backend = new LocalBackend(this, { path: "test.tfstate" });
  readonly aws = new AwsProvider(this, "aws", { region: "us-east-2" });
}

/** Synthesizes constructs in a stack of their own. */
export function synthStack(build: (stack: TestStack) => void): Template {
  const templates = synthApp((app) => build(new TestStack(app, "test")));
  return templates["test"] as Template;
}

export const environmentNames = ["local", "dev", "prod"] as const;

export const environment = (name: (typeof environmentNames)[number]): Environment =>
  loadEnvironment({ PLATFORM_ENV: name });

/** All stacks of one environment. */
export const synthPlatform = (name: (typeof environmentNames)[number]): Record<string, Template> =>
  synthApp((app) => void composePlatform(app, environment(name)));
