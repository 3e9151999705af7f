import { expect, test } from "vitest";
import type { LogEvent } from "../api/events";
import type { components } from "../api/schema";
import { fieldRows, inOrder } from "./fields";

const event = (changes: Partial<LogEvent>): LogEvent =>
  ({
    id: "1",
    eventType: "decision.made",
    outcome: "none",
    actorType: "agent",
    actorId: "planner",
    resourceType: "decision",
    resourceId: "r",
    correlationId: "c",
    causationId: null,
    occurredAt: "2026-01-02T03:04:05Z",
    recordedAt: "2026-01-02T03:04:06Z",
    position: 1,
    ...changes,
  }) as LogEvent;

test("the fields of two events say which of them differ", () => {
  const rows = fieldRows(event({}), event({ actorId: "runner", causationId: "x" }));
  expect(rows.filter((row) => !row.isSame)).toEqual([
    { name: "Actor", one: "agent/planner", other: "agent/runner", isSame: false },
    { name: "Cause", one: "none", other: "x", isSame: false },
  ]);
  expect(fieldRows(event({}), event({})).every((row) => row.isSame)).toBe(true);
});

type FieldOfEvent = keyof components["schemas"]["Event"];

/** Whether a comparison shows a field of the API's events. The type check refuses a field that is missing here. */
const IS_SHOWN: Record<FieldOfEvent, boolean> = {
  actorId: true,
  actorType: true,
  causationId: true,
  correlationId: true,
  erasedAt: false, // that of a payload, which has a table of its own
  eventType: true,
  id: false, // never the same
  occurredAt: true,
  outcome: true,
  payload: false, // has a table of its own
  position: true,
  recordedAt: true,
  resourceId: true,
  resourceType: true,
  tenantId: false, // always the same
};

test.each(Object.entries(IS_SHOWN))("a comparison shows %s: %s", (name, isShown) => {
  const rows = fieldRows(event({}), event({ [name]: "another" }));
  expect(rows.filter((row) => !row.isSame)).toHaveLength(isShown ? 1 : 0);
});

test("the earlier event comes first, and of one time the one with the smaller position", () => {
  const [one, two] = [event({ position: 2 }), event({ position: 1 })];
  expect(inOrder(one, two)).toEqual([two, one]);
  const after = event({ occurredAt: "2026-01-02T03:04:05.000001Z", position: 1 });
  expect(inOrder(after, one)[0]).toBe(one);
});
