import { keepPreviousData, queryOptions, useQuery } from "@tanstack/react-query";
import { getJson } from "../api/client";
import type { Trace } from "./graph";

/** The most events that a trace reads, and so answers. */
export const NODES_MAX = 10_000;

/** The trace of an event. While another one loads, the one before stays. */
export function traceOptions(eventId: string) {
  return queryOptions({
    queryKey: ["trace", eventId],
    queryFn: ({ signal }) => getJson<Trace>(`api/v1/events/${encodeURIComponent(eventId)}/trace?limit=${NODES_MAX}&include=rows`, signal),
    placeholderData: keepPreviousData,
    // A trace has thousands of nodes, which are not compared one by one with those of the answer before.
    structuralSharing: false,
  });
}

export const useTrace = (eventId: string) => useQuery(traceOptions(eventId));
