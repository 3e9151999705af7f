/** The lines that join the rows of the tree: solid down to the selected event, dotted elsewhere. Pure and linear. */
import { at, type Graph } from "./graph";
import type { Row } from "./rows";

export type Stroke = "solid" | "dotted";

/** What is drawn in the gutter of one row. Columns count indents from the left. */
export interface Guide {
  column: number;
  /** From the top of the row to its mark, and from its mark to the bottom. */
  above: Stroke | null;
  below: Stroke | null;
  /** Lines that pass by in other columns. */
  passes: readonly { column: number; stroke: Stroke }[];
  /** Lines that come down in another column and turn to this row's mark. */
  turns: readonly { column: number; stroke: Stroke }[];
}

/** Deeper levels share the last column; `aria-level` still has them. */
export const COLUMNS_MAX = 10;

export const columnOf = (row: Row): number => Math.min(row.level, COLUMNS_MAX - 1);

/** For every row, the rows from which a line leads to it: where its cause is. */
export function joinedTo(rows: readonly Row[], graph: Graph): number[][] {
  const rowOfNode = new Int32Array(graph.nodes.length).fill(-1);
  rows.forEach((row, index) => {
    for (const node of row.nodes) rowOfNode[node] = index;
  });
  const rowOf = (node: number): number[] => (node >= 0 && at(rowOfNode, node) >= 0 ? [at(rowOfNode, node)] : []);
  let waiting: number[] | null = null;
  return rows.map((row, index) => {
    switch (row.kind) {
      case "event": {
        const above: number[] = waiting ?? rowOf(at(graph.parents, row.node));
        waiting = null;
        return above;
      }
      case "ghost":
      case "cycle":
      case "causesAbsent":
        waiting = [index];
        return [];
      case "portal": {
        if (row.open) waiting = [index];
        return rowOf(at(graph.parents, row.node));
      }
      case "gap": {
        const above: number[] = waiting ?? rowOf(at(graph.parents, row.node));
        waiting = [index];
        return above;
      }
      case "fold":
        return outerCauses(row.nodes, graph, rowOfNode, index);
      case "absent":
        return rowOf(row.node);
      default:
        return [];
    }
  });
}

function outerCauses(nodes: readonly number[], graph: Graph, rowOfNode: Int32Array, own: number): number[] {
  const found = new Set<number>();
  for (const node of nodes) {
    const parent = at(graph.parents, node);
    if (parent >= 0 && at(rowOfNode, parent) !== own) found.add(at(rowOfNode, parent));
  }
  return [...found];
}

/** Where the lines of a column end that come from the row that was last in it. */
interface Ends {
  solid: number;
  dotted: number;
}

export function buildGuides(rows: readonly Row[], graph: Graph): Guide[] {
  const joined = joinedTo(rows, graph);
  const ends = endsOf(rows, joined);
  const open: Ends[] = Array.from({ length: COLUMNS_MAX }, () => ({ solid: -1, dotted: -1 }));
  return rows.map((row, index) => {
    const column = columnOf(row);
    const sources = new Set(at(joined, index).map((source) => columnOf(at(rows, source))));
    const passes: Guide["passes"][number][] = [];
    const turns: Guide["turns"][number][] = [];
    for (let other = 0; other < COLUMNS_MAX; other++) {
      const end = at(open, other);
      if (other !== column && sources.has(other)) turns.push({ column: other, stroke: strokeTo(row) });
      if (Math.max(end.solid, end.dotted) > index && other !== column) passes.push({ column: other, stroke: strokeAt(end, index) });
    }
    const own = at(open, column);
    const passesHere = Math.max(own.solid, own.dotted) > index;
    const above = sources.has(column) ? strokeTo(row) : passesHere ? strokeAt(own, index) : null;
    const mine = at(ends, index);
    open[column] = {
      solid: passesHere && own.solid > index ? Math.max(own.solid, mine.solid) : mine.solid,
      dotted: passesHere ? Math.max(own.dotted, mine.dotted) : mine.dotted,
    };
    const next = at(open, column);
    const below = Math.max(next.solid, next.dotted) > index ? strokeAt(next, index) : null;
    return { column, above, below, passes, turns };
  });
}

const strokeTo = (row: Row): Stroke => (row.relation === "cause" || row.relation === "focus" ? "solid" : "dotted");
const strokeAt = (end: Ends, index: number): Stroke => (end.solid > index ? "solid" : "dotted");

/** How far the lines below each row reach. */
function endsOf(rows: readonly Row[], joined: readonly number[][]): Ends[] {
  const ends = rows.map((): Ends => ({ solid: -1, dotted: -1 }));
  joined.forEach((sources, index) => {
    for (const source of sources) {
      const end = at(ends, source);
      if (strokeTo(at(rows, index)) === "solid") end.solid = index;
      else end.dotted = index;
    }
  });
  return ends;
}
