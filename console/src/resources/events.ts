/** The events of resources as the server answers them, page by page. */
import { useInfiniteQuery } from "@tanstack/react-query";
import { getJson } from "../api/client";
import type { EventPage } from "../api/events";
import { withQuery } from "../common/links";
import { nameText, type EventsRead, type ResourceName } from "./together";

const PAGE = 50;

/** Each resource by its own list, which is answered from an index; a page has the next part of every list. */
export function useEventsOf(names: readonly ResourceName[]) {
  return useInfiniteQuery({
    queryKey: ["events-of", ...names.map(nameText)],
    queryFn: ({ pageParam, signal }) =>
      Promise.all(names.map((name, index) => (pageParam === null ? readPart(name, undefined, signal) : readNext(name, pageParam[index], signal)))),
    initialPageParam: null as readonly (string | null)[] | null,
    getNextPageParam: (parts) => {
      const cursors = parts.map(({ nextCursor }) => nextCursor ?? null);
      return cursors.every((cursor) => cursor === null) ? undefined : cursors;
    },
  });
}

type Part = Pick<EventPage, "events" | "nextCursor" | "total">;

const AT_END: Part = { events: [], nextCursor: null, total: 0 };

const readNext = (name: ResourceName, cursor: string | null | undefined, signal: AbortSignal): Promise<Part> =>
  cursor === null || cursor === undefined ? Promise.resolve(AT_END) : readPart(name, cursor, signal);

function readPart({ resourceType, resourceId }: ResourceName, cursor: string | undefined, signal: AbortSignal): Promise<Part> {
  const path = `api/v1/events/resource/${encodeURIComponent(resourceType)}/${encodeURIComponent(resourceId)}`;
  return getJson<EventPage>(withQuery(path, { limit: PAGE, include: "position,recordedAt,outcome,nextCursor", cursor }), signal);
}

/** What was read of each resource, and how many events it has in all. */
export function listsOf(pages: readonly Part[][], count: number): (EventsRead & { total: number })[] {
  return Array.from({ length: count }, (_, index) => ({
    events: pages.flatMap((parts) => parts[index]?.events ?? []),
    hasMore: (pages[pages.length - 1]?.[index]?.nextCursor ?? null) !== null,
    total: pages[0]?.[index]?.total ?? 0,
  }));
}
