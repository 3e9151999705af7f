import fc from "fast-check";
import { expect, test } from "vitest";
import { stacked } from "./stack";

test("failures lie at the base and are at least 3 px high", () => {
  const parts = stacked([900, 1, 99], ["success", "failure", "none"], 1000, 40);
  expect(parts.map(({ key }) => key)).toEqual(["failure", "success", "none"]);
  expect(parts[0]?.height).toBeGreaterThanOrEqual(2.5);
  expect((parts[0]?.y ?? 0) + (parts[0]?.height ?? 0)).toBe(40);
});

test("a bar never leaves its picture, and nothing that was counted is missing", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(1000), { minLength: 3, maxLength: 3 }), (counts) => {
      const parts = stacked(counts, ["failure", "none", "success"], counts.reduce((a, b) => a + b, 0), 40);
      expect(parts.length).toBe(counts.filter((count) => count > 0).length);
      expect(parts.every(({ y }) => y >= -1e-9)).toBe(true);
    }),
  );
});
