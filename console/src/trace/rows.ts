/** The rows of a trace: pairs, repeats, calm stretches, and what says that something is not here. Pure and linear. */
import { areRepeats, linearise, type Entry, type View } from "./entries";
import { gapThreshold } from "./gaps";
import { at, isFailure, isStart, timeOf, type Graph, type Relation, type Trace } from "./graph";

interface Common {
  key: string;
  level: number;
  relation: Relation;
  /** The nodes that this row shows or counts. Every node of a graph is in exactly one row. */
  nodes: readonly number[];
}

/** One event; a start with its end; or several of either that repeat each other. */
export interface EventRow extends Common {
  kind: "event";
  /** The event, or the start of the first pair. */
  node: number;
  end: number | null;
  /** How many repeats: 1, or more for a run. */
  repeats: number;
}

export interface FoldRow extends Common {
  kind: "fold";
  of: "calm" | "siblings" | "run";
  open: boolean;
  /** Effects that a fold of siblings stands for. */
  count: number;
}

export interface PortalRow extends Common {
  kind: "portal";
  node: number;
  open: boolean;
}

export interface AbsentRow extends Common {
  kind: "absent";
  node: number;
  count: number;
}

export interface GapRow extends Common {
  kind: "gap";
  /** The event that came late. */
  node: number;
  us: number;
  height: number;
}

export interface HeadRow extends Common {
  kind: "because" | "ledTo";
}

/** What stands above the earliest event that is known. */
export interface TopRow extends Common {
  kind: "ghost" | "cycle" | "causesAbsent";
  node: number;
}

/** The walk ended at its limit, so that every count is a lower bound. */
export interface AtLeastRow extends Common {
  kind: "atLeast";
}

export type Row = EventRow | FoldRow | PortalRow | AbsentRow | GapRow | HeadRow | TopRow | AtLeastRow;

const NONE: readonly number[] = [];

/** How many rows around a failure never fold. */
const AROUND_FAILURE = 2;

/** The rows of a trace in order. */
export function buildRows(graph: Graph, trace: Trace, view: View): Row[] {
  if (graph.nodes.length === 0) return [];
  const rows = withCalmFolded(withRuns(withPairs(linearise(graph, view), graph), graph, view), graph, view);
  return withGaps(withTruths(rows, graph, trace), graph);
}

function withPairs(entries: readonly Entry[], graph: Graph): Row[] {
  const rows: Row[] = [];
  const neverPaired = new Set([graph.focus, at(graph.parents, graph.focus)]);
  for (let index = 0; index < entries.length; index++) {
    const entry = at(entries, index);
    const next = entries[index + 1];
    if (entry.kind !== "event") {
      rows.push(rowOf(entry, graph));
      continue;
    }
    const isPair =
      next?.kind === "event" &&
      at(graph.nodes, entry.node).pairedEndId === at(graph.nodes, next.node).id &&
      at(graph.parents, next.node) === entry.node &&
      !neverPaired.has(entry.node) &&
      !neverPaired.has(next.node);
    rows.push(eventRow(graph, entry.node, isPair ? next.node : null, entry.level));
    if (isPair) index++;
  }
  return rows;
}

function eventRow(graph: Graph, node: number, end: number | null, level: number): EventRow {
  const nodes = end === null ? [node] : [node, end];
  return { kind: "event", key: at(graph.nodes, node).id, level, relation: at(graph.relations, node), nodes, node, end, repeats: 1 };
}

function rowOf(entry: Exclude<Entry, { kind: "event" }>, graph: Graph): Row {
  const { level } = entry;
  switch (entry.kind) {
    case "siblings": {
      const relation = below(at(graph.relations, entry.parent));
      return { kind: "fold", of: "siblings", key: entry.key, level, relation, nodes: entry.nodes, open: entry.open, count: entry.count };
    }
    case "portal":
      return { kind: "portal", key: entry.key, level, relation: at(graph.relations, entry.node), nodes: entry.nodes, node: entry.node, open: entry.open };
    case "absent": {
      const relation = below(at(graph.relations, entry.node));
      return { kind: "absent", key: `absent:${at(graph.nodes, entry.node).id}`, level, relation, nodes: NONE, node: entry.node, count: entry.count };
    }
  }
}

