import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { blastOf } from "./blast";
import { WHOLE_VIEW, type View } from "./entries";
import { axisOf, compressed } from "./gaps";
import { at, buildGraph, isFailure, type Trace } from "./graph";
import { buildGuides, COLUMNS_MAX, joinedTo } from "./guides";
import { buildLanes } from "./lanes";
import { idOf, madeTrace, type Made } from "./made";
import { buildRows } from "./rows";
import { summaryOf, summaryText } from "./summary";
import { markdownTimeline, mermaidTimeline } from "./timeline";
import { barsOf, barWidth } from "./words";

const node = fc.record({
  near: fc.nat(6),
  at: fc.nat(4000),
  type: fc.constantFrom("action_run.started", "action_run.completed", "schedule.fired", "inbound_message.received"),
  actor: fc.constantFrom("ana", "gpt-4o"),
  label: fc.constantFrom("", "think", "book"),
  outcome: fc.constantFrom("none" as const, "none" as const, "success" as const, "success" as const, "failure" as const),
  flow: fc.constantFrom("flow-1", "flow-1", "flow-1", "mail-77"),
  resource: fc.constantFrom("a", "b"),
  absent: fc.constantFrom(0, 0, 0, 3),
});

/** Any tree in the server's order: every node after its cause, each followed by all that it led to. */
const traces: fc.Arbitrary<Trace> = fc
  .tuple(fc.array(node, { minLength: 1, maxLength: 60 }), fc.nat(), fc.boolean())
  .map(([nodes, focus, hasCause]) => {
    const path: number[] = [];
    const made = nodes.map(({ near, ...one }, index): Made => {
      while (path.length > 1 && near > 0 && path.length > near) path.splice(-Math.min(near, path.length - 1));
      const cause = path[path.length - 1];
      path.push(index);
      return cause === undefined ? { ...one, ...(hasCause ? { causationId: "gone" } : {}) } : { ...one, cause };
    });
    return madeTrace(made, focus % made.length, { missing: hasCause ? ["gone"] : [] });
  });

const views: fc.Arbitrary<View> = fc.record({
  mode: fc.constantFrom("all" as const, "failures" as const, "blast" as const),
  above: fc.nat(9),
  unfoldAll: fc.boolean(),
  unfolded: fc.subarray(Array.from({ length: 60 }, (_, index) => idOf(index)), { maxLength: 8 }).map(
    (ids) => new Set(ids.flatMap((id) => [`calm:${id}`, `siblings:${id}`, `portal:${id}`, `run:${id}`])),
  ),
});

const cases = fc.tuple(traces, views).map(([trace, view]) => {
  const graph = buildGraph(trace);
  return { trace, view, graph, rows: buildRows(graph, trace, view) };
});

