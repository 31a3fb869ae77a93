// Synthesizes ENVIRONMENTS copies of prod in one app and prints how long the synth and the guard took, in milliseconds.
import { App } from "cdktf";
import { loadEnvironment } from "../../config/load";
import { applyConstructDependencies, guardOutput } from "../../lib/synth";
import { composePlatform } from "../../stacks";

const started = performance.now();
const app = new App({ stackTraces: false });
const prod = loadEnvironment({ PLATFORM_ENV: "prod" });
for (let index = 0; index < Number(process.env["ENVIRONMENTS"] ?? 1); index++) {
  composePlatform(app, prod, `e${index}-`);
}
applyConstructDependencies(app);
app.synth();
const synthesized = performance.now();
guardOutput(app);
const guarded = performance.now();
console.log(JSON.stringify({ synth: synthesized - started, guard: guarded - synthesized }));
