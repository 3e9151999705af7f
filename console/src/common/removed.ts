import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { getJson } from "../api/client";
import type { EventPage } from "../api/events";

/** How many of a log's first `size` events are no longer kept; undefined until it is known. A log that grows between two answers has lost nothing. */
export function useRemoved(size: number | undefined): number | undefined {
  return useQuery({
    queryKey: ["removed", size],
    queryFn: async ({ signal }) => Number(size) - (await getJson<EventPage>(`api/v1/events?limit=1&as_of=${size}`, signal)).total,
    enabled: size !== undefined && size > 0,
    placeholderData: keepPreviousData,
    retry: false,
  }).data;
}
