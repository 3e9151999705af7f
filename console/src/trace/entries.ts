/** A graph as a sequence in the order of cause, where siblings and other flows may be folded. Pure and iterative. */
import { at, isFailure, subtree, type Graph } from "./graph";

/** What a reader has chosen to see. */
export interface View {
  mode: "all" | "failures" | "blast";
  /** Rows above the selected event that never fold. */
  above: number;
  unfoldAll: boolean;
  /** Keys of the folds that were opened. */
  unfolded: ReadonlySet<string>;
}

export const WHOLE_VIEW: View = { mode: "all", above: 9, unfoldAll: false, unfolded: new Set() };

/** How many siblings are shown before the rest folds. */
const SIBLINGS_SHOWN = 5;

export type Entry =
  | { kind: "event"; node: number; level: number }
  /** Further effects of `parent`, without a failure among them. */
  | { kind: "siblings"; key: string; parent: number; level: number; open: boolean; count: number; nodes: readonly number[] }
  /** A way into the flow of `node`. Closed, it stands for all that happened there. */
  | { kind: "portal"; key: string; node: number; level: number; open: boolean; nodes: readonly number[] }
  /** Effects of `node` that the answer left out. */
  | { kind: "absent"; node: number; level: number; count: number };

type Task = { entry: Entry; children: boolean };

const NONE: readonly number[] = [];

/** Every node of the graph, in exactly one entry. Each comes after its cause; the spine stays on its level. */
export function linearise(graph: Graph, view: View): Entry[] {
  const entries: Entry[] = [];
  const stack: Task[] = [...graph.tops].reverse().map((node) => ({ entry: { kind: "event", node, level: 0 }, children: true }));
  for (let task = stack.pop(); task !== undefined; task = stack.pop()) {
    const { entry, children } = task;
    entries.push(entry);
    if (!children || entry.kind !== "event") continue;
    const below = tasksBelow(graph, view, entry.node, entry.level);
    for (let index = below.length - 1; index >= 0; index--) stack.push(at(below, index));
  }
  return entries;
}

/** What follows a node: its effects in order, those on the spine last. */
function tasksBelow(graph: Graph, view: View, node: number, level: number): Task[] {
  const all = at(graph.children, node);
  const isCause = at(graph.relations, node) === "cause";
  const onSpine = isCause ? all.filter((child) => isOnSpine(graph, child)) : [];
  const others = isCause ? all.filter((child) => !isOnSpine(graph, child)) : all;
  const isBranch = Math.max(all.length, at(graph.nodes, node).effects) >= 2;
  const inner = isBranch ? level + 1 : level;
  const tasks: Task[] = [];
  const { shown, hidden, open } = chosenSiblings(graph, view, node, others);
  const key = siblingsKey(graph, node);
  if (open) tasks.push(folded({ kind: "siblings", key, parent: node, level: inner, open: true, count: others.length, nodes: NONE }));
  for (const child of shown) tasks.push(...tasksOf(graph, view, child, inner));
  if (hidden.length > 0) {
    const nodes = hidden.flatMap((child) => subtree(graph, child));
    tasks.push(folded({ kind: "siblings", key, parent: node, level: inner, open: false, count: hidden.length, nodes }));
  }
  const count = at(graph.absent, node);
  if (count > 0) tasks.push(folded({ kind: "absent", node, level: inner, count }));
  for (const child of onSpine) tasks.push(...tasksOf(graph, view, child, level));
  return tasks;
}

const folded = (entry: Entry): Task => ({ entry, children: false });

const siblingsKey = (graph: Graph, parent: number): string => `siblings:${at(graph.nodes, parent).id}`;

function isOnSpine(graph: Graph, node: number): boolean {
  const relation = at(graph.relations, node);
  return relation === "cause" || relation === "focus";
}

/** An effect, with its portal if it lies in another flow. A portal to a failure stands open. */
function tasksOf(graph: Graph, view: View, node: number, level: number): Task[] {
  const event: Task = { entry: { kind: "event", node, level }, children: true };
  if (!at(graph.nodes, node).otherFlow) return [event];
  const key = `portal:${at(graph.nodes, node).id}`;
  const open = isOnSpine(graph, node) || at(graph.failures, node) > 0 || view.unfoldAll || view.unfolded.has(key);
  const nodes = open ? NONE : subtree(graph, node);
  const portal = folded({ kind: "portal", key, node, level, open, nodes });
  return open ? [portal, event] : [portal];
}

interface Chosen {
  shown: readonly number[];
  hidden: readonly number[];
  /** Whether there is a fold that the reader opened. */
  open: boolean;
}

/** After five siblings the rest folds: failures come first and never fold. Repeats of one thing count as one sibling. */
function chosenSiblings(graph: Graph, view: View, parent: number, siblings: readonly number[]): Chosen {
  const whole: Chosen = { shown: siblings, hidden: [], open: false };
  if (siblings.length <= SIBLINGS_SHOWN || view.mode === "failures" || view.unfoldAll) return whole;
  const units = repeatsOf(graph, siblings);
  const failing = units.filter((unit) => unit.some((node) => at(graph.failures, node) > 0));
  const calm = units.filter((unit) => unit.every((node) => at(graph.failures, node) === 0));
  const room = Math.max(0, SIBLINGS_SHOWN - failing.length);
  const hidden = calm.slice(room).flat();
  if (hidden.length < 2) return whole;
  if (view.unfolded.has(siblingsKey(graph, parent))) return { ...whole, open: true };
  return { shown: [...failing.flat(), ...calm.slice(0, room).flat()], hidden, open: false };
}

/** Siblings, with those that would make one row of repeats put together. */
function repeatsOf(graph: Graph, siblings: readonly number[]): number[][] {
  const units: number[][] = [];
  let last: number | null = null;
  for (const node of siblings) {
    const isPlain = isPlainLeaf(graph, node);
    if (isPlain && last !== null && areRepeats(graph, last, node)) at(units, units.length - 1).push(node);
    else units.push([node]);
    last = isPlain ? node : null;
  }
  return units;
}

function isPlainLeaf(graph: Graph, node: number): boolean {
  const event = at(graph.nodes, node);
  return at(graph.sizes, node) === 1 && event.allEffects === 0 && !isFailure(event) && !event.otherFlow && !event.skewed;
}

/** Whether two events are repeats of each other: the same actor, type and object. Without an object, none are. */
export function areRepeats(graph: Graph, one: number, other: number): boolean {
  const [first, second] = [at(graph.nodes, one), at(graph.nodes, other)];
  return (
    first.label !== undefined &&
    first.label !== "" &&
    first.label === second.label &&
    first.eventType === second.eventType &&
    first.actorId === second.actorId &&
    first.actorType === second.actorType
  );
}
