import { defineConfig } from "vitest/config";

// Tests in a real Chromium against a real server, one after the other: `npm run test:browser`. WHENCE_BROWSER_RUN names
// another of the files: pictures, tasks or budgets.
const other = process.env.WHENCE_BROWSER_RUN;

export default defineConfig({
  test: {
    include: [other ? `browser/${other}.ts` : "browser/**/*.browser.ts"],
    ...(other === "budgets" ? {} : { globalSetup: "browser/server.ts" }),
    environment: "node",
    fileParallelism: false,
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
