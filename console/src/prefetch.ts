import type { QueryClient } from "@tanstack/react-query";
import { eventsOptions, facetsOptions, histogramOptions } from "./explore/answers";
import { wordsOptions } from "./sentences/words";
import { traceOptions } from "./trace/answers";

/** Asks for what a page shows first, while its code and the session are still being read. An error is the page's to show. */
export function prefetch(client: QueryClient, path: string, search: Readonly<Record<string, string | undefined>>): void {
  const traced = /\/trace\/([^/]+)$/.exec(path)?.[1];
  if (traced !== undefined) void client.prefetchQuery(traceOptions(decodeURIComponent(traced)));
  if (!path.endsWith("/explore")) return;
  const filters = { q: search.q ?? "", from: search.from || undefined, to: search.to || undefined };
  void client.prefetchInfiniteQuery(eventsOptions(filters));
  void client.prefetchQuery(wordsOptions);
  // Without a query these are counted in advance, so they take the server little time, whatever the first page says.
  if (filters.q !== "") return;
  void client.prefetchQuery(histogramOptions(filters));
  void client.prefetchQuery(facetsOptions(filters));
}
