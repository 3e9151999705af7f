import fc from "fast-check";
import { expect, test } from "vitest";
import type { LogEvent } from "../api/events";
import { listRows, movedTo } from "./rows";

const event = (occurredAt: string, correlationId: string) => ({ occurredAt, correlationId }) as LogEvent;

test("a line stands only where the flow changes, and a day where the day does", () =>
  expect(
    listRows([event("2024-05-16T00:01:00Z", "a"), event("2024-05-16T00:00:00Z", "a"), event("2024-05-15T23:59:00Z", "b")], "utc").map(
      ({ beginsFlow, day }) => [beginsFlow, day],
    ),
  ).toEqual([[false, "16 May 2024"], [false, null], [true, "15 May 2024"]]));

test("the focus stays in the list", () =>
  fc.assert(
    fc.property(fc.constantFrom("ArrowDown", "ArrowUp", "PageDown", "PageUp", "Home", "End"), fc.nat(50), fc.integer({ min: 1, max: 50 }), (key, place, count) => {
      const next = movedTo(key, place % count, count, 10);
      expect(next).toBeGreaterThanOrEqual(0);
      expect(next).toBeLessThan(count);
    }),
  ));

test("other keys do not move it", () => expect([movedTo("x", 0, 5, 5), movedTo("End", 0, 0, 5)]).toEqual([null, null]));
