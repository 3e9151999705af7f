import { useSyncExternalStore } from "react";

/** Whether a media query holds, now and when that changes. */
export function useMedia(query: string): boolean {
  return useSyncExternalStore(
    (listener) => {
      const list = matchMedia(query);
      list.addEventListener("change", listener);
      return () => list.removeEventListener("change", listener);
    },
    () => matchMedia(query).matches,
  );
}

/** Whether the window is at most so wide, in pixels. */
export const useWidthAtMost = (width: number): boolean => useMedia(`(max-width: ${width}px)`);
