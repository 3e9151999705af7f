/** The order and the pace in which a trace is played. Pure. */
import { at, timeOf, type Graph } from "./graph";
import type { Row } from "./rows";

/** The nodes by when they occurred; those of one moment causes first. */
export function timeOrder(graph: Graph): number[] {
  return graph.nodes.map((_, node) => node).sort((one, other) => timeOf(at(graph.nodes, one)) - timeOf(at(graph.nodes, other)) || one - other);
}

export const SPEEDS = [0.5, 1, 2] as const;
export type Speed = (typeof SPEEDS)[number];

/** How long a whole trace takes at speed 1, at most. */
const WHOLE_MS = 10_000;
const EVENT_MAX_MS = 800;
/** Steps that follow more quickly than this cannot be told apart. */
const STEP_MIN_MS = 50;

/** How long a step lasts, and how many events it has: several in a long trace. */
export function paceOf(events: number, speed: Speed): { everyMs: number; events: number } {
  const eventMs = Math.min(EVENT_MAX_MS, WHOLE_MS / Math.max(1, events)) / speed;
  const together = Math.max(1, Math.ceil(STEP_MIN_MS / eventMs));
  return { everyMs: eventMs * together, events: together };
}

/** How a row looks while a trace is played: its event is the present one, or none of its events has occurred yet. */
export type Played = "now" | "later" | undefined;

/** The look of a row at a place in the order, by the place of every node. */
export function playedAt(row: Row, places: ArrayLike<number>, place: number): Played {
  if (row.nodes.some((node) => places[node] === place)) return "now";
  return row.nodes.length > 0 && row.nodes.every((node) => (places[node] ?? 0) > place) ? "later" : undefined;
}

/** The place of every node in an order. */
export function placesIn(order: readonly number[]): Int32Array {
  const places = new Int32Array(order.length);
  order.forEach((node, place) => (places[node] = place));
  return places;
}
