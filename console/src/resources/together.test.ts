import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { LogEvent } from "../api/events";
import { besideOf, besideText, BESIDE_MAX, causeGuides, mergedByTime, relatedTo } from "./together";

const id = (digit: number) => `${String(digit).repeat(8)}-1111-4111-8111-111111111111`;
const own = { resourceType: "action_run", resourceId: id(1) };

describe("the resources beside one", () => {
  test("are those that the address names, each once and not itself", () => {
    const text = `chat_thread/${id(2)},action_run/${id(1)},chat_thread/${id(2).toUpperCase()}`;
    expect(besideOf(text, own)).toEqual({ names: [{ resourceType: "chat_thread", resourceId: id(2) }], tooMany: 0, unreadable: 0 });
  });

  test("are so many at most, and the others are counted, as is what names nothing", () => {
    const names = [2, 3, 4, 5, 6].map((digit) => ({ resourceType: "artifact", resourceId: id(digit) }));
    const found = besideOf(`${besideText(names)},<script>,artifact/7`, own);
    expect(found).toEqual({ names: names.slice(0, BESIDE_MAX), tooMany: 2, unreadable: 2 });
    expect(besideText([])).toBeUndefined();
  });
});

const event = (id: string, second: number, causationId: string | null = null) =>
  ({ id, occurredAt: `2024-05-15T20:00:${String(Math.floor(second)).padStart(2, "0")}${second % 1 ? ".500000" : ""}Z`, position: 1, causationId }) as LogEvent;
const ids = (events: readonly LogEvent[]) => events.map(({ id }) => id);

describe("the events of several resources", () => {
  test("are one list, newest first", () => {
    const merged = mergedByTime([{ events: [event("d", 9.5), event("b", 5)], hasMore: false }, { events: [event("c", 9), event("a", 1)], hasMore: false }]);
    expect(ids(merged.events)).toEqual(["d", "c", "b", "a"]);
    expect(merged).toMatchObject({ laneOf: [0, 1, 0, 1], held: 0 });
  });

  test("are shown as far back as all of them were read", () => {
    const long = { events: [event("d", 9), event("b", 5)], hasMore: true };
    const short = { events: [event("c", 7), event("a", 1)], hasMore: false };
    const merged = mergedByTime([long, short]);
    expect(ids(merged.events)).toEqual(["d", "c", "b"]);
    expect(merged.held).toBe(1);
  });

  test("never leave a gap that a later page fills", () => {
    fc.assert(
      fc.property(fc.array(fc.array(fc.nat(59)), { minLength: 1, maxLength: 4 }), fc.nat(5), (seconds, read) => {
        const whole = seconds.map((each, lane) => ({ events: [...each].sort((a, b) => b - a).map((second, at) => event(`${lane}.${at}`, second)), hasMore: false }));
        const part = whole.map(({ events }) => ({ events: events.slice(0, read + 1), hasMore: events.length > read + 1 }));
        const times = ({ events }: { events: LogEvent[] }) => events.map(({ occurredAt }) => occurredAt);
        const merged = mergedByTime(part);
        // Of events at one moment, those that were not read yet may come among them.
        const oldest = merged.events.at(-1)?.occurredAt;
        expect(times(merged).filter((time) => time !== oldest)).toEqual(times(mergedByTime(whole)).filter((time) => oldest !== undefined && time > oldest));
        expect(merged.events.length + merged.held).toBe(part.reduce((sum, { events }) => sum + events.length, 0));
      }),
    );
  });
});

test("of a flow the resources with a cause from or to those shown come first", () => {
  const of = (one: LogEvent, digit: number) => ({ ...one, resourceType: "artifact", resourceId: id(digit) });
  const events = [of(event("e", 5), 4), of(event("d", 4), 4), of(event("c", 3, "b"), 3), of(event("b", 2, "a"), 1), of(event("a", 1), 2)];
  const found = relatedTo([{ resourceType: "artifact", resourceId: id(1) }], events);
  expect(found.map(({ resourceId }) => resourceId)).toEqual([id(3), id(2), id(4)]);
});

describe("the causes between lanes", () => {
  test("lead up in the lane of the cause, past other events, to the row of the effect", () => {
    // c (lane 1) came of a (lane 0); b (lane 0) causes nothing.
    const guides = causeGuides([event("c", 3, "a"), event("b", 2), event("a", 1)], [1, 0, 0]);
    expect(guides).toEqual([
      { from: 0, leads: false, passes: [], below: [0] },
      { from: null, leads: false, passes: [0], below: [0] },
      { from: null, leads: true, passes: [], below: [] },
    ]);
  });

  test("are drawn only where the cause is among the rows, and below its effect", () => {
    const guides = causeGuides([event("late", 3), event("effect", 2, "late"), event("alone", 1, "missing")], [0, 0, 0]);
    expect(guides.map(({ from }) => from)).toEqual([null, null, null]);
  });
});
