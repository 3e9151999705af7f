import { useInfiniteQuery } from "@tanstack/react-query";
import { send } from "../api/client";
import { cursorIn, withQuery } from "./links";

/** The pages of a list that names the next one in a Link header. */
export function usePages<Body>(path: string, query: Record<string, string | number | undefined>, enabled = true) {
  return useInfiniteQuery({
    queryKey: [path, query],
    queryFn: async ({ pageParam, signal }) => {
      const asked = pageParam === null ? query : { ...query, cursor: pageParam };
      const response = await send(withQuery(path, asked), { signal });
      return { body: (await response.json()) as Body, cursor: cursorIn(response.headers.get("Link")) };
    },
    initialPageParam: null as string | null,
    getNextPageParam: ({ cursor }) => cursor,
    enabled,
  });
}
