// Puts lib/synth/checked around every provider import of this project's code, for esbuild (synth) and jest alike: the synth
// guard compares what a provider class was given with what came out. See lib/synth/checked.ts.
const { join } = require("node:path");

const checkedModule = join(__dirname, "..", "lib", "synth", "checked");
const providerImport = /require\("(@cdktf\/provider-[a-z]+\/lib\/[^"]+)"\)/g;

/** Rewrites the provider imports of CommonJS code. */
exports.checkImports = (code) =>
  code.replace(providerImport, `require(${JSON.stringify(checkedModule)}).checkedProvider(require("$1"))`);

/** esbuild plugin that does the same when the providers are part of the bundle. */
exports.checkedProviders = {
  name: "checked-providers",
  setup(build) {
    build.onResolve({ filter: /^@cdktf\/provider-[a-z]+\/lib\// }, ({ path, importer, pluginData }) =>
      pluginData === "unchecked" || importer.includes("node_modules")
        ? undefined
        : { path, namespace: "checked" },
    );
    build.onLoad({ filter: /.*/, namespace: "checked" }, ({ path }) => ({
      contents: `module.exports = require(${JSON.stringify(checkedModule)}).checkedProvider(require(${JSON.stringify(path)}))`,
      resolveDir: join(__dirname, ".."),
      pluginData: "unchecked",
    }));
  },
};
