import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import { freePort, listing, ROOT, Sandbox } from "./support/sandbox";

/** Wrong use, wrong settings, missing tools: everything that must stop before anything is started. */
let sandbox: Sandbox;

beforeAll(async () => {
  sandbox = new Sandbox(await freePort());
});

afterAll(() => sandbox.remove());

describe("help", () => {
  it.each([
    [["--help"], /^Usage: platform \[options\] \[command\]/],
    [["up", "--help"], /apply every stack/],
    [["plan", "--help"], /exit 0 nothing, 2 changes/],
    [["down", "--help"], /--discard/],
    [["status", "--help"], /exit 69/],
    [["logs", "--help"], /--follow/],
    [["env", "--help"], /shell exports/],
  ])("platform %j", async (args, expected) => {
    const { code, stdout } = await sandbox.platform(args);
    expect(stdout).toMatch(expected);
    expect(stdout).toContain("Exit codes:\n  0    done");
    expect(code).toBe(0);
  });

  it("make help names every target of the Makefile", () => {
    const makefile = readFileSync(join(ROOT, "Makefile"), "utf8");
    const targets = /^\.PHONY: (.*)$/m.exec(makefile)?.[1]?.split(" ") ?? [];
    const help = execFileSync("make", ["-s", "help"], { cwd: ROOT, encoding: "utf8" });
    expect(targets.length).toBeGreaterThan(10);
    for (const target of targets) expect(help).toMatch(new RegExp(`^  make ${target} +\\S`, "m"));
  });
});

describe("wrong use ends with 64 and names the setting", () => {
  it.each([
    [["nonsense"], {}, "unknown command 'nonsense'"],
    [["up", "--nonsense"], {}, "unknown option '--nonsense'"],
    [["logs", "--lines", "few"], {}, "--lines few is not a number of lines"],
    [["up"], { LOCAL_AWS_PORT: "80" }, "LOCAL_AWS_PORT=80 is not a port"],
    [["up"], { LOCAL_AWS_PORT: "65536" }, "it must be a whole number from 1024 to 65535"],
    [["plan"], { LOCAL_AWS_PORT: "4566x" }, "LOCAL_AWS_PORT=4566x is not a port"],
    [["up"], { PLATFORM_ENV: "prod" }, "PLATFORM_ENV=prod, but this command works on the local target only"],
    [
      ["down"],
      { PLATFORM_ENV: "dev" },
      "it talks to the AWS emulator on 127.0.0.1 and never to an AWS account",
    ],
    [["up"], { TOFU: "/bin/false" }, "TOFU=/bin/false cannot be used"],
    [["up"], { AWS_PROVIDER_DIR: "/nowhere" }, "AWS_PROVIDER_DIR=/nowhere holds no AWS provider"],
  ])("platform %j with %j", async (args, env, message) => {
    const { code, stderr } = await sandbox.platform(args, env);
    expect(stderr).toContain(message);
    expect(stderr).not.toMatch(/^ {4}at /m);
    expect(code).toBe(64);
  });

  it("shows a stack trace only when asked", async () => {
    const { stderr } = await sandbox.platform(["--verbose", "up"], { LOCAL_AWS_PORT: "80" });
    expect(stderr).toMatch(/^ {4}at /m);
  });
});

describe("missing tools end with 69 and say what to install", () => {
  /** A PATH that holds only what is named. */
  const pathWith = (folder: string, ...names: string[]): string => {
    const bin = join(sandbox.folder, folder);
    mkdirSync(bin);
    for (const name of names)
      symlinkSync(execFileSync("which", [name], { encoding: "utf8" }).trim(), join(bin, name));
    return bin;
  };

  it("neither OpenTofu nor Go", async () => {
    const env = {
      PATH: pathWith("no-go", "node", "sh", "env"),
      XDG_CACHE_HOME: join(sandbox.folder, "empty-cache"),
    };
    const { code, stderr } = await sandbox.platform(["up"], env);
    expect(stderr).toContain("error:  OpenTofu is not available");
    expect(stderr).toContain("there is no Go on PATH");
    expect(stderr).toContain("https://opentofu.org/docs/intro/install/");
    expect(code).toBe(69);
  });

  it("a Go that is too old", async () => {
    const bin = pathWith("old-go", "node", "sh", "env");
    writeFileSync(join(bin, "go"), '#!/bin/sh\necho "go version go1.21.3 linux/amd64"\n', { mode: 0o755 });
    const env = { PATH: bin, XDG_CACHE_HOME: join(sandbox.folder, "empty-cache") };
    const { code, stderr } = await sandbox.platform(["up"], env);
    expect(stderr).toMatch(/Go is 1\.21\.3, 1\.25\.\d+ or later is needed/);
    expect(code).toBe(69);
  });

  it("a Python without venv", async () => {
    const python = join(sandbox.folder, "python-without-venv");
    writeFileSync(python, "#!/bin/sh\necho True\nexit 1\n", { mode: 0o755 });
    const { code, stderr } = await sandbox.platform(["up"], { PYTHON: python });
    expect(stderr).toContain("the venv module is missing");
    expect(stderr).toContain("apt-get install python3-venv");
    expect(code).toBe(69);
  });
});

describe("a port in use", () => {
  let other: Server;

  beforeAll((done) => {
    other = createServer().listen(sandbox.port, "127.0.0.1", done);
  });
  afterAll((done) => {
    other.close(done);
  });

  it("names who holds it, and the setting that moves us", async () => {
    const { code, stderr } = await sandbox.platform(["up"]);
    expect(stderr).toContain(`error:  port ${sandbox.port} on 127.0.0.1 is in use`);
    expect(stderr).toContain(`(process ${process.pid}) listens on it`);
    expect(stderr).toContain(`LOCAL_AWS_PORT=${sandbox.port + 1} make up`);
    expect(code).toBe(69);
  });
});

describe("nothing was started", () => {
  it("status says so and ends with 69", async () => {
    const { code, stdout } = await sandbox.platform(["status"]);
    expect(stdout).toContain("emulator  not running");
    expect(stdout).toContain("stacks    none applied");
    expect(code).toBe(69);
  });

  it("logs says that there is none", async () => {
    const { code, stderr } = await sandbox.platform(["logs"]);
    expect(stderr).toContain("error:  there is no log");
    expect(code).toBe(69);
  });

  it("plan names every resource as pending without asking the emulator", async () => {
    const { code, stdout } = await sandbox.platform(["plan"]);
    expect(stdout).toMatch(/^network +create +aws_vpc\./m);
    expect(stdout).toMatch(/^cluster +create +aws_eks_cluster\./m);
    expect(code).toBe(2);
  });

  it("a wrong configuration reaches the user as the synth says it", async () => {
    const undo = sandbox.edit("config/local.ts", /imagesKept: \d+/, "imagesKept: 0");
    const { code, stderr } = await sandbox.platform(["plan"]);
    undo();
    expect(stderr).toContain("error:  the configuration could not be synthesized");
    expect(stderr).toContain("imagesKept");
    expect(code).toBe(1);
  });

  it("down does nothing, and leaves neither the work folder nor a file in the home folder", async () => {
    expect(await sandbox.platform(["down"])).toMatchObject({ code: 0 });
    expect(listing(sandbox.tree)).not.toContain(".local");
    expect(listing(sandbox.home)).toEqual([]);
  });
});
