/** The addresses of the console's screens in the recorded airline runs. */

/** The position of a booking that failed in the middle of its flow, with causes and effects. */
const FAILED_BOOKING = 5_539;

export const SCREENS = [
  "explore",
  "explore-failed",
  "event",
  "trace",
  "flows",
  "map",
  "resources",
  "resource",
  "actors",
  "actor",
  "integrity",
  "retention",
  "webhooks",
  "alerts",
  "settings",
] as const;
export type Screen = (typeof SCREENS)[number];

/** What every screen is at, found by the API as a reader would. */
export async function addresses(server: string, key: string): Promise<Record<Screen, string>> {
  const get = async (path: string) => (await (await fetch(`${server}/api/v1/${path}`, { headers: { "X-API-Key": key } })).json()) as never;
  const { id } = (await get(`references/@${FAILED_BOOKING}`)) as { id: string };
  const event = (await get(`events/${id}`)) as { resourceType: string; resourceId: string; actorType: string; actorId: string };
  return {
    explore: "/explore",
    "explore-failed": `/explore?q=${encodeURIComponent("outcome:failure")}&sel=${id}`,
    event: `/e/${id}`,
    trace: `/trace/${id}`,
    flows: "/flows",
    map: "/map",
    resources: "/resources",
    resource: `/r/${event.resourceType}/${event.resourceId}`,
    actors: "/actors",
    actor: `/actors/${event.actorType}/${event.actorId}`,
    integrity: "/integrity",
    retention: "/integrity?tab=retention",
    webhooks: "/webhooks",
    alerts: "/alerts",
    settings: "/settings",
  };
}
