import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { buildGraph } from "./graph";
import { madeTrace } from "./made";
import { paceOf, placesIn, playedAt, SPEEDS, timeOrder } from "./play";
import { buildRows } from "./rows";
import { WHOLE_VIEW } from "./entries";

const trace = madeTrace([{ at: 0 }, { cause: 0, at: 5 }, { cause: 1, at: 3 }, { cause: 0, at: 3 }], 1, {});
const graph = buildGraph(trace);

describe("a trace is played", () => {
  test("by time, and causes first where the time is the same", () => {
    const order = timeOrder(graph);
    const times = order.map((node) => graph.nodes[node]?.sinceRootUs);
    expect(times).toEqual([0, 3_000_000, 3_000_000, 5_000_000]);
    expect(order[1]).toBeLessThan(order[2] ?? 0);
  });

  test("so that one row is the present one, and what comes later is marked", () => {
    const order = timeOrder(graph);
    const rows = buildRows(graph, trace, WHOLE_VIEW).filter((row) => row.kind === "event");
    const played = (place: number) => rows.map((row) => playedAt(row, placesIn(order), place));
    expect(played(0).filter((look) => look === "now")).toHaveLength(1);
    expect(played(0).filter((look) => look === "later")).toHaveLength(rows.length - 1);
    expect(played(order.length - 1)).not.toContain("later");
  });

  test("within ten seconds at its own speed, in steps that can be told apart", () =>
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 20_000 }), fc.constantFrom(...SPEEDS), (events, speed) => {
        const pace = paceOf(events, speed);
        expect(pace.everyMs).toBeGreaterThanOrEqual(50);
        expect((events / pace.events) * pace.everyMs).toBeLessThanOrEqual(10_001 / speed);
        expect(pace.everyMs).toBeLessThanOrEqual(800 / speed);
      }),
    ));
});
