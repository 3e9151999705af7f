import fc from "fast-check";
import { expect, test } from "vitest";
import { fieldsOf, filtersOf, filterWords, NO_FILTERS } from "./filters";

test("types are parted by blanks and commas, ids of actors only by lines", () => {
  expect(filtersOf({ ...NO_FILTERS, eventType: "action_run.*, order.shipped", actorId: "Ana Silva\nplanner" })).toEqual({
    eventType: ["action_run.*", "order.shipped"],
    actorId: ["Ana Silva", "planner"],
  });
  expect(filtersOf({ ...NO_FILTERS, outcome: "failure", resourceType: " " })).toEqual({ outcome: "failure" });
});

test("filters survive the form", () => {
  const id = fc.string({ minLength: 1 }).filter((text) => !text.includes("\n") && text.trim() === text && text !== "");
  const type = fc.constantFrom("action_run.*", "order.shipped", "a.b");
  fc.assert(
    fc.property(fc.uniqueArray(id, { maxLength: 3 }), fc.uniqueArray(type, { maxLength: 3 }), (actorIds, types) => {
      const one = (values: string[]) => (values.length === 1 ? (values[0] as string) : values);
      const filters = { ...(types.length && { eventType: one(types) }), ...(actorIds.length && { actorId: one(actorIds) }) };
      expect(filtersOf(fieldsOf(filters))).toEqual(filters);
    }),
  );
});

test("filters read as names and alternatives", () => {
  expect(filterWords({ outcome: "failure", eventType: ["a.b", "c.d"] })).toEqual([
    { name: "type", values: ["a.b", "c.d"] },
    { name: "outcome", values: ["failure"] },
  ]);
});
