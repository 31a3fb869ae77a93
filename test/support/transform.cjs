// swc for speed, plus the checked provider imports that the synth has, so that the guard sees the same in tests.
const { readFileSync } = require("node:fs");
const { join } = require("node:path");
const { createTransformer } = require("@swc/jest");
const { checkImports } = require("../../scripts/checked-imports.cjs");

const swc = createTransformer({
  jsc: { parser: { syntax: "typescript" }, target: "es2022" },
  module: { type: "commonjs", ignoreDynamic: true },
});
const version =
  readFileSync(join(__dirname, "../../scripts/checked-imports.cjs"), "utf8") +
  readFileSync(__filename, "utf8");

module.exports = {
  process(source, path, options) {
    const transformed = swc.process(source, path, options);
    return { ...transformed, code: checkImports(transformed.code) };
  },
  getCacheKey: (source, path, options) => swc.getCacheKey(source + version, path, options),
};
