import fc from "fast-check";
import { expect, test } from "vitest";
import type { LogEvent } from "../api/events";
import { pausesOf, touchedIn } from "./recent";

const event = (resourceId: string, outcome: "success" | "failure" = "success") => ({ resourceType: "action_run", resourceId, outcome }) as LogEvent;

test("each resource is listed once, by its newest event, with its failures", () => {
  const touched = touchedIn([event("a"), event("b", "failure"), event("a", "failure"), event("a")]);
  expect(touched.map(({ resourceId, events, failures }) => [resourceId, events, failures])).toEqual([
    ["a", 3, 1],
    ["b", 1, 1],
  ]);
});

test("no event is counted twice or left out", () => {
  fc.assert(
    fc.property(fc.array(fc.constantFrom("a", "b", "c")), (ids) => {
      expect(touchedIn(ids.map((id) => event(id))).reduce((sum, { events }) => sum + events, 0)).toBe(ids.length);
    }),
  );
});

test("a pause is what is long among its neighbours, and at least ten seconds", () => {
  const at = (s: number) => new Date(Date.UTC(2024, 4, 16) + s * 1000).toISOString();
  expect(pausesOf([at(3606), at(6), at(4), at(2), at(0)])).toEqual([3_600_000_000, null, null, null, null]);
  expect(pausesOf([at(4), at(0)])).toEqual([null, null]);
  expect(pausesOf([at(40), at(0)])).toEqual([40_000_000, null]);
  expect(pausesOf([])).toEqual([]);
});
