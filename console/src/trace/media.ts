import { useSyncExternalStore, useEffect, useState, type RefObject } from "react";
import { PHONE, POINTER, TOUCH, type Heights } from "./heights";

/** Whether a media query matches. */
export function useMedia(query: string): boolean {
  return useSyncExternalStore(
    (changed) => {
      const list = matchMedia(query);
      list.addEventListener("change", changed);
      return () => list.removeEventListener("change", changed);
    },
    () => matchMedia(query).matches,
  );
}

export const usePhone = (): boolean => useMedia("(max-width: 719px)");

export function useHeights(): Heights {
  const isPhone = usePhone();
  const isTouch = useMedia("(pointer: coarse)");
  return isPhone ? PHONE : isTouch ? TOUCH : POINTER;
}

/** The width of an element in pixels. */
export function useWidth(ref: RefObject<HTMLElement | null>): number {
  const [width, setWidth] = useState(0);
  useEffect(() => {
    const element = ref.current;
    if (element === null) return;
    const observer = new ResizeObserver(() => setWidth(element.clientWidth));
    observer.observe(element);
    setWidth(element.clientWidth);
    return () => observer.disconnect();
  }, [ref]);
  return width;
}
