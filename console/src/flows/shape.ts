/** The shape of a flow: its events as ticks on one scale for all rows. Pure; times are in microseconds. */

/** How long the scale is. One very long flow does not press all others into a point: it is cut, and marked as cut. */
export function scaleOf(durationsUs: readonly number[]): number {
  const sorted = durationsUs.filter((us) => us > 0).sort((a, b) => a - b);
  const longest = sorted[sorted.length - 1];
  const median = sorted[Math.floor((sorted.length - 1) / 2)];
  if (longest === undefined || median === undefined) return 1;
  return Math.min(longest, median * 8);
}

export interface Tick {
  x: number;
  failed: boolean;
}

/** Where the events of a flow lie on a scale of so many pixels. Ticks nearer than half a pixel are one, failures stay. */
export function ticksOf(events: readonly { occurredAt: string; outcome: string }[], firstAt: string, scaleUs: number, width: number): Tick[] {
  const start = Date.parse(firstAt);
  const ticks: Tick[] = [];
  let lastX = Number.NEGATIVE_INFINITY;
  for (const event of events) {
    const x = ((Date.parse(event.occurredAt) - start) * 1000 * width) / scaleUs;
    const failed = event.outcome === "failure";
    if (x < 0 || x > width) continue;
    if (!failed && x - lastX < 0.5) continue;
    if (!failed) lastX = x;
    ticks.push({ x, failed });
  }
  return ticks;
}

/** The event that best says how a flow began: the first message of a person among its first events, else the first. */
export function beginningOf<Event extends { actorType: string; eventType: string }>(events: readonly Event[], isQuote: (event: Event) => boolean): Event | undefined {
  return events.slice(0, 5).find((event) => event.actorType === "user" && isQuote(event)) ?? events[0];
}
