/** Where the rows of a small trace lie as a graph, from cause to effect. */
import { Graph as LayoutGraph, layout } from "@dagrejs/dagre";
import { at, type Graph } from "./graph";
import { joinedTo } from "./guides";
import type { EventRow, Row } from "./rows";

export const BOX = { width: 220, height: 46 };

export interface Placed {
  boxes: readonly { row: EventRow; index: number; x: number; y: number }[];
  lines: readonly { key: string; d: string; isSolid: boolean }[];
  width: number;
  height: number;
}

/** The event rows of a trace, placed; breaks and heads are passed over. */
export function placed(rows: readonly Row[], graph: Graph): Placed {
  const drawing = new LayoutGraph();
  drawing.setGraph({ rankdir: "TB", nodesep: 24, ranksep: 30, marginx: 16, marginy: 16 });
  drawing.setDefaultEdgeLabel(() => ({}));
  const joined = joinedTo(rows, graph);
  rows.forEach((row, index) => {
    if (row.kind === "event") drawing.setNode(String(index), { ...BOX });
  });
  rows.forEach((row, index) => {
    if (row.kind !== "event") return;
    for (const source of eventsAbove(index, joined, rows)) drawing.setEdge(String(source), String(index));
  });
  layout(drawing);
  const boxes = drawing.nodes().map((name) => {
    const { x, y } = drawing.node(name) as { x: number; y: number };
    return { row: at(rows, Number(name)) as EventRow, index: Number(name), x: x - BOX.width / 2, y: y - BOX.height / 2 };
  });
  const lines = drawing.edges().map((edge) => {
    const { points } = drawing.edge(edge) as { points: { x: number; y: number }[] };
    const { relation } = at(rows, Number(edge.w));
    const d = points.map((point, index) => `${index === 0 ? "M" : "L"}${Math.round(point.x)} ${Math.round(point.y)}`).join("");
    return { key: `${edge.v}-${edge.w}`, d, isSolid: relation === "cause" || relation === "focus" };
  });
  const { width = 0, height = 0 } = drawing.graph() as { width?: number; height?: number };
  return { boxes, lines, width, height };
}

function eventsAbove(index: number, joined: readonly number[][], rows: readonly Row[]): number[] {
  return at(joined, index).flatMap((source) => (at(rows, source).kind === "event" ? [source] : eventsAbove(source, joined, rows)));
}
