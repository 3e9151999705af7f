import fc from "fast-check";
import { expect, test } from "vitest";
import { beginningOf, scaleOf, ticksOf } from "./shape";

const at = (ms: number) => new Date(Date.UTC(2024, 4, 16) + ms).toISOString();

test("the scale is the longest flow, unless that is more than eight times the middle one", () => {
  expect(scaleOf([10, 20, 60])).toBe(60);
  expect(scaleOf([10, 20, 1000])).toBe(160);
  expect(scaleOf([0, 0])).toBe(1);
  expect(scaleOf([])).toBe(1);
});

test("ticks lie within the width, in order of the events, and no failure is lost among its neighbours", () => {
  fc.assert(
    fc.property(fc.array(fc.record({ ms: fc.integer({ min: 0, max: 60_000 }), failed: fc.boolean() }), { maxLength: 60 }), (list) => {
      const events = list
        .sort((a, b) => a.ms - b.ms)
        .map(({ ms, failed }) => ({ occurredAt: at(ms), outcome: failed ? "failure" : "none" }));
      const ticks = ticksOf(events, at(0), 60_000_000, 200);
      expect(ticks.every(({ x }) => x >= 0 && x <= 200)).toBe(true);
      expect(ticks.filter(({ failed }) => failed).length).toBe(list.filter(({ failed }) => failed).length);
      expect(ticks.map(({ x }) => x)).toEqual(ticks.map(({ x }) => x).sort((a, b) => a - b));
    }),
  );
});

test("a flow began with what a person said, if that came early", () => {
  const events = [
    { actorType: "system", eventType: "automation_run.started" },
    { actorType: "user", eventType: "inbound_message.received" },
  ];
  const quote = (event: { eventType: string }) => event.eventType === "inbound_message.received";
  expect(beginningOf(events, quote)).toBe(events[1]);
  expect(beginningOf(events, () => false)).toBe(events[0]);
  expect(beginningOf([], quote)).toBeUndefined();
});
