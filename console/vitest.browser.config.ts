import { defineConfig } from "vitest/config";

// Tests in a real Chromium against a real server, one after the other: `npm run test:browser`.
export default defineConfig({
  test: {
    include: [process.env.WHENCE_PICTURES_RUN ? "browser/pictures.ts" : "browser/**/*.browser.ts"],
    globalSetup: "browser/server.ts",
    environment: "node",
    fileParallelism: false,
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
