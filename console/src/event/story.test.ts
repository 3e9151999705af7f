import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { becauseOf, ledToOf, type StoryRow, type Trace, type TraceNode } from "./story";

function node(index: number, cause: number | null, fields: Partial<TraceNode> = {}): TraceNode {
  return {
    id: `e${index}`, eventType: "a.noted", actorType: "user", actorId: "ana", resourceType: "thing", resourceId: "r",
    occurredAt: new Date(1_700_000_000_000 + index * 1000).toISOString(), outcome: "none", correlationId: "c",
    causationId: cause === null ? null : `e${cause}`, position: index, allEffects: 0, effects: 0, failuresBelow: 0,
    hops: index, cycle: false, otherFlow: false, skewed: false, sinceCauseUs: null, sinceRootUs: 0, ...fields,
  };
}

function trace(nodes: TraceNode[], eventId: string, fields: Partial<Trace> = {}): Trace {
  return { atLeast: false, eventId, missing: [], nodes, rootId: nodes[0]?.id ?? "", rootKnown: true, truncated: false, ...fields };
}

/** A chain of events, each caused by the one before it. */
const chain = (outcomes: readonly TraceNode["outcome"][], event: number) =>
  trace(
    outcomes.map((outcome, index) =>
      node(index, index === 0 ? null : index - 1, {
        outcome,
        allEffects: outcomes.length - 1 - index,
        failuresBelow: outcomes.slice(index + 1).filter((each) => each === "failure").length,
      }),
    ),
    `e${event}`,
  );

const outcomes = fc.array(fc.constantFrom("none" as const, "success" as const, "failure" as const), { minLength: 1, maxLength: 60 });
const counted = (rows: readonly StoryRow[]) =>
  rows.reduce((sum, row) => sum + (row.kind === "event" ? 1 : row.kind === "fold" ? row.count : 0), 0);
const failed = (rows: readonly StoryRow[]) =>
  rows.reduce((sum, row) => sum + (row.kind === "event" ? Number(row.node.outcome === "failure") : row.kind === "fold" ? (row.failures ?? 0) : 0), 0);
const shape = (rows: readonly StoryRow[]) =>
  rows.map((row) => (row.kind === "event" ? row.node.id : row.kind === "fold" ? `${row.count} more, ${row.failures} failed` : row.kind));

describe("why, and what it led to", () => {
  test("nothing is dropped without a row that counts it", () =>
    fc.assert(
      fc.property(outcomes, fc.nat(), fc.nat(4), fc.nat(4), (all, place, near, failures) => {
        const at = place % all.length;
        const because = becauseOf(chain(all, at), { near, failures });
        const ledTo = ledToOf(chain(all, at), { near, failures });
        expect([counted(because.rows), because.hops]).toEqual([at, at]);
        expect([counted(ledTo.rows), ledTo.count]).toEqual([all.length - 1 - at, all.length - 1 - at]);
        expect(failed(because.rows)).toBe(because.failures);
        expect(failed(ledTo.rows)).toBe(ledTo.failures);
        expect(because.rows.at(-1)).toEqual({ kind: "this" });
        if (at > 0) expect(because.rows[0]).toMatchObject({ kind: "event", node: { id: "e0" } });
      }),
    ));

  test("a long chain keeps its root, its nearest failure and its nearest causes", () => {
    const all = Array.from({ length: 48 }, (_, index) => (index === 39 ? ("failure" as const) : ("none" as const)));
    const because = becauseOf(chain(all, 47), { near: 3, failures: 1 });
    expect(shape(because.rows)).toEqual(["e0", "38 more, 0 failed", "e39", "4 more, 0 failed", "e44", "e45", "e46", "this"]);
    expect(because).toMatchObject({ hops: 47, failures: 1, durationUs: 47_000_000, hasRoot: true });
  });

  test("a cause that is missing is a row of its own, and what comes after it is not the root", () => {
    const because = becauseOf(trace([node(0, 9), node(1, 0)], "e1", { missing: ["e9"] }), { near: 2, failures: 1 });
    expect(shape(because.rows)).toEqual(["missing", "e0", "this"]);
    expect(because).toMatchObject({ hasRoot: false, missingCause: "e9" });
  });

  test("causes that were not read are counted, and not called free of failures", () => {
    const because = becauseOf(trace([node(7, 6), node(8, 7)], "e8", { truncated: true }), { near: 2, failures: 1 });
    expect(shape(because.rows)).toEqual(["7 more, null failed", "e7", "this"]);
    expect(because).toMatchObject({ failures: null, durationUs: null, hops: 8, hasRoot: false });
  });

  test("effects that were not read are counted", () => {
    const ledTo = ledToOf(trace([node(0, null, { allEffects: 900 }), node(1, 0)], "e0", { truncated: true }), { near: 1, failures: 1 });
    expect(shape(ledTo.rows)).toEqual(["e1", "899 more, null failed"]);
    expect(ledTo).toMatchObject({ durationUs: null, count: 900, read: 1 });
  });

  test("siblings of the event are not its effects, and a cycle ends", () => {
    const nodes = [node(0, 2, { cycle: true }), node(1, 0), node(2, 0), node(3, 2)];
    expect(shape(becauseOf(trace(nodes, "e2"), { near: 2, failures: 0 }).rows)).toEqual(["e0", "this"]);
    expect(ledToOf(trace(nodes, "e2"), { near: 2, failures: 0 }).read).toBe(1);
  });
});
