import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

// The server answers the page under any root path and sets <base href>, so every address in the build is relative.
// Nothing is inlined, since the page's Content-Security-Policy allows neither inline scripts nor data: fonts.
export default defineConfig({
  base: "./",
  plugins: [react()],
  build: {
    outDir: "../src/whence/api/static/console",
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: true,
  },
  server: {
    fs: { allow: [".", "../verifier"] },
    proxy: Object.fromEntries(
      ["/api", "/openapi.json", "/livez", "/readyz"].map((path) => [
        path,
        { target: process.env.WHENCE_URL ?? "http://127.0.0.1:8700", changeOrigin: false },
      ]),
    ),
  },
  test: { include: ["src/**/*.test.ts", "src/**/*.test.tsx"], environment: "node" },
});
