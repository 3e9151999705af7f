import { describe, expect, test } from "vitest";
import { WHOLE_VIEW } from "./entries";
import { buildGraph } from "./graph";
import { PHONE, POINTER, rowHeight } from "./heights";
import { buildLaneGuides } from "./laneLines";
import { buildLanes } from "./lanes";
import { airlineTrace, madeTrace } from "./made";
import { placeOf, stepFrom, type Step } from "./navigate";
import { buildRows } from "./rows";

const trace = airlineTrace();
const graph = buildGraph(trace);
const rows = buildRows(graph, trace, WHOLE_VIEW);
const FOCUS = 13;

describe("keys", () => {
  test.each<[Step, object | null]>([
    ["next", { row: 15 }],
    ["previous", { row: 12 }],
    ["first", { row: 1 }],
    ["last", { row: 24 }],
    ["cause", { node: 46 }],
    ["effect", { node: 48 }],
    ["nextSibling", null],
  ])("%s leads from the selected event to %o", (step, to) => expect(stepFrom(rows, graph, FOCUS, step)).toEqual(to));

  test("siblings are effects of one cause", () => {
    const made = madeTrace([{}, { cause: 0 }, { cause: 0 }]);
    const branch = buildGraph(made);
    const shown = buildRows(branch, made, WHOLE_VIEW);
    const first = placeOf(shown, 1)?.row ?? -1;
    expect(stepFrom(shown, branch, first, "nextSibling")).toEqual({ node: 2 });
    expect(stepFrom(shown, branch, first, "previousSibling")).toBeNull();
  });

  test("an effect after a pair is that of its end", () => {
    const pair = placeOf(rows, 48)?.row ?? -1;
    expect(rows[pair]?.nodes).toEqual([48, 49]);
    expect(stepFrom(rows, graph, pair, "effect")).toEqual({ node: 50 });
  });

  test("a node in a fold is found with the fold that has to be opened", () =>
    expect(placeOf(rows, 20)).toEqual({ row: 3, fold: rows[3]?.key }));
});

test("rows are 28 px high, the selected one 36, and two lines on a phone", () => {
  expect(rows.slice(11, 14).map((row) => rowHeight(row, POINTER))).toEqual([28, 28, 36]);
  expect(rows.slice(11, 14).map((row) => rowHeight(row, PHONE))).toEqual([50, 50, 72]);
});

test("lanes: a pair leads from the lane of its start to that of its end, and each row from the one above", () => {
  const lanes = buildLanes(graph, "actor");
  expect(lanes.lanes.map((lane) => lane.name)).toEqual(["ana", "gpt-4o", "airline-api", "airline-desk"]);
  const guides = buildLaneGuides(rows, graph, lanes);
  const pair = guides[placeOf(rows, 38)?.row ?? -1];
  expect([pair?.start, pair?.end]).toEqual([1, 2]);
  expect(guides[FOCUS]?.arrivals).toEqual([{ from: 1, to: 2, stroke: "solid" }]);
  expect(guides[15]?.arrivals).toEqual([{ from: 2, to: 1, stroke: "dotted" }]);
});
