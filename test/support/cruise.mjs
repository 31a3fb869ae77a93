// Runs the layout rules over several trees in one process (loading dependency-cruiser takes most of the time).
// Arguments: folders. Prints a JSON list, one item a folder: the names of the broken rules.
import { createRequire } from "node:module";
import { cruise } from "dependency-cruiser";

const { forbidden, options } = createRequire(import.meta.url)("../../.dependency-cruiser.cjs");
const broken = [];
for (const baseDir of process.argv.slice(2)) {
  const { output } = await cruise(["main.ts", "lib", "stacks", "config", "local"], {
    ...options,
    baseDir,
    validate: true,
    ruleSet: { forbidden },
  });
  broken.push([...new Set(output.summary.violations.map(({ rule }) => rule.name))].sort());
}
console.log(JSON.stringify(broken));
