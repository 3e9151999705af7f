import { QueryCache, type QueryClient } from "@tanstack/react-query";
import { ApiError, ROOT } from "./client";

/** How often a server that could not be reached is asked whether it is there again. */
const EVERY_MS = 3_000;

const isUnreachable = (error: unknown): boolean => error instanceof ApiError && error.status === 0;

/**
 * Answers that did not come because the server could not be reached are asked for again once it can be. Until then one request in
 * three seconds asks for `/livez`, which costs the server nothing.
 */
export function recoveringCache(client: () => QueryClient): QueryCache {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const look = async () => {
    timer = undefined;
    const isThere = await fetch(`${ROOT}livez`).then(({ ok }) => ok, () => false);
    if (isThere) await client().refetchQueries({ type: "active", predicate: ({ state }) => isUnreachable(state.error) });
    else timer ??= setTimeout(() => void look(), EVERY_MS);
  };
  return new QueryCache({
    onError: (error) => {
      if (isUnreachable(error)) timer ??= setTimeout(() => void look(), EVERY_MS);
    },
  });
}
