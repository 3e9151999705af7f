import { expect, test } from "vitest";
import type { LogEvent } from "../api/events";
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

test("the earlier event comes first, and of one time the one with the smaller position", () => {
  const [one, two] = [event({ position: 2 }), event({ position: 1 })];
  expect(inOrder(one, two)).toEqual([two, one]);
  const after = event({ occurredAt: "2026-01-02T03:04:05.000001Z", position: 1 });
  expect(inOrder(after, one)[0]).toBe(one);
});
