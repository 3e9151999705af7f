import { useNavigate, useSearch } from "@tanstack/react-router";
import { useCallback, useMemo } from "react";

/** The state of an exploration, all of which is in its address. */
export interface Exploration {
  q: string;
  from: string | undefined;
  to: string | undefined;
  /** The id of the event that is peeked at. */
  sel: string | undefined;
  live: boolean;
  /** The histogram shows the period before too. */
  compares: boolean;
  /** The ids of two events, separated by a comma, whose difference is shown. */
  diff: string | undefined;
  /** Columns that are left out. */
  hidden: readonly string[];
}

export const COLUMNS = ["resource", "causes", "effects"] as const;

/** The filters of an exploration, which every request about it sends. */
export interface Filters {
  q: string;
  from: string | undefined;
  to: string | undefined;
}

export type Change = (changed: Partial<Exploration>, options?: { replace?: boolean }) => void;

export function useExploration(): [Exploration, Change] {
  const search = useSearch({ strict: false }) as Record<string, string | undefined>;
  const navigate = useNavigate();
  const exploration = useMemo<Exploration>(
    () => ({
      q: search.q ?? "",
      from: search.from || undefined,
      to: search.to || undefined,
      sel: search.sel || undefined,
      live: search.live === "1",
      compares: search.compare === "1",
      diff: search.diff || undefined,
      hidden: (search.hide ?? "").split(",").filter(Boolean),
    }),
    [search.q, search.from, search.to, search.sel, search.live, search.compare, search.diff, search.hide],
  );
  const change = useCallback<Change>(
    (changed, options) => {
      void navigate({ to: "/explore", search: searchOf({ ...exploration, ...changed }), replace: options?.replace ?? false });
    },
    [navigate, exploration],
  );
  return [exploration, change];
}

/** The search of an address for this state; what is as usual is left out. */
export function searchOf(state: Partial<Exploration>): Record<string, string | undefined> {
  return {
    q: state.q || undefined,
    from: state.from || undefined,
    to: state.to || undefined,
    sel: state.sel || undefined,
    live: state.live ? "1" : undefined,
    compare: state.compares ? "1" : undefined,
    diff: state.diff || undefined,
    hide: state.hidden?.length ? state.hidden.join(",") : undefined,
  };
}

/** The query of a request with these filters, and with more parameters. */
export function parametersOf(filters: Filters, more: Record<string, string> = {}): string {
  const pairs = Object.entries({ q: filters.q, from: filters.from, to: filters.to, ...more });
  return new URLSearchParams(pairs.filter((pair): pair is [string, string] => Boolean(pair[1]))).toString();
}