describe("any trace", () => {
  test("every node is in exactly one row, or counted by exactly one fold", () =>
    fc.assert(
      fc.property(cases, ({ graph, rows }) => {
        const shown = rows.flatMap((row) => row.nodes).sort((one, other) => one - other);
        expect(shown).toEqual(graph.nodes.map((_, index) => index));
      }),
    ));

  test("no failure and not the selected event are in a fold", () =>
    fc.assert(
      fc.property(cases, ({ graph, rows }) => {
        for (const row of rows) {
          if (row.kind === "event" && row.repeats === 1) continue;
          for (const index of row.nodes) expect(isFailure(at(graph.nodes, index)) || index === graph.focus).toBe(false);
        }
      }),
    ));

  test("a row comes after the row of its cause", () =>
    fc.assert(
      fc.property(cases, ({ graph, rows }) => {
        const rowOf = new Map(rows.flatMap((row, index) => row.nodes.map((one) => [one, index] as const)));
        for (const [index, row] of rowOf) {
          const parent = at(graph.parents, index);
          if (parent >= 0) expect(rowOf.get(parent)).toBeLessThanOrEqual(row);
        }
      }),
    ));

  test("causes and the selected event lie on the first level, and levels grow by one at most", () =>
    fc.assert(
      fc.property(cases, ({ rows, view }) => {
        for (const row of rows) if (row.relation === "cause" || row.relation === "focus") expect(row.level).toBe(0);
        rows.forEach((row, index) => {
          const last = rows[index - 1];
          if (view.unfoldAll && last !== undefined) expect(row.level - last.level).toBeLessThanOrEqual(1);
        });
      }),
    ));

  test("keys are unique", () =>
    fc.assert(
      fc.property(cases, ({ rows }) => {
        expect(new Set(rows.map((row) => row.key)).size).toBe(rows.length);
      }),
    ));

  test("what the answer left out is counted exactly", () =>
    fc.assert(
      fc.property(cases, ({ graph, trace }) => {
        const left = graph.absent.reduce((sum, count) => sum + count, 0);
        expect(left + graph.nodes.length).toBe(trace.summary.events);
      }),
    ));

  test("lines lead down only, stay in their columns, and meet", () =>
    fc.assert(
      fc.property(cases, ({ graph, rows }) => {
        const joined = joinedTo(rows, graph);
        joined.forEach((sources, index) => {
          for (const source of sources) expect(source).toBeLessThan(index);
        });
        const guides = buildGuides(rows, graph);
        guides.forEach((guide, index) => {
          expect(guide.column).toBeLessThan(COLUMNS_MAX);
          const next = guides[index + 1];
          const columns = [...guide.passes.map((pass) => pass.column), ...(guide.below === null ? [] : [guide.column])];
          if (next === undefined) return expect(columns).toEqual([]);
          for (const column of columns) {
            const continues =
              next.passes.some((pass) => pass.column === column) ||
              next.turns.some((turn) => turn.column === column) ||
              (next.column === column && next.above !== null);
            expect(continues).toBe(true);
          }
        });
      }),
    ));

  test("bars are from 3 to 56 px wide, also together", () =>
    fc.assert(
      fc.property(cases, ({ graph, rows }) => {
        for (const row of rows) {
          if (row.kind !== "event") continue;
          const widths = barsOf(row, graph);
          const all = widths.reduce((sum, width) => sum + width, 0) + 2 * Math.max(0, widths.length - 1);
          expect(all).toBeLessThanOrEqual(56.2);
          if (widths.length > 0) expect(all).toBeGreaterThanOrEqual(3);
        }
      }),
    ));

  test("at most so many lanes, and every node has one", () =>
    fc.assert(
      fc.property(traces, fc.integer({ min: 1, max: 4 }), fc.constantFrom("actor" as const, "resource" as const), (trace, most, by) => {
        const { lanes, laneOf } = buildLanes(buildGraph(trace), by, most);
        expect(lanes.length).toBeLessThanOrEqual(most);
        expect(lanes.reduce((sum, lane) => sum + lane.nodes, 0)).toBe(trace.nodes.length);
        for (const lane of laneOf) expect(lane).toBeLessThan(lanes.length);
      }),
    ));

  test("the overview's axis rises with time, from 0 to 1", () =>
    fc.assert(
      fc.property(traces, (trace) => {
        const graph = buildGraph(trace);
        const { place } = axisOf(graph);
        const times = graph.nodes.map((one) => one.sinceRootUs).sort((one, other) => one - other);
        const places = times.map(place);
        places.forEach((here, index) => {
          expect(here).toBeGreaterThanOrEqual(0);
          expect(here).toBeLessThanOrEqual(1 + 1e-9);
          const before = places[index - 1] ?? -1;
          if (times[index] === times[index - 1]) expect(here).toBe(before);
          else expect(here).toBeGreaterThan(before);
        });
      }),
    ));

  test("the blast radius is what the server counts, less what it left out", () =>
    fc.assert(
      fc.property(traces, (trace) => {
        const graph = buildGraph(trace);
        const blast = blastOf(graph, graph.focus);
        expect(blast.types.reduce((sum, type) => sum + type.count, 0)).toBe(blast.nodes.length);
        expect(blast.failures).toBe(at(graph.nodes, graph.focus).failuresBelow);
      }),
    ));

  test("the sentence and both timelines can be written", () =>
    fc.assert(
      fc.property(cases, ({ graph, rows, trace }) => {
        expect(summaryText(summaryOf(graph, trace))).toMatch(/[.”]$/);
        expect(markdownTimeline(rows, graph, trace, "http://localhost/")).toContain("Times are UTC");
        expect(mermaidTimeline(rows, graph)).toMatch(/^flowchart TD\n/);
      }),
    ));
});

test("a step of the axis is itself up to the limit, and rises without a jump", () =>
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 1e9 }), fc.integer({ min: 0, max: 1e12 }), (limit, us) => {
      expect(compressed(us, limit)).toBeLessThanOrEqual(us);
      expect(compressed(us + 1, limit)).toBeGreaterThanOrEqual(compressed(us, limit));
      if (us <= limit) expect(compressed(us, limit)).toBe(us);
    }),
  ));

test.each([[350_000, 20], [700_000, 40], [1, 3], [60_000_000, 56]])("a bar of %i µs is %d px wide", (us, width) => expect(barWidth(us)).toBe(width));

test("a chain of 10,000 events is built without recursion, and in linear time", () => {
  const trace = madeTrace(Array.from({ length: 10_000 }, (_, index) => (index === 0 ? {} : { cause: index - 1 })), 5_000);
  const graph = buildGraph(trace);
  const rows = buildRows(graph, trace, { ...WHOLE_VIEW, unfoldAll: true });
  expect(buildGuides(rows, graph).length).toBe(rows.length);
  expect(rows.flatMap((row) => row.nodes).length).toBe(10_000);
});
