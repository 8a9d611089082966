import { defineConfig } from "vitest/config";

/** Tests that drive a real Chromium against the built page: one at a time, so that times mean something. */
export default defineConfig({
  test: {
    include: ["tests/browser/**/*.test.ts"],
    environment: "node",
    fileParallelism: false,
    testTimeout: 240_000,
    hookTimeout: 120_000,
    expect: { poll: { timeout: 60_000 } },
  },
});
