import { describe, expect, test } from "vitest";
import { WHOLE_VIEW, type View } from "./entries";
import { buildGraph } from "./graph";
import { airlineTrace, idOf, madeTrace, type Made } from "./made";
import { buildRows, type Row } from "./rows";
import { barsOf, foldWords, rhythm, rowText, tookUs } from "./words";
import type { EventRow } from "./rows";

function rowsOf(trace: ReturnType<typeof madeTrace>, view: Partial<View> = {}) {
  const graph = buildGraph(trace);
  return { graph, rows: buildRows(graph, trace, { ...WHOLE_VIEW, ...view }) };
}

const kinds = (rows: readonly Row[]) => rows.map((row) => (row.kind === "fold" ? `${row.of} ${row.nodes.length}` : row.kind));
const levels = (rows: readonly Row[]) => rows.filter((row) => row.kind !== "ledTo" && row.kind !== "because").map((row) => row.level);

describe("the recorded flow", () => {
  const { graph, rows } = rowsOf(airlineTrace());

  test("shows the root, what came first, nine rows above the selected event, and two around each failure", () => {
    expect(kinds(rows)).toEqual([
      "because", "event", "event", "calm 33",
      ...Array<string>(9).fill("event"),
      "event", "ledTo",
      ...Array<string>(10).fill("event"),
    ]);
    expect(rows[13]?.nodes).toEqual([47]);
  });

  test("says what a fold holds", () => expect(foldWords(rows[3]?.nodes ?? [], graph)).toBe("17 messages · 8 calls"));

  test("pairs a start with its end, but neither the selected event nor its cause", () => {
    expect(rows[7]?.nodes).toEqual([38, 39]);
    expect(rowText(rows[7] as Row, graph)).toBe("gpt-4o called book failed payment amount does not add up");
    expect(rows.slice(12, 14).map((row) => row.nodes)).toEqual([[46], [47]]);
  });

  test("a later end keeps its row, and counts from its start", () => {
    const late = rows.find((row) => row.nodes.includes(54)) as EventRow;
    expect(late.nodes).toEqual([54]);
    expect(tookUs(late, graph)).toBe(2_322_000);
    expect(barsOf(late, graph)).toEqual([56]);
  });

  test("repeats are one row with a bar each", () => {
    const run = rows.find((row) => row.nodes.includes(57)) as EventRow;
    expect([run.repeats, run.nodes, barsOf(run, graph)]).toEqual([2, [57, 58, 59, 60], [20, 20]]);
  });

  test("only failures: the root, the selected event and what failed, with everything else counted", () => {
    const only = rowsOf(airlineTrace(), { mode: "failures" });
    expect(kinds(only.rows)).toEqual(["because", "event", "calm 37", "event", "calm 7", "event", "ledTo", "calm 6", "event", "calm 8", "event"]);
    expect(foldWords(only.rows[2]?.nodes ?? [], only.graph)).toBe("21 messages · 8 calls");
  });

  test("the blast radius: causes fold except the nearest and what failed; no effect folds", () => {
    const blast = rowsOf(airlineTrace(), { mode: "blast" });
    expect(kinds(blast.rows)).toEqual(["because", "event", "calm 37", "event", "calm 6", "event", "event", "ledTo", ...Array<string>(10).fill("event")]);
  });

  test("a fold that was opened shows its rows under a row that folds them again", () => {
    const key = rows[3]?.key ?? "";
    const open = rowsOf(airlineTrace(), { unfolded: new Set([key]) });
    expect(open.rows[3]).toMatchObject({ kind: "fold", open: true, nodes: [] });
    expect(open.rows.flatMap((row) => row.nodes).length).toBe(64);
  });
});

describe("branches", () => {
  const wide = (count: number, one: (index: number) => Made = () => ({})): Made[] => [{}, ...Array.from({ length: count }, (_, index) => ({ cause: 0, at: 1 + index / 100, ...one(index) }))];

  test("indent, and nothing else does; the branch of the selected event comes last and stays on the spine", () => {
    const made: Made[] = [{}, { cause: 0 }, { cause: 1 }, { cause: 0 }, { cause: 3 }];
    const { rows } = rowsOf(madeTrace(made, 4));
    expect(rows.flatMap((row) => row.nodes)).toEqual([0, 1, 2, 3, 4]);
    expect(levels(rows)).toEqual([0, 1, 1, 0, 0]);
    const other = rowsOf(madeTrace(made, 2));
    expect(other.rows.flatMap((row) => row.nodes)).toEqual([0, 3, 4, 1, 2]);
    expect(levels(other.rows)).toEqual([0, 1, 1, 0, 0]);
  });

  test("after five siblings the rest folds, failures first", () => {
    const { rows } = rowsOf(madeTrace(wide(13, (index) => ({ label: `store ${index}`, outcome: index === 9 ? "failure" : "success" }))));
    expect(rows.map((row) => row.nodes.length)).toEqual([1, 0, 1, 1, 1, 1, 1, 8]);
    expect(rows[2]?.nodes).toEqual([10]);
    expect(rows.at(-1)).toMatchObject({ kind: "fold", of: "siblings", count: 8 });
  });

  test("siblings that were unfolded are all shown", () => {
    const made = wide(13, (index) => ({ label: `store ${index}`, outcome: "success" }));
    const { rows } = rowsOf(madeTrace(made));
    const key = rows.at(-1)?.key ?? "";
    const open = rowsOf(madeTrace(made), { unfolded: new Set([key]) }).rows;
    expect(open.filter((row) => row.kind === "event").length).toBe(14);
    expect(open[2]).toMatchObject({ kind: "fold", open: true, key });
  });

  test("all failures are shown, however many there are", () => {
    const { rows } = rowsOf(madeTrace(wide(9, () => ({ outcome: "failure" }))));
    expect(rows.filter((row) => row.kind === "event").length).toBe(10);
  });

  test("repeats among siblings are one row, with their rhythm", () => {
    const { graph, rows } = rowsOf(madeTrace(wide(12, (index) => ({ at: 300 * (index + 1), type: "schedule.fired", label: "nightly" }))));
    const run = rows.find((row) => row.kind === "event" && row.repeats > 1) as EventRow;
    expect(run.repeats).toBe(12);
    expect(rhythm(run, graph)).toBe("every 5 min, 55 min");
  });

  test("a failure is never one of the repeats", () => {
    const { rows } = rowsOf(madeTrace(wide(4, (index) => ({ label: "nightly", outcome: index === 1 ? "failure" : "none" }))));
    expect(rows.filter((row) => row.kind === "event").map((row) => row.nodes.length)).toEqual([1, 1, 1, 2]);
  });
});

