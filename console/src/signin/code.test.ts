import { expect, test } from "vitest";
import { codeIn, placeAfter } from "./code";

test("a code is read from the fragment, and nothing else is", () => {
  expect(codeIn("#code=abc-_1")).toBe("abc-_1");
  expect(codeIn("#code=")).toBeNull();
  expect(codeIn("")).toBeNull();
  expect(codeIn("#other=abc")).toBeNull();
});

test("after the sign-in one comes back to the console, never to another site", () => {
  expect(placeAfter("/e/1?q=type%3Aa#x")).toBe("/e/1?q=type%3Aa#x");
  expect(placeAfter(undefined)).toBe("/explore");
  for (const back of ["//evil.example", "/\\evil.example", "https://evil.example", "javascript:alert(1)", "/\t/evil.example", "/login?back=/x"]) {
    expect(placeAfter(back)).toBe("/explore");
  }
});
