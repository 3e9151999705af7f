/** What the pages of an event ask the server. */
import { queryOptions } from "@tanstack/react-query";
import { getJson } from "../api/client";
import type { EventPage, LogEvent } from "../api/events";
import { instant, micros } from "../explore/periods";
import type { Trace } from "./story";

const READ = "500";

export function traceOptions(id: string, direction: "up" | "down") {
  return queryOptions({
    queryKey: ["trace", id, direction],
    queryFn: ({ signal }) =>
      getJson<Trace>(`api/v1/events/${id}/trace?${new URLSearchParams({ direction, limit: READ, include: "rows" })}`, signal),
  });
}

/** The events of the resource up to this one, newest first, and how many it has in all. */
export function resourceBeforeOptions(event: LogEvent) {
  const address = `api/v1/events/resource/${event.resourceType}/${event.resourceId}`;
  return queryOptions({
    queryKey: ["resource-before", event.id],
    queryFn: async ({ signal }) => {
      // Events of the same microsecond are ordered by position, so they are read too.
      const to = afterwards(event.occurredAt);
      const include = "position,recordedAt,outcome";
      const [before, all] = await Promise.all([
        getJson<EventPage>(`${address}?${new URLSearchParams({ to, limit: "8", include })}`, signal),
        getJson<EventPage>(`${address}?${new URLSearchParams({ limit: "1", include })}`, signal),
      ]);
      const place = before.events.findIndex((other) => other.id === event.id);
      return { earlier: before.events.slice(place + 1), total: all.total };
    },
  });
}

/** The next microsecond. */
function afterwards(time: string): string {
  const next = micros(time) + 1;
  const fraction = String(next % 1_000_000).padStart(6, "0");
  return instant(Math.floor(next / 1_000_000) * 1000).replace("Z", `.${fraction}Z`);
}
