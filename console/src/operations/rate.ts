/** How fast a log grows, from sizes that were read one after the other. Pure. */
export interface Reading {
  atMs: number;
  size: number;
}

/** Readings that are kept: those of the last minute, and the newest one before, so that the minute is whole. */
export function kept(readings: readonly Reading[], next: Reading, spanMs = 60_000): Reading[] {
  const all = [...readings.filter(({ atMs }) => atMs < next.atMs), next];
  const first = all.findIndex(({ atMs }) => atMs >= next.atMs - spanMs);
  return all.slice(Math.max(0, first - 1));
}

/** Events a second over the readings, or null before there are two. */
export function eventsPerSecond(readings: readonly Reading[]): number | null {
  const first = readings[0];
  const last = readings[readings.length - 1];
  if (!first || !last || last.atMs <= first.atMs) return null;
  return Math.max(0, ((last.size - first.size) * 1000) / (last.atMs - first.atMs));
}

export function rateText(rate: number): string {
  return rate === 0 ? "0" : rate < 10 ? rate.toFixed(1) : Math.round(rate).toLocaleString("en-US");
}

/** Where the name of a follower leads: "webhook:<id>" and "alert:<id>" have pages. */
export function followerPlace(name: string): { to: string; params: Record<string, string>; kind: string } | null {
  const [kind, id] = [name.slice(0, name.indexOf(":")), name.slice(name.indexOf(":") + 1)];
  if (kind === "webhook") return { to: "/webhooks/$webhookId", params: { webhookId: id }, kind: "webhook" };
  if (kind === "alert") return { to: "/alerts/$ruleId", params: { ruleId: id }, kind: "alert rule" };
  return null;
}