/** How the effects of a node that are off the spine stand to the selected event. */
const below = (relation: Relation): Relation => (relation === "focus" || relation === "effect" ? "effect" : "beside");

/** Repeats put into one row: adjacent, the same actor, type and object, all well. */
function withRuns(rows: readonly Row[], graph: Graph, view: View): Row[] {
  if (view.unfoldAll) return [...rows];
  const found: Row[] = [];
  for (let index = 0; index < rows.length; ) {
    const first = at(rows, index);
    let length = 1;
    while (first.kind === "event" && repeats(first, rows[index + length - 1], rows[index + length], graph)) length++;
    if (first.kind !== "event" || length === 1) {
      found.push(first);
    } else {
      const run = rows.slice(index, index + length) as EventRow[];
      const key = `run:${first.key}`;
      if (view.unfolded.has(key)) {
        found.push({ kind: "fold", of: "run", key, level: first.level, relation: first.relation, nodes: NONE, open: true, count: length }, ...run);
      } else {
        found.push({ ...first, key, nodes: run.flatMap((row) => row.nodes), repeats: length });
      }
    }
    index += length;
  }
  return found;
}

function repeats(first: EventRow, last: Row | undefined, next: Row | undefined, graph: Graph): boolean {
  if (last?.kind !== "event" || next?.kind !== "event" || next.level !== first.level) return false;
  if ((first.end === null) !== (next.end === null)) return false;
  if (!areRepeats(graph, first.node, next.node)) return false;
  const parent = at(graph.parents, next.node);
  const follows = parent === (last.end ?? last.node) || (parent >= 0 && parent === at(graph.parents, first.node));
  return follows && [first, next].every((row) => row.nodes.every((node) => isPlain(graph, node)));
}

function isPlain(graph: Graph, node: number): boolean {
  const event = at(graph.nodes, node);
  const isNearFocus = node === graph.focus || node === at(graph.parents, graph.focus);
  return !isFailure(event) && !event.skewed && !event.otherFlow && !event.cycle && !isNearFocus && !isOpen(graph, node);
}

/** Whether a start has no end in this graph. */
export function isOpen(graph: Graph, node: number): boolean {
  return isStart(at(graph.nodes, node)) && at(graph.ends, node) < 0;
}

/** Calm stretches as one row each. A failure never folds away. */
function withCalmFolded(rows: readonly Row[], graph: Graph, view: View): Row[] {
  if (view.unfoldAll) return [...rows];
  const kept = keptRows(rows, graph, view);
  const least = view.mode === "failures" ? 1 : view.mode === "blast" ? 2 : 3;
  const found: Row[] = [];
  for (let index = 0; index < rows.length; ) {
    const first = at(rows, index);
    let length = 0;
    while (index + length < rows.length && !kept[index + length] && at(rows, index + length).level >= first.level) length++;
    const stretch = rows.slice(index, index + Math.max(1, length));
    const nodes = stretch.flatMap((row) => row.nodes);
    // A fold of siblings says more than a calm stretch does, and is not swallowed by a short one.
    const size = stretch.filter((row) => row.kind !== "fold").length;
    if (length === 0 || size < least || nodes.length === 0) {
      found.push(...stretch);
    } else {
      const key = `calm:${at(graph.nodes, at(nodes, 0)).id}`;
      const open = view.unfolded.has(key);
      const { level, relation } = first;
      found.push({ kind: "fold", of: "calm", key, level, relation, nodes: open ? NONE : nodes, open, count: nodes.length });
      if (open) found.push(...stretch);
    }
    index += stretch.length;
  }
  return found;
}

const hasFailure = (row: Row, graph: Graph): boolean => row.nodes.some((node) => isFailure(at(graph.nodes, node)));

