/** All that an event led to: its blast radius. Pure. */
import { at, isFailure, subtree, type Graph } from "./graph";
import { spanUs } from "./words";

export interface TypeCount {
  eventType: string;
  count: number;
  failures: number;
}

export interface Blast {
  /** Effects that came with the answer; the server's count may be larger. */
  nodes: readonly number[];
  failures: number;
  resources: number;
  actors: number;
  us: number;
  types: readonly TypeCount[];
  flows: readonly string[];
}

/** The effects of a node, counted by type: most first, then by name. */
export function blastOf(graph: Graph, top: number): Blast {
  const nodes = subtree(graph, top).slice(1);
  const types = new Map<string, TypeCount>();
  const resources = new Set<string>();
  const actors = new Set<string>();
  const flows = new Set([at(graph.nodes, top).correlationId]);
  let failures = 0;
  for (const index of nodes) {
    const node = at(graph.nodes, index);
    const count = types.get(node.eventType) ?? { eventType: node.eventType, count: 0, failures: 0 };
    count.count++;
    if (isFailure(node)) {
      count.failures++;
      failures++;
    }
    types.set(node.eventType, count);
    resources.add(JSON.stringify([node.resourceType, node.resourceId]));
    actors.add(JSON.stringify([node.actorType, node.actorId]));
    flows.add(node.correlationId);
  }
  return {
    nodes,
    failures,
    resources: resources.size,
    actors: actors.size,
    us: nodes.length === 0 ? 0 : spanUs([top, ...nodes], graph),
    types: [...types.values()].sort((one, other) => other.count - one.count || (one.eventType < other.eventType ? -1 : 1)),
    flows: [...flows],
  };
}

/** The query of the explorer that holds these events, and others of their flows since then. */
export function blastQuery(graph: Graph, top: number, blast: Blast): string {
  const flows = blast.flows.slice(0, 20).map((flow) => `flow:${quoted(flow)}`);
  return [...flows, `since:${at(graph.nodes, top).occurredAt}`].join(" ");
}

/** A value of a query, in quotation marks where it needs them. */
export function quoted(value: string): string {
  return /^[^\s"]+$/.test(value) ? value : `"${value.replaceAll('"', "")}"`;
}
