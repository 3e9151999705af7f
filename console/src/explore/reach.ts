import { useEffect, useRef, useState } from "react";
import { getJson } from "../api/client";

/** How many causes an event has up to its root, and how many effects. */
export interface Reach {
  id: string;
  causes: number;
  effects: number;
  failedEffects: number;
  atLeast: boolean;
}

const AT_ONCE = 100;
const KEPT_MAX = 1_000;
const WAIT_MS = 60;

/** The reach of the events that are shown. It is asked for once they stand still, and kept for a while. */
export function useReach(shown: readonly string[]): ReadonlyMap<string, Reach> {
  const known = useRef(new Map<string, Reach>());
  const [, redraw] = useState(0);
  const unknown = shown.filter((id) => !known.current.has(id)).slice(0, AT_ONCE);
  const asked = unknown.join(" ");
  useEffect(() => {
    if (asked === "") return;
    const controller = new AbortController();
    const timer = setTimeout(() => {
      const query = new URLSearchParams(asked.split(" ").map((id) => ["id", id]));
      getJson<{ reach: Reach[] }>(`api/v1/events/reach?${query}`, controller.signal).then(
        ({ reach }) => {
          for (const each of reach) known.current.set(each.id, each);
          for (const id of known.current.keys()) {
            if (known.current.size <= KEPT_MAX) break;
            known.current.delete(id); // the first one that was asked for
          }
          redraw((count) => count + 1);
        },
        () => undefined, // The columns stay empty; the rows do not need them.
      );
    }, WAIT_MS);
    return () => {
      clearTimeout(timer);
      controller.abort();
    };
  }, [asked]);
  return known.current;
}
