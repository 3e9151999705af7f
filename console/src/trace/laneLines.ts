/** The lines of the lanes view: from the lane of a cause to that of its effect. Pure and linear. */
import { at, type Graph } from "./graph";
import { joinedTo, type Stroke } from "./guides";
import { type Lanes } from "./lanes";
import type { Row } from "./rows";

interface Link {
  from: number;
  to: number;
  stroke: Stroke;
}

export interface LaneGuide {
  /** The lane of the row's first event, and of its end; -1 for a row without events. */
  start: number;
  end: number;
  /** Lines that come from the row above, from a lane to a lane; and those that lead on to the row below. */
  arrivals: readonly Link[];
  departures: readonly Link[];
  /** Lanes in which a line passes by on its way to a later row. It ends in the middle of the row above that one. */
  passes: readonly { lane: number; stroke: Stroke; isLast: boolean }[];
  /** Whether a line leaves this row downwards, in the lane of its end, to a row that is not the next one. */
  leaves: Stroke | null;
}

export function buildLaneGuides(rows: readonly Row[], graph: Graph, lanes: Lanes): LaneGuide[] {
  const joined = joinedTo(rows, graph);
  const places = rows.map((row) => placeOf(row, lanes));
  fillPlaces(places, joined);
  const until = new Map<number, { row: number; stroke: Stroke }>();
  const reach = reachOf(rows, joined);
  const arriving = rows.map((row, index) => arrivalsOf(row, at(places, index).start, at(joined, index).map((source) => at(places, source).end)));
  return rows.map((_, index) => {
    const { start, end } = at(places, index);
    const arrivals = at(arriving, index);
    const passes: LaneGuide["passes"][number][] = [];
    for (const [lane, open] of until) {
      if (open.row <= index) until.delete(lane);
      else passes.push({ lane, stroke: open.stroke, isLast: open.row === index + 1 });
    }
    const far = at(reach, index);
    const leaves = far.row > index + 1 && end >= 0 ? far.stroke : null;
    if (leaves !== null) until.set(end, { row: Math.max(far.row, until.get(end)?.row ?? 0), stroke: leaves });
    return { start, end, arrivals, departures: arriving[index + 1] ?? [], passes, leaves };
  });
}

function arrivalsOf(row: Row, to: number, lanes: readonly number[]): Link[] {
  if (to < 0) return [];
  return lanes.filter((from) => from >= 0).map((from) => ({ from, to, stroke: strokeTo(row) }));
}

const strokeTo = (row: Row): Stroke => (row.relation === "cause" || row.relation === "focus" ? "solid" : "dotted");

function placeOf(row: Row, lanes: Lanes): { start: number; end: number } {
  const first = row.nodes[0];
  const last = row.nodes[row.nodes.length - 1];
  if (first === undefined || last === undefined) return { start: -1, end: -1 };
  return { start: at(lanes.laneOf, first), end: at(lanes.laneOf, last) };
}

/** Rows without events, such as breaks, lie in the lane of what leads to them. */
function fillPlaces(places: { start: number; end: number }[], joined: readonly number[][]): void {
  places.forEach((place, index) => {
    const source = at(joined, index)[0];
    if (place.start < 0 && source !== undefined) place.start = place.end = at(places, source).end;
  });
}

/** The last row to which a line leads from each. */
function reachOf(rows: readonly Row[], joined: readonly number[][]): { row: number; stroke: Stroke }[] {
  const reach = rows.map((): { row: number; stroke: Stroke } => ({ row: -1, stroke: "dotted" }));
  joined.forEach((sources, index) => {
    for (const source of sources) {
      const stroke = strokeTo(at(rows, index));
      const one = at(reach, source);
      one.row = index;
      if (stroke === "solid") one.stroke = stroke;
    }
  });
  return reach;
}
