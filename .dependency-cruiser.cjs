// The layout as rules: who may import whom. `npm run lint` runs them.
/** @type {import("dependency-cruiser").IConfiguration} */
module.exports = {
  forbidden: [
    {
      name: "lib-knows-no-stack",
      comment:
        "A construct is usable in any stack: it takes what it needs as props, never from a stack, a configuration or the local target.",
      severity: "error",
      from: { path: "^lib/" },
      to: { path: "^(stacks|config|local|main\\.ts|test)" },
    },
    {
      name: "no-reaching-into-another-folder-of-lib",
      comment: "A folder of lib is used through its index.ts only.",
      severity: "error",
      from: { path: "^lib/([^/]+)/" },
      to: { path: "^lib/([^/]+)/", pathNot: ["^lib/$1/", "^lib/[^/]+/index\\.ts$"] },
    },
    {
      name: "lib-from-outside-through-its-index",
      comment:
        "Stacks, configuration and main.ts use a folder of lib through its index.ts only; tests may look inside.",
      severity: "error",
      from: { path: "^(stacks|config|local|main\\.ts)" },
      to: { path: "^lib/", pathNot: "^lib/[^/]+/index\\.ts$" },
    },
    {
      name: "no-provider-index",
      comment:
        "The index of a provider package costs seconds and a gigabyte: import the resource's own folder.",
      severity: "error",
      from: { path: "^(main\\.ts|lib|stacks|config|local|test)" },
      to: { path: "node_modules/@cdktf/provider-[a-z]+/lib/index" },
    },
    {
      name: "stacks-know-no-local-target",
      comment: "What runs the stacks on one machine knows the stacks, not the other way round.",
      severity: "error",
      from: { path: "^(stacks|config|main\\.ts)" },
      to: { path: "^local/" },
    },
    { name: "no-circular", severity: "error", from: {}, to: { circular: true } },
    {
      name: "no-orphans",
      comment: "A file that nothing imports is dead.",
      severity: "error",
      from: { orphan: true, path: "^(lib|stacks|config)/" },
      to: {},
    },
    {
      name: "no-dev-dependency-at-synth",
      comment: "The synth runs with `npm ci --omit=dev`.",
      severity: "error",
      from: { path: "^(main\\.ts|lib|stacks|config)" },
      to: { dependencyTypes: ["npm-dev"] },
    },
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.json" },
  },
};
