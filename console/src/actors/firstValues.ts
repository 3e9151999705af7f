/** What an actor did for the first time by the values at indexed paths of payloads, such as the tools that it calls. */
import { queryOptions } from "@tanstack/react-query";
import { getJson } from "../api/client";
import type { EventPage, LogEvent } from "../api/events";
import type { Period } from "../common/Period";
import { term } from "../common/terms";
import { parametersOf } from "../explore/address";
import { PAYLOAD, type Facet } from "../explore/answers";
import { newValues } from "./fresh";

/** Values of a path that the server lists. */
const LISTED = "100";

export interface FirstValue {
  path: string;
  value: string;
  event: LogEvent;
}

export interface FirstValues {
  found: FirstValue[];
  /** How many values of the period may be new too, and were not looked up. */
  unknown: number;
}

type PathFacet = Facet & { path: string };

/** `self` is the actor's term, as the query bar has it. */
export function firstValuesOptions(self: string, period: Period, paths: readonly string[]) {
  return queryOptions({
    queryKey: ["actor-first-values", self, period, ...paths],
    queryFn: async ({ signal }): Promise<FirstValues> => {
      const facets = async (from: string | undefined, to: string | undefined) => {
        const parameters = [parametersOf({ q: self, from, to }, { top: LISTED }), ...paths.map((path) => `payload_field=${encodeURIComponent(path)}`)].join("&");
        const answer = await getJson<{ facets: { payload?: PathFacet[] } }>(`api/v1/events/facets?${parameters}`, signal);
        return answer.facets.payload ?? [];
      };
      const [within, before] = await Promise.all([facets(period.from, period.to), period.from ? facets(undefined, period.from) : []]);
      const found: FirstValue[] = [];
      let unknown = 0;
      for (const facet of within) {
        const fresh = newValues(facet, before.find(({ path }) => path === facet.path) ?? null);
        unknown += fresh.unknown;
        const firsts = await Promise.all(fresh.values.map((value) => firstEvent(self, facet.path, value, signal)));
        firsts.forEach((event, index) => {
          const value = fresh.values[index];
          if (event && value !== undefined && isIn(event, period)) found.push({ path: facet.path, value, event });
        });
      }
      return { found, unknown };
    },
    retry: false,
  });
}

/** The first event of all that the actor has with a value. */
async function firstEvent(self: string, path: string, value: string, signal: AbortSignal): Promise<LogEvent | undefined> {
  const q = `${self} ${term(PAYLOAD + path, value)}`;
  const include = "position,recordedAt,outcome";
  return (await getJson<EventPage>(`api/v1/events?${parametersOf({ q, from: undefined, to: undefined }, { order: "asc", limit: "1", include })}`, signal)).events[0];
}

/** A value may be older than the listed ones say, and its first event then is before the period. */
const isIn = (event: LogEvent, { from }: Period): boolean => !from || Number.isNaN(Date.parse(from)) || Date.parse(event.occurredAt) >= Date.parse(from);
