import fc from "fast-check";
import { expect, test } from "vitest";
import { conditionFieldsOf, conditionOf, conditionWords, keyWords, windowSeconds, windowText, type Condition } from "./words";

test("a window survives its text", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 2_678_400 }), (seconds) => {
      expect(windowSeconds(windowText(seconds))).toBe(seconds);
    }),
  );
  expect(windowText(600)).toBe("10m");
  expect(windowText(93_600)).toBe("26h");
  for (const text of ["", "0m", "10", "ten m", "1.5h", "-3m"]) expect(windowSeconds(text)).toBeNull();
});

test("a condition carries only what its kind takes", () => {
  expect(conditionOf({ kind: "match", per: "actor", threshold: "5", window: "10m" })).toEqual({ kind: "match" });
  expect(conditionOf({ kind: "count", per: "", threshold: "5", window: "10m" })).toEqual({ kind: "count", threshold: 5, windowS: 600 });
  expect(conditionOf({ kind: "first_seen", per: "resource", threshold: "5", window: "" })).toEqual({ kind: "first_seen", per: "resource" });
  expect(conditionOf({ kind: "absence", per: "", threshold: "x", window: "soon" })).toEqual({ kind: "absence", windowS: "soon" });
});

test("a condition survives the form", () => {
  const conditions: Condition[] = [
    { kind: "match", per: null, threshold: null, windowS: null },
    { kind: "count", per: "correlation", threshold: 3, windowS: 60 },
    { kind: "first_seen", per: "eventType", threshold: null, windowS: null },
    { kind: "absence", per: null, threshold: null, windowS: 93_600 },
  ];
  for (const condition of conditions) {
    const kept = Object.fromEntries(Object.entries(condition).filter(([, value]) => value !== null));
    expect(conditionOf(conditionFieldsOf(condition))).toEqual(kept);
  }
  expect(conditions.map(conditionWords)).toEqual([
    "at every matching event",
    "3 events within 1m per flow",
    "the first event of an event type",
    "no event for 26h",
  ]);
});

test("the key of an alert reads as one does in the query bar", () => {
  expect(keyWords({ actorType: "agent", actorId: "planner" })).toBe("agent/planner");
  expect(keyWords({})).toBe("");
});
