/** The columns of the lanes view and of the overview: one an actor, or one a resource. Pure. */
import { at, type Graph, type TraceNode } from "./graph";
import { visible } from "../common/visible";

export type LaneOf = "actor" | "resource";

export interface Lane {
  key: string;
  /** Actor type or resource type; empty for the lane of the others. */
  type: string;
  /** Actor id, or type and short id of the resource; "5 others". */
  name: string;
  nodes: number;
}

export interface Lanes {
  lanes: readonly Lane[];
  /** The lane of each node. */
  laneOf: Int32Array;
}

const ACTOR_ORDER = ["user", "anonymous", "agent", "automation", "service", "integration", "api_key", "system"];

/** At most `most` lanes; those with the fewest nodes share the last one. People come first, then agents, then programs. */
export function buildLanes(graph: Graph, by: LaneOf, most = 8): Lanes {
  const counts = new Map<string, { lane: Lane; first: number }>();
  const keys = graph.nodes.map((node, index) => {
    const key = by === "actor" ? JSON.stringify([node.actorType, node.actorId]) : JSON.stringify([node.resourceType, node.resourceId]);
    const found = counts.get(key);
    if (found === undefined) counts.set(key, { lane: { key, ...nameOf(node, by), nodes: 1 }, first: index });
    else found.lane.nodes++;
    return key;
  });
  const byCount = [...counts.values()].sort((one, other) => other.lane.nodes - one.lane.nodes || one.first - other.first);
  const own = byCount.length <= most ? byCount : byCount.slice(0, most - 1);
  const others = byCount.slice(own.length);
  own.sort((one, other) => rankOf(one.lane, by) - rankOf(other.lane, by) || one.first - other.first);
  const lanes = own.map(({ lane }) => lane);
  if (others.length > 0) {
    const nodes = others.reduce((sum, { lane }) => sum + lane.nodes, 0);
    lanes.push({ key: "others", type: "", name: `${others.length} others`, nodes });
  }
  const places = new Map(lanes.map((lane, index) => [lane.key, index]));
  return { lanes, laneOf: Int32Array.from(keys, (key) => places.get(key) ?? lanes.length - 1) };
}

function nameOf(node: TraceNode, by: LaneOf): { type: string; name: string } {
  if (by === "actor") return { type: node.actorType, name: visible(node.actorId) };
  return { type: node.resourceType, name: `${node.resourceType.replaceAll("_", " ")} ${node.resourceId.slice(0, 8)}` };
}

function rankOf(lane: Lane, by: LaneOf): number {
  if (by === "resource") return 0;
  const rank = ACTOR_ORDER.indexOf(lane.type);
  return rank < 0 ? ACTOR_ORDER.length : rank;
}

/** The x of each lane's middle, when `width` pixels are shared evenly. */
export function laneX(lane: number, lanes: number, width: number): number {
  return Math.round((width * (2 * lane + 1)) / (2 * Math.max(1, lanes)));
}

/** The lane in which a row of these nodes is drawn: that of its first. */
export const laneOfRow = (nodes: readonly number[], lanes: Lanes): number => (nodes.length === 0 ? -1 : at(lanes.laneOf, at(nodes, 0)));