describe("the truth cases", () => {
  test("a missing cause is a ghost above the earliest event that is known", () => {
    const { rows } = rowsOf(madeTrace([{ causationId: "gone" }, { cause: 0 }], 1, { missing: ["gone"] }));
    expect(kinds(rows)).toEqual(["because", "ghost", "event", "event", "ledTo"]);
  });

  test("causes that were not loaded are not called missing", () => {
    const { rows } = rowsOf(madeTrace([{ causationId: idOf(99) }, { cause: 0 }], 1, { truncated: true }));
    expect(rows[1]?.kind).toBe("causesAbsent");
  });

  test("a cycle is cut above its earliest event", () => {
    const { rows } = rowsOf(madeTrace([{ causationId: idOf(1), cycle: true }, { cause: 0 }], 1));
    expect(kinds(rows)).toEqual(["because", "cycle", "event", "event", "ledTo"]);
    expect(rows.flatMap((row) => row.nodes)).toEqual([0, 1]);
  });

  test("another flow folds into a portal that counts it, and opens", () => {
    const made: Made[] = [{}, { cause: 0, flow: "mail-77" }, { cause: 1, flow: "mail-77" }, { cause: 0 }];
    const { rows } = rowsOf(madeTrace(made));
    expect(rows[2]).toMatchObject({ kind: "portal", open: false, nodes: [1, 2], level: 1 });
    const open = rowsOf(madeTrace(made), { unfolded: new Set([rows[2]?.key ?? ""]) });
    expect(kinds(open.rows)).toEqual(["event", "ledTo", "portal", "event", "event", "event"]);
  });

  test("a portal to a failure, or on the way to the root, stands open", () => {
    const failing = rowsOf(madeTrace([{}, { cause: 0, flow: "mail-77", outcome: "failure" }]));
    expect(kinds(failing.rows)).toEqual(["event", "ledTo", "portal", "event"]);
    const causes = rowsOf(madeTrace([{ flow: "order-8841" }, { cause: 0 }], 1));
    expect(kinds(causes.rows)).toEqual(["because", "event", "portal", "event", "ledTo"]);
  });

  test("an event dated before its cause stays after it, and never folds", () => {
    const made: Made[] = Array.from({ length: 12 }, (_, index) => (index === 0 ? {} : { cause: index - 1, at: index === 5 ? 2.8 : index }));
    const { rows } = rowsOf(madeTrace(made, 0));
    expect(rows.find((row) => row.nodes.includes(5))).toMatchObject({ kind: "event", nodes: [5] });
    expect(rows.flatMap((row) => row.nodes)).toEqual(made.map((_, index) => index));
  });

  test("effects that were left out are counted where they belong", () => {
    const { rows } = rowsOf(madeTrace([{}, { cause: 0, absent: 12 }], 0, { truncated: true }));
    expect(rows.at(-1)).toMatchObject({ kind: "absent", node: 1, count: 12 });
  });

  test("a walk that ended at its limit says so at the end", () =>
    expect(rowsOf(madeTrace([{}], 0, { atLeast: true })).rows.at(-1)?.kind).toBe("atLeast"));

  test("a long wait breaks the tree", () => {
    const { rows } = rowsOf(madeTrace([{}, { cause: 0, at: 1 }, { cause: 1, at: 11_521 }], 2));
    expect(rows.find((row) => row.kind === "gap")).toMatchObject({ us: 11_520_000_000, height: 36 });
  });

  test("siblings that waited for the same thing break it once", () => {
    const made: Made[] = [{ at: 0 }, { cause: 0, at: 3600 }, { cause: 0, at: 3601 }, { cause: 0, at: 3602 }];
    const { rows } = rowsOf(madeTrace(made, 0));
    expect(rows.filter((row) => row.kind === "gap").length).toBeLessThanOrEqual(1);
  });
});
