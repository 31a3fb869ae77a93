/** Applies to a real emulator: one after the other, in copies of the tree. `make test-local` runs it. */
/** @type {import("jest").Config} */
module.exports = {
  rootDir: "../..",
  testEnvironment: "node",
  testMatch: ["<rootDir>/test/local/**/*.test.ts"],
  transform: { "\\.ts$": "<rootDir>/test/support/transform.cjs" },
  testTimeout: 600_000,
  maxWorkers: 1,
};
