/** What was known of a resource at a moment, and the lanes of its actors. Pure. */
import type { LogEvent } from "../api/events";

export interface Known {
  /** The events that had been recorded, in their order. */
  events: LogEvent[];
  /** How many came later. */
  later: number;
  /** The newest of those that were known, by when it occurred. */
  last: LogEvent | undefined;
}

/** The events up to a position of the log, of events that are newest first; all of them without one. */
export function knownAt(events: readonly LogEvent[], asOf: number | null): Known {
  const known = asOf === null ? [...events] : events.filter(({ position }) => position <= asOf);
  return { events: known, later: events.length - known.length, last: known[0] };
}

/** The moments at which more became known: the positions of the events, the earliest first. */
export function moments(events: readonly LogEvent[]): number[] {
  return events.map(({ position }) => position).sort((one, other) => one - other);
}

/** The last moment that is not after a position; the first one if there is none. */
export function momentAt(positions: readonly number[], asOf: number | null): number {
  if (asOf === null) return positions.length - 1;
  return Math.max(0, positions.filter((position) => position <= asOf).length - 1);
}

export interface ActorLane {
  key: string;
  actorType: string;
  /** Empty for the lane of all others. */
  actorId: string;
  events: number;
}

export interface ActorLanes {
  lanes: ActorLane[];
  /** The lane of each event. */
  laneOf: number[];
}

/** One lane an actor, those with the most events first; when there are more than `most`, the last lane is of all others. */
export function actorLanes(events: readonly LogEvent[], most = 8): ActorLanes {
  const counts = new Map<string, ActorLane>();
  const keys = events.map(({ actorType, actorId }) => {
    const key = JSON.stringify([actorType, actorId]);
    const lane = counts.get(key) ?? { key, actorType, actorId, events: 0 };
    counts.set(key, { ...lane, events: lane.events + 1 });
    return key;
  });
  const ranked = [...counts.values()].sort((one, other) => other.events - one.events || (one.key < other.key ? -1 : 1));
  const own = ranked.length <= most ? ranked : ranked.slice(0, most - 1);
  const others = ranked.slice(own.length).reduce((sum, lane) => sum + lane.events, 0);
  const lanes = others > 0 ? [...own, { key: "others", actorType: "", actorId: "", events: others }] : own;
  const place = new Map(own.map(({ key }, index) => [key, index]));
  return { lanes, laneOf: keys.map((key) => place.get(key) ?? own.length) };
}
