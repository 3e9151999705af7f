/** The causal graph of a trace, as arrays over the numbers of its nodes. Pure, iterative, and linear in the nodes. */
import type { Schemas } from "../api/client";

/** A node as the server answers it with `include=rows`. The texts come from payloads, and are untrusted. */
export type TraceNode = Schemas["TraceNode"] & {
  /** The object of the sentence: a tool, a name. Empty for messages. */
  label?: string;
  /** One line; a quotation has its quotation marks. */
  detail?: string;
  verb?: string;
  /** The end that follows this start directly, on the same resource. */
  pairedEndId?: string | null;
};

export type Trace = Omit<Schemas["Trace"], "nodes"> & { nodes: TraceNode[] };

/** How a node stands to the selected event. Causes and the selected event itself lie on the spine. */
export type Relation = "cause" | "focus" | "effect" | "beside";

export interface Graph {
  nodes: readonly TraceNode[];
  /** Nodes by id. */
  byId: ReadonlyMap<string, number>;
  /** The number of a node's cause, or -1 where that is not in the graph. */
  parents: Int32Array;
  /** Direct effects by time, as the server orders them. */
  children: readonly (readonly number[])[];
  /** Nodes without a cause in the graph: the first is the root, or the earliest event that is known. */
  tops: readonly number[];
  /** The selected event. */
  focus: number;
  relations: readonly Relation[];
  /** Nodes of the subtree of each, itself included, and the failures among them. */
  sizes: Int32Array;
  failures: Int32Array;
  /** Effects of each node that the answer left out, direct or not, without those below an effect that is there. */
  absent: Int32Array;
  /** For an end, its start: the latest start before it on the same resource. -1 for others. */
  starts: Int32Array;
  /** For a start, its end; -1 if it has none here. */
  ends: Int32Array;
}

export const isFailure = (node: TraceNode): boolean => node.outcome === "failure";

/** When a node occurred, in microseconds since the first node of the answer's root. */
export const timeOf = (node: TraceNode): number => node.sinceRootUs;

const NO_CHILDREN: readonly number[] = [];

export function buildGraph(trace: Trace): Graph {
  const { nodes } = trace;
  const byId = new Map(nodes.map((node, index) => [node.id, index]));
  const parents = new Int32Array(nodes.length).fill(-1);
  const children: (number[] | undefined)[] = new Array<number[] | undefined>(nodes.length);
  const tops: number[] = [];
  nodes.forEach((node, index) => {
    const parent = node.causationId === null || node.cycle ? undefined : byId.get(node.causationId);
    // Every node comes after its cause. One that did not would be part of a cycle, and stands alone.
    if (parent === undefined || parent >= index) {
      tops.push(index);
      return;
    }
    parents[index] = parent;
    (children[parent] ??= []).push(index);
  });
  const focus = byId.get(trace.eventId) ?? 0;
  const graph = {
    nodes,
    byId,
    parents,
    children: Array.from(children, (list) => list ?? NO_CHILDREN),
    tops,
    focus,
    relations: relationsTo(focus, parents),
    ...countedBelow(nodes, parents),
    absent: new Int32Array(nodes.length),
    ...pairedByResource(nodes),
  };
  fillAbsent(graph);
  return graph;
}

function relationsTo(focus: number, parents: Int32Array): Relation[] {
  const relations = new Array<Relation>(parents.length).fill("beside");
  if (parents.length === 0) return relations;
  for (let above = parents[focus] ?? -1; above >= 0; above = parents[above] ?? -1) relations[above] = "cause";
  relations[focus] = "focus";
  for (let index = focus + 1; index < parents.length; index++) {
    const parent = parents[index] ?? -1;
    if (parent >= 0 && (parent === focus || relations[parent] === "effect")) relations[index] = "effect";
  }
  return relations;
}

function countedBelow(nodes: readonly TraceNode[], parents: Int32Array): Pick<Graph, "sizes" | "failures"> {
  const sizes = new Int32Array(nodes.length).fill(1);
  const failures = Int32Array.from(nodes, (node) => (isFailure(node) ? 1 : 0));
  for (let index = nodes.length - 1; index >= 0; index--) {
    const parent = parents[index] ?? -1;
    if (parent < 0) continue;
    sizes[parent] = at(sizes, parent) + at(sizes, index);
    failures[parent] = at(failures, parent) + at(failures, index);
  }
  return { sizes, failures };
}

function fillAbsent(graph: Pick<Graph, "nodes" | "children" | "absent">): void {
  graph.nodes.forEach((node, index) => {
    let left = node.allEffects;
    for (const child of graph.children[index] ?? NO_CHILDREN) left -= (graph.nodes[child]?.allEffects ?? 0) + 1;
    graph.absent[index] = Math.max(0, left);
  });
}

const ENDS_WITHOUT_OUTCOME = /\.(cancelled|canceled|skipped|rejected|stopped|ended|finished|aborted)$/;

/** The key that a start and its end share: what kind of thing, and which one. */
function runOf(node: TraceNode): string {
  return `${node.eventType.slice(0, node.eventType.lastIndexOf("."))} ${node.resourceType} ${node.resourceId}`;
}

export const isStart = (node: TraceNode): boolean => node.eventType.endsWith(".started");

function isEnd(node: TraceNode): boolean {
  return !isStart(node) && (node.outcome !== "none" || ENDS_WITHOUT_OUTCOME.test(node.eventType));
}

function pairedByResource(nodes: readonly TraceNode[]): Pick<Graph, "starts" | "ends"> {
  const starts = new Int32Array(nodes.length).fill(-1);
  const ends = new Int32Array(nodes.length).fill(-1);
  const open = new Map<string, number>();
  nodes.forEach((node, index) => {
    if (isStart(node)) {
      open.set(runOf(node), index);
    } else if (isEnd(node)) {
      const key = runOf(node);
      const start = open.get(key);
      if (start === undefined) return;
      starts[index] = start;
      ends[start] = index;
      open.delete(key);
    }
  });
  return { starts, ends };
}

/** The item at a place that is known to be inside. */
export function at<Item>(list: ArrayLike<Item>, index: number): Item {
  return list[index] as Item;
}

/** The nodes of a subtree, each after its cause. */
export function subtree(graph: Graph, top: number): number[] {
  const found: number[] = [];
  const stack = [top];
  for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
    found.push(next);
    const below = at(graph.children, next);
    for (let index = below.length - 1; index >= 0; index--) stack.push(at(below, index));
  }
  return found;
}

/** The causes of a node, nearest first. */
export function causesOf(graph: Graph, node: number): number[] {
  const found: number[] = [];
  for (let above = at(graph.parents, node); above >= 0; above = at(graph.parents, above)) found.push(above);
  return found;
}
