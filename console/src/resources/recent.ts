/** What was touched recently, and the pauses in a timeline. Pure. */
import type { LogEvent } from "../api/events";

export interface Touched {
  resourceType: string;
  resourceId: string;
  /** The newest of the events that were looked at. */
  last: LogEvent;
  events: number;
  failures: number;
}

/** The resources of events that come newest first, each once, in the order of their newest event. */
export function touchedIn(events: readonly LogEvent[]): Touched[] {
  const found = new Map<string, Touched>();
  for (const event of events) {
    const key = `${event.resourceType}/${event.resourceId}`;
    const touched = found.get(key) ?? { resourceType: event.resourceType, resourceId: event.resourceId, last: event, events: 0, failures: 0 };
    touched.events += 1;
    touched.failures += event.outcome === "failure" ? 1 : 0;
    found.set(key, touched);
  }
  return [...found.values()];
}

const LEAST_PAUSE_MS = 10_000;

/** The pause after each event of a timeline that is newest first, in microseconds, or null where it is nothing unusual. */
export function pausesOf(times: readonly string[]): (number | null)[] {
  const at = times.map((time) => Date.parse(time));
  const deltas = at.slice(1).map((time, index) => (at[index] as number) - time);
  const sorted = deltas.filter((delta) => delta > 0).sort((a, b) => a - b);
  const median = sorted[Math.floor((sorted.length - 1) / 2)] ?? 0;
  const threshold = Math.max(LEAST_PAUSE_MS, 8 * median);
  return [...deltas.map((delta) => (delta >= threshold || (deltas.length < 3 && delta >= LEAST_PAUSE_MS) ? delta * 1000 : null)), ...(at.length > 0 ? [null] : [])];
}
