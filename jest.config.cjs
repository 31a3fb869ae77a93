/** Unit tests: everything that needs no server. The applies have their own configuration (test/local/jest.config.cjs). */
/** @type {import("jest").Config} */
module.exports = {
  testEnvironment: "node",
  testMatch: ["<rootDir>/test/**/*.test.ts"],
  testPathIgnorePatterns: ["/node_modules/", "<rootDir>/test/local/"],
  transform: { "\\.ts$": "<rootDir>/test/support/transform.cjs" },
  // each test file loads cdktf anew: few files, two at a time
  maxWorkers: 2,
};
