// Writes src/api/schema.d.ts from an OpenAPI document: node scripts/api-types.mjs openapi.json [--check]
// Descriptions, examples and the answers of errors are left out: the client has one shape for every error.
// With --check nothing is written, and the exit code is 1 if the file differs.
import { readFileSync, writeFileSync } from "node:fs";
import openapiTS, { astToString } from "openapi-typescript";

const TARGET = new URL("../src/api/schema.d.ts", import.meta.url);
const HEAD = "// Generated from the server's OpenAPI document by `npm run api-types`. Do not edit.\n\n";
const LEFT_OUT = new Set(["description", "example", "examples", "summary", "title"]);

function trimmed(value, inProperties = false) {
  if (Array.isArray(value)) return value.map((item) => trimmed(item));
  if (value === null || typeof value !== "object") return value;
  const kept = Object.entries(value).filter(([key, inner]) => {
    if (inProperties) return true;
    return !(LEFT_OUT.has(key) || (/^[45]\d\d$/.test(key) && inner !== null && typeof inner === "object"));
  });
  return Object.fromEntries(kept.map(([key, inner]) => [key, trimmed(inner, key === "properties")]));
}

const document = trimmed(JSON.parse(readFileSync(process.argv[2], "utf8")));
const text = HEAD + astToString(await openapiTS(document, { alphabetize: true }));
if (process.argv.includes("--check")) {
  if (readFileSync(TARGET, "utf8") !== text) {
    console.error("src/api/schema.d.ts differs from the OpenAPI document. Run `make api-types` and commit it.");
    process.exit(1);
  }
} else {
  writeFileSync(TARGET, text);
}
