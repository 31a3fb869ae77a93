import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Alerting, alertmanagerConfig } from "../../lib/monitoring";
import { everything } from "../support/alerting";
import { toolPaths } from "./support/api-server";

let path = "";
let folder = "";

beforeAll(() => {
  path = String(toolPaths(["amtool"])["amtool"]);
  folder = mkdtempSync(join(tmpdir(), "alertmanager-"));
}, 1_800_000);

afterAll(() => rmSync(folder, { recursive: true, force: true }));

const amtool = (...args: string[]) => spawnSync(path, args, { encoding: "utf8", cwd: folder });

/** A configuration in a file; JSON is YAML. */
const fileOf = (config: unknown): string => {
  const file = join(folder, "alertmanager.yml");
  writeFileSync(file, JSON.stringify(config));
  return file;
};

describe("amtool of the version that the chart runs", () => {
  test.each<[string, Alerting]>([
    ["nobody", {}],
    ["Slack", { slack: { channel: "#dagster-alerts" } }],
    ["Slack, e-mail and PagerDuty", (({ deadMansSwitch: _, ...rest }) => rest)(everything)],
    ["all receivers", everything],
  ])("accepts the configuration for %s, and routes by severity", (_name, alerting) => {
    const file = fileOf(alertmanagerConfig(alerting));
    const { status, stdout, stderr } = amtool("check-config", file);
    expect([status, stdout + stderr]).toEqual([0, expect.stringContaining("SUCCESS")]);
    const routed = (...labels: string[]) =>
      amtool("config", "routes", "test", `--config.file=${file}`, ...labels).stdout.trim();
    expect([
      routed("severity=critical", "alertname=X"),
      routed("severity=warning", "alertname=X"),
      routed("severity=info", "alertname=X"),
      routed("severity=none", "alertname=Watchdog"),
    ]).toEqual(["critical", "warning", "null", alerting.deadMansSwitch ? "dead-mans-switch" : "null"]);
  });

  test("refuses a route to a receiver that does not exist, so the check can fail", () => {
    const file = fileOf({ route: { receiver: "nobody" }, receivers: [{ name: "somebody" }] });
    expect(amtool("check-config", file).status).not.toBe(0);
  });
});
