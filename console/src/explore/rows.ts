/** The list as drawn: which rows begin a flow or a day, and how high each is. Pure. */
import type { LogEvent } from "../api/events";
import { clockTime, type Zone } from "../common/times";

export interface ListRow {
  event: LogEvent;
  /** Whether the event above belongs to another flow. */
  beginsFlow: boolean;
  /** The day, where it is another than that of the event above. */
  day: string | null;
}

export function listRows(events: readonly LogEvent[], zone: Zone): ListRow[] {
  let day = "";
  return events.map((event, index) => {
    const before = events[index - 1];
    const its = clockTime(event.occurredAt, zone).date;
    const beginsDay = its !== day;
    day = its;
    return {
      event,
      beginsFlow: before !== undefined && before.correlationId !== event.correlationId,
      day: beginsDay ? its : null,
    };
  });
}

export const FLOW_GAP = 8;
export const DAY_HEIGHT = 24;

export function rowHeight(row: ListRow | undefined, height: number): number {
  return height + (row?.beginsFlow && !row.day ? FLOW_GAP : 0) + (row?.day ? DAY_HEIGHT : 0);
}

/** Where the focus goes from row to row; null for a key that does not move it. */
export function movedTo(key: string, at: number, count: number, page: number): number | null {
  const step = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -count, End: count }[key];
  if (step === undefined || count === 0) return null;
  return Math.min(count - 1, Math.max(0, at + step));
}
