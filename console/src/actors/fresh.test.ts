import { describe, expect, test } from "vitest";
import { LOOKED_UP, newValues } from "./fresh";

const facet = (names: readonly string[], more = 0) => ({ values: names.map((value) => ({ value, count: 1, failures: 0 })), more });

describe("what an actor did for the first time", () => {
  test("is what it has in the period and not before it", () => {
    expect(newValues(facet(["book", "think"]), facet(["think"]))).toEqual({ values: ["book"], unknown: 0 });
    expect(newValues(facet(["book"]), null).values).toEqual(["book"]);
  });

  test("is looked up for so many values, and the others are counted", () => {
    const many = facet(Array.from({ length: LOOKED_UP + 3 }, (_, number) => `tool ${number}`), 4);
    const { values, unknown } = newValues(many, null);
    expect(values).toHaveLength(LOOKED_UP);
    expect(unknown).toBe(7);
  });
});
