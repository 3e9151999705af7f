/** What the explorer asks the server. */
import { infiniteQueryOptions, keepPreviousData, queryOptions } from "@tanstack/react-query";
import { getJson } from "../api/client";
import type { EventPage, LogEvent } from "../api/events";
import { parametersOf, type Filters } from "./address";
import type { Histogram } from "./bars";
import type { Before } from "./compare";

const PAGE = "100";
const INCLUDED = "position,recordedAt,outcome,nextCursor";

export const eventsKey = (filters: Filters) => ["events", "list", filters.q, filters.from ?? "", filters.to ?? ""] as const;

export function readPage(filters: Filters, cursor: string | null, signal?: AbortSignal): Promise<EventPage> {
  const more = { limit: PAGE, include: INCLUDED, ...(cursor === null ? {} : { cursor }) };
  return getJson<EventPage>(`api/v1/events?${parametersOf(filters, more)}`, signal);
}

/** The events, newest first, page by page. While the log is empty it is asked again every two seconds. */
export function eventsOptions(filters: Filters) {
  const isUnfiltered = !filters.q && !filters.from && !filters.to;
  return infiniteQueryOptions({
    queryKey: eventsKey(filters),
    queryFn: ({ pageParam, signal }) => readPage(filters, pageParam, signal),
    initialPageParam: null as string | null,
    getNextPageParam: (page) => page.nextCursor ?? null,
    placeholderData: keepPreviousData,
    staleTime: 15_000,
    refetchOnReconnect: false,
    refetchInterval: (query) => (isUnfiltered && query.state.data?.pages[0]?.total === 0 ? 2_000 : false),
  });
}

export function histogramOptions(filters: Filters) {
  return queryOptions({
    queryKey: ["events", "histogram", filters.q, filters.from ?? "", filters.to ?? ""],
    queryFn: ({ signal }) => getJson<Histogram>(`api/v1/events/histogram?${parametersOf(filters)}`, signal),
    placeholderData: keepPreviousData,
  });
}

/** The counts of the period before, in buckets of the same length. They are not kept, since most periods move with the clock. */
export function beforeOptions(filters: Filters, before: Before | null, interval: string) {
  return queryOptions({
    queryKey: ["events", "before", filters.q, before?.from, before?.to, interval],
    queryFn: ({ signal }) => {
      const period = { q: filters.q, from: before?.from, to: before?.to };
      return getJson<Histogram>(`api/v1/events/histogram?${parametersOf(period, { interval })}`, signal);
    },
    placeholderData: keepPreviousData,
    enabled: before !== null,
    gcTime: 0,
  });
}

/** A value of a facet. Event types are a tree: `value` is then a type, or the beginning of one with `.*`. */
export interface FacetValue {
  value?: string;
  actorType?: string;
  actorId?: string;
  count: number;
  failures: number;
  children?: FacetValue[];
}

export interface Facet {
  values: FacetValue[];
  /** How many further values there are. */
  more: number;
}

export interface FacetsAnswer {
  total: number;
  facets: Record<string, Facet>;
}

export function facetsOptions(filters: Filters) {
  return queryOptions({
    queryKey: ["events", "facets", filters.q, filters.from ?? "", filters.to ?? ""],
    queryFn: ({ signal }) => getJson<FacetsAnswer>(`api/v1/events/facets?${parametersOf(filters, { top: "12" })}`, signal),
    placeholderData: keepPreviousData,
  });
}

/** What the name of a term about a payload begins with. */
export const PAYLOAD = "payload.";

/** The paths of payloads that this server has in an index, such as `tool`: those that completion offers. */
export const payloadPathsOptions = queryOptions({
  queryKey: ["payload-paths"],
  queryFn: async ({ signal }) => {
    const { suggestions } = await getJson<{ suggestions: Suggestion[] }>(`api/v1/events/suggest?q=${PAYLOAD}&cursor=${PAYLOAD.length}&limit=20`, signal);
    return suggestions.filter(({ kind, label }) => kind === "name" && label.startsWith(PAYLOAD)).map(({ label }) => label.slice(PAYLOAD.length));
  },
  staleTime: Number.POSITIVE_INFINITY,
  retry: false,
});

interface PayloadFacet extends Facet {
  path: string;
}

/** The values at the indexed paths, asked for apart, since they may take longer than the other facets. */
export function payloadFacetsOptions(filters: Filters, paths: readonly string[]) {
  return queryOptions({
    queryKey: ["events", "facets", "payload", filters.q, filters.from ?? "", filters.to ?? "", ...paths],
    queryFn: async ({ signal }) => {
      const parameters = [parametersOf(filters, { top: "12" }), ...paths.map((path) => `payload_field=${encodeURIComponent(path)}`)].join("&");
      const { facets } = await getJson<{ facets: { payload?: PayloadFacet[] } }>(`api/v1/events/facets?${parameters}`, signal);
      return facets.payload ?? [];
    },
    placeholderData: keepPreviousData,
    retry: false,
  });
}

export interface Suggestion {
  kind: string;
  insert: string;
  label: string;
  count: number | null;
  start: number;
  end: number;
}

export function suggestOptions(q: string, cursor: number) {
  return queryOptions({
    queryKey: ["suggest", q, cursor],
    queryFn: async ({ signal }) => {
      const parameters = new URLSearchParams({ q, cursor: String(cursor), limit: "8" });
      return (await getJson<{ suggestions: Suggestion[] }>(`api/v1/events/suggest?${parameters}`, signal)).suggestions;
    },
    placeholderData: keepPreviousData,
    retry: false,
  });
}

/** How many events match. */
export function countOptions(filters: Filters) {
  return queryOptions({
    queryKey: ["events", "count", filters.q, filters.from ?? "", filters.to ?? ""],
    queryFn: async ({ signal }) =>
      (await getJson<EventPage>(`api/v1/events?${parametersOf(filters, { limit: "1" })}`, signal)).total,
    retry: false,
  });
}

export function eventOptions(id: string) {
  return queryOptions({
    queryKey: ["event", id],
    queryFn: ({ signal }) => getJson<LogEvent>(`api/v1/events/${id}?include=position,recordedAt,outcome,erasedAt`, signal),
    staleTime: Number.POSITIVE_INFINITY,
  });
}

/** What a pasted text names. */
export interface Match {
  kind: "event" | "flow" | "resource" | "actor";
  id?: string;
  correlationId?: string;
  resourceType?: string;
  resourceId?: string;
  actorType?: string;
  actorId?: string;
}

export async function findText(text: string): Promise<Match | undefined> {
  return (await getJson<{ matches: Match[] }>(`api/v1/search?${new URLSearchParams({ text })}`)).matches[0];
}

export interface View {
  id: string;
  name: string;
  address: string;
  createdAt: string;
  createdBy: string;
}

export const viewsOptions = queryOptions({
  queryKey: ["views"],
  queryFn: async ({ signal }) => (await getJson<{ views: View[] }>("api/v1/views", signal)).views,
});
