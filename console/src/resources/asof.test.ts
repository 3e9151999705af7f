import { describe, expect, test } from "vitest";
import type { LogEvent } from "../api/events";
import { actorLanes, knownAt, momentAt, moments } from "./asof";

const event = (position: number, actorId = "planner") => ({ position, actorType: "agent", actorId }) as LogEvent;
/** Newest first; the event at position 9 came late. */
const events = [event(7), event(9), event(4), event(2)];

describe("what was known at a position", () => {
  test("is what had been recorded up to it, and the rest is counted", () => {
    expect(knownAt(events, 7)).toEqual({ events: [event(7), event(4), event(2)], later: 1, last: event(7) });
    expect(knownAt(events, 5).last).toEqual(event(4));
    expect(knownAt(events, 1)).toEqual({ events: [], later: 4, last: undefined });
    expect(knownAt(events, null).later).toBe(0);
  });

  test("changes at the position of each event", () => {
    const positions = moments(events);
    expect(positions).toEqual([2, 4, 7, 9]);
    expect([null, 9, 8, 7, 3, 1].map((asOf) => momentAt(positions, asOf))).toEqual([3, 3, 2, 2, 0, 0]);
  });
});

describe("the lanes of actors", () => {
  test("are one an actor, the busiest first", () => {
    const { lanes, laneOf } = actorLanes([event(1, "b"), event(2, "a"), event(3, "b")]);
    expect(lanes.map(({ actorId, events: count }) => [actorId, count])).toEqual([["b", 2], ["a", 1]]);
    expect(laneOf).toEqual([0, 1, 0]);
  });

  test("are at most so many, and the last one is then of all others", () => {
    const many = Array.from({ length: 12 }, (_, number) => event(number, `actor ${number}`));
    const { lanes, laneOf } = actorLanes(many, 8);
    expect(lanes).toHaveLength(8);
    expect(lanes[7]).toMatchObject({ key: "others", events: 5 });
    expect(laneOf.filter((lane) => lane === 7)).toHaveLength(5);
  });
});
