/** Where keys lead in a trace: along causes and effects, not along rows. Pure. */
import { at, type Graph } from "./graph";
import { nextStop } from "./heights";
import type { Row } from "./rows";

export type Step = "next" | "previous" | "cause" | "effect" | "nextSibling" | "previousSibling" | "first" | "last";

/** The node that a row stands for: its last, from where effects go on. */
export function nodeOf(row: Row, graph: Graph): number {
  if (row.kind === "event") return row.node;
  if (row.nodes.length > 0) return at(row.nodes, 0);
  return "node" in row ? row.node : graph.focus;
}

/** What a step leads to: a row, or a node that may be in a fold. Null if there is nothing there. */
export function stepFrom(rows: readonly Row[], graph: Graph, from: number, step: Step): { row: number } | { node: number } | null {
  const row = rows[from];
  if (row === undefined) return null;
  switch (step) {
    case "next":
      return { row: nextStop(rows, from, 1) };
    case "previous":
      return { row: nextStop(rows, from, -1) };
    case "first":
      return { row: nextStop(rows, -1, 1) };
    case "last":
      return { row: nextStop(rows, rows.length, -1) };
    case "cause":
      return known(at(graph.parents, nodeOf(row, graph)));
    case "effect": {
      const last = at(row.nodes, row.nodes.length - 1) ?? nodeOf(row, graph);
      return known(at(graph.children, last)[0] ?? -1);
    }
    default: {
      const node = nodeOf(row, graph);
      const parent = at(graph.parents, node);
      if (parent < 0) return null;
      const siblings = at(graph.children, parent);
      return known(siblings[siblings.indexOf(node) + (step === "nextSibling" ? 1 : -1)] ?? -1);
    }
  }
}

const known = (node: number): { node: number } | null => (node < 0 ? null : { node });

/** Where a node is: its own row, or the fold that has to be opened to see it. */
export function placeOf(rows: readonly Row[], node: number): { row: number; fold: string | null } | null {
  const row = rows.findIndex((one) => one.nodes.includes(node));
  if (row < 0) return null;
  const { kind, key } = at(rows, row);
  return { row, fold: kind === "event" ? null : key };
}
