import { describe, expect, test } from "vitest";
import { buildGraph, type Trace } from "./graph";
import { airlineTrace, idOf, madeTrace } from "./made";
import { causeTotals, effectTotals, firstSentence, summaryOf, summaryText } from "./summary";
import { totalWords, withoutMiddle } from "./words";

const said = (trace: Trace) => summaryText(summaryOf(buildGraph(trace), trace)).trim();

describe("the sentence", () => {
  test("says why the booking failed, and what came of it", () =>
    expect(said(airlineTrace())).toBe(
      "book failed: payment amount does not add up. That is because gpt-4o called it, because ana wrote “Yes, I'm fine with that.” " +
        "The root lies 47 hops and 2 min 42 s back; one cause on the way failed too. It led to 16 events in 22.8 s, and 2 of them failed.",
    ));

  test("of a root that led to nothing", () =>
    expect(said(madeTrace([{ label: "refund", verb: "called", detail: "8841" }]))).toBe(
      "planner called refund: 8841. Nothing came before it: it is the root. It has led to nothing so far.",
    ));

  test("of an event whose cause has not arrived never calls it the root", () => {
    const trace = madeTrace([{ causationId: "7d02c1e8-0000-7000-8000-000000000001", label: "refund" }], 0, { missing: ["7d02c1e8-0000-7000-8000-000000000001"] });
    expect(said(trace)).toBe("planner updated refund. Its cause 7d02c1e8 has not arrived. It has led to nothing so far.");
    const removed = summaryText(summaryOf(buildGraph(trace), trace, "has not arrived, or was removed by retention"));
    expect(removed).toContain("Its cause 7d02c1e8 has not arrived, or was removed by retention. It has led");
    const below = madeTrace([{ causationId: "7d02c1e8-0000-7000-8000-000000000001" }, { cause: 0, label: "refund" }], 1, { missing: ["7d02c1e8-0000-7000-8000-000000000001"] });
    expect(said(below)).toContain("The earliest known cause lies at least 1 hop and 1.0 s back; its own cause 7d02c1e8 has not arrived.");
    expect(said(below)).not.toContain("root");
  });

  test("of an event whose cause is no id does not wait for it", () => {
    const trace = madeTrace([{ causationId: "nope", label: "refund" }], 0, { missing: ["nope"] });
    expect(said(trace)).toBe("planner updated refund. Its cause nope is not an event's id. It has led to nothing so far.");
    const below = madeTrace([{ causationId: "nope" }, { cause: 0, label: "refund" }], 1, { missing: ["nope"] });
    expect(said(below)).toContain("its own cause nope is not an event's id.");
  });

  test("of a cycle speaks of its earliest event", () => {
    expect(said(madeTrace([{ causationId: idOf(1), cycle: true }, { cause: 0 }], 1))).toContain("The earliest event of its cycle lies 1 hop");
    expect(said(madeTrace([{ causationId: idOf(1), cycle: true }, { cause: 0 }], 0))).toContain("It is the earliest event of a cycle");
  });

  test("of a trace that was cut short says at least", () => {
    const text = said(madeTrace([{}, { cause: 0 }, { cause: 1 }], 1, { atLeast: true, rootKnown: false }));
    expect(text).toContain("earliest known cause lies at least 1 hop");
    expect(text).toContain("It led to at least 1 event");
  });

  test("of an event type without a verb puts the type in its place", () =>
    expect(said(madeTrace([{ type: "foo.bar", verb: "foo.bar", label: "thing" }]))).toMatch(/^planner: foo\.bar thing\./));

  test("of one effect that failed", () =>
    expect(said(madeTrace([{}, { cause: 0, outcome: "failure" }]))).toContain("It led to 1 event in 1.0 s, and it failed."));

  test("links every clause to its event or view", () => {
    const links = summaryOf(buildGraph(airlineTrace()), airlineTrace()).flatMap((clause) => (clause.to ? [[clause.text, clause.to]] : []));
    expect(links).toEqual([
      ["gpt-4o called it", { node: idOf(46) }],
      ["ana wrote “Yes, I'm fine with that.”", { node: idOf(45) }],
      ["root", { node: idOf(0) }],
      ["one cause on the way failed too", { node: idOf(39) }],
      ["16 events", { view: "blast" }],
      ["2 of them failed", { view: "failures" }],
    ]);
  });
});

test("the heads say how many causes and effects there are", () => {
  const trace = airlineTrace();
  const graph = buildGraph(trace);
  expect(totalWords(causeTotals(graph, trace), "cause")).toBe("47 causes in 2 min 42 s, 1 failed");
  expect(totalWords(effectTotals(graph, trace), "event")).toBe("16 events in 22.8 s, 2 failed");
});

test.each([
  ["“Yes, I'm fine with that. Go on.”", "“Yes, I'm fine with that.”"],
  ["“version 2.5 is out”", "“version 2.5 is out”"],
  ["SFO · JFK", "SFO · JFK"],
])("the first sentence of %s is %s", (text, first) => expect(firstSentence(text)).toBe(first));

test("names and details of any length leave the sentence readable", () => {
  const long = "x".repeat(10_000);
  expect(said(madeTrace([{ label: long, detail: `${long} the end`, outcome: "failure" }])).length).toBeLessThan(500);
  expect(withoutMiddle("😀".repeat(100), 21)).toBe(`${"😀".repeat(10)}…${"😀".repeat(10)}`);
});
