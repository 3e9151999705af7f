/** How high the rows of a trace are, so that only those in sight need to be drawn. Pure. */
import { at } from "./graph";
import type { Row } from "./rows";

export interface Heights {
  event: number;
  focus: number;
  fold: number;
  head: number;
}

export const POINTER: Heights = { event: 28, focus: 36, fold: 26, head: 26 };
export const TOUCH: Heights = { event: 40, focus: 44, fold: 40, head: 30 };
/** Two lines a row, as on a phone. */
export const PHONE: Heights = { event: 50, focus: 72, fold: 40, head: 32 };

export function rowHeight(row: Row, heights: Heights): number {
  switch (row.kind) {
    case "gap":
      return row.height;
    case "because":
    case "ledTo":
      return heights.head;
    case "fold":
      return heights.fold;
    case "event":
      return row.relation === "focus" ? heights.focus : heights.event;
    default:
      return Math.max(heights.fold, 28);
  }
}

/** The rows that a reader steps through: all but the heads and the breaks. */
export const isStop = (row: Row): boolean => row.kind !== "because" && row.kind !== "ledTo" && row.kind !== "gap";

/** The next row to stop at from a place, in a direction; the place itself if there is none. */
export function nextStop(rows: readonly Row[], from: number, step: 1 | -1): number {
  for (let index = from + step; index >= 0 && index < rows.length; index += step) if (isStop(at(rows, index))) return index;
  return from;
}
