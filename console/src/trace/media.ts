import { useEffect, useState, type RefObject } from "react";
import { useMedia, useWidthAtMost } from "../explore/media";
import { PHONE, POINTER, TOUCH, type Heights } from "./heights";

export const usePhone = (): boolean => useWidthAtMost(719);

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
