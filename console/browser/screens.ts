/** The addresses of the console's screens in the recorded airline runs. */

/** The position of a booking that failed in the middle of its flow, with causes and effects. */
const FAILED_BOOKING = 5_539;

/** The message that led to its start, and the thread of the conversation. */
const BESIDE = "inbound_message/3c9fe4c0-9e42-50c0-bd07-93df576284cf,chat_thread/bc7166b7-78bd-5c24-a106-a75fd4d439fc";

export const SCREENS = [
  "explore",
  "explore-failed",
  "event",
  "trace",
  "flows",
  "map",
  "resources",
  "resource",
  "resource-lanes",
  "actors",
  "actor",
  "integrity",
  "retention",
  "exports",
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
    "resource-lanes": `/r/${event.resourceType}/${event.resourceId}?with=${encodeURIComponent(BESIDE)}`,
    actors: "/actors",
    actor: `/actors/${event.actorType}/${event.actorId}`,
    integrity: "/integrity",
    retention: "/integrity?tab=retention",
    exports: "/integrity?tab=exports",
    webhooks: "/webhooks",
    alerts: "/alerts",
    settings: "/settings",
  };
}