/** Which rows never fold. */
function keptRows(rows: readonly Row[], graph: Graph, view: View): boolean[] {
  const kept = new Array<boolean>(rows.length).fill(false);
  const keep = (from: number, to: number) => kept.fill(true, Math.max(0, from), Math.max(0, Math.min(rows.length, to)));
  const focus = rows.findIndex((row) => row.kind === "event" && row.nodes.includes(graph.focus));
  const isAll = view.mode === "all";
  const above = isAll ? view.above : view.mode === "blast" ? 1 : 0;
  keep(0, isAll ? 2 : 1);
  keep(focus - above, focus + 1);
  if (isAll) keep(rows.length - 1, rows.length);
  rows.forEach((row, index) => {
    const around = isAll ? AROUND_FAILURE : 0;
    if (hasFailure(row, graph)) keep(index - around, index + around + 1);
    else if (!mayFold(row, graph, view)) keep(index, index + 1);
    if (row.kind === "fold" && row.open && row.of === "siblings") keepOpened(rows, index, kept);
  });
  return kept;
}

/** Siblings that the reader unfolded do not fold in another way; what they led to may. */
function keepOpened(rows: readonly Row[], header: number, kept: boolean[]): void {
  const { level } = at(rows, header);
  for (let index = header + 1; index < rows.length && at(rows, index).level >= level; index++) {
    if (at(rows, index).level === level) kept[index] = true;
  }
}

/** Rows that state a doubt, or lead elsewhere, stay. So do the effects, when they are what the reader asked for. */
function mayFold(row: Row, graph: Graph, view: View): boolean {
  if (view.mode === "blast" && row.relation === "effect") return false;
  if (row.kind === "event") return !row.nodes.some((node) => at(graph.nodes, node).skewed || at(graph.nodes, node).cycle);
  return (row.kind === "fold" || row.kind === "portal") && !row.open;
}

/** Heads above the causes and the effects, and what is missing, cut or left out. */
function withTruths(rows: readonly Row[], graph: Graph, trace: Trace): Row[] {
  const found: Row[] = [];
  const relation = at(graph.relations, at(graph.tops, 0));
  const common = { level: 0, nodes: NONE };
  if (relation !== "focus") found.push({ ...common, kind: "because", key: "because", relation: "cause" });
  for (const row of rows) {
    const top = row.kind === "event" && at(graph.parents, row.node) < 0 ? topRow(row, graph, trace) : null;
    if (top !== null) found.push(top);
    found.push(row);
    if (row.kind === "event" && row.nodes.includes(graph.focus)) {
      found.push({ ...common, kind: "ledTo", key: "ledTo", level: row.level, relation: "effect" });
    }
  }
  if (trace.atLeast) found.push({ ...common, kind: "atLeast", key: "atLeast", relation: "beside" });
  return found;
}

function topRow(row: EventRow, graph: Graph, trace: Trace): TopRow | null {
  const node = at(graph.nodes, row.node);
  const common = { level: row.level, relation: row.relation, nodes: NONE, node: row.node };
  if (node.cycle) return { ...common, kind: "cycle", key: `cycle:${node.id}` };
  if (node.causationId === null) return null;
  if (trace.missing.includes(node.causationId)) return { ...common, kind: "ghost", key: `ghost:${node.causationId}` };
  return { ...common, kind: "causesAbsent", key: `above:${node.id}` };
}

/** A break before each row that came long after its cause, and after its sibling above. */
function withGaps(rows: readonly Row[], graph: Graph): Row[] {
  const threshold = gapThreshold(graph);
  const found: Row[] = [];
  let last: Row | undefined;
  for (const row of rows) {
    const us = row.kind === "event" ? waited(row, last, graph) : 0;
    if (row.kind === "event" && us >= threshold) {
      const height = 20 + Math.round(Math.min(16, 4 * Math.log2(us / threshold)));
      found.push({ kind: "gap", key: `gap:${row.key}`, level: row.level, relation: row.relation, nodes: NONE, node: row.node, us, height });
    }
    found.push(row);
    if (row.kind !== "ledTo") last = row;
  }
  return found;
}

/** How long after its cause a row began, or after the row above it if both have one cause. */
function waited(row: EventRow, last: Row | undefined, graph: Graph): number {
  const parent = at(graph.parents, row.node);
  if (parent < 0) return 0;
  let since = timeOf(at(graph.nodes, parent));
  if (last?.kind === "event" && at(graph.parents, last.node) === parent) since = Math.max(since, timeOf(at(graph.nodes, last.node)));
  return timeOf(at(graph.nodes, row.node)) - since;
}
