/** Several resources side by side: those that an address names, their events as one list, and the causes between them. Pure. */
import type { LogEvent } from "../api/events";
import { touchedIn, type Touched } from "./recent";

export interface ResourceName {
  resourceType: string;
  resourceId: string;
}

/** How many resources are shown beside the one that a page is about. */
export const BESIDE_MAX = 3;

const NAME = /^([a-z][a-z0-9_]*)\/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$/i;

export const nameText = ({ resourceType, resourceId }: ResourceName): string => `${resourceType}/${resourceId}`;

export interface Beside {
  names: ResourceName[];
  /** How many further ones an address has, which are too many. */
  tooMany: number;
  /** How many parts of it name no resource. */
  unreadable: number;
}

/** The resources that an address names beside its own: `type/id`, separated by commas. One that is named twice counts once. */
export function besideOf(text: string | undefined, own: ResourceName): Beside {
  const parts = (text ?? "").split(",").filter((part) => part.trim() !== "");
  const found = new Map<string, ResourceName>();
  let unreadable = 0;
  for (const part of parts) {
    const [, resourceType, resourceId] = NAME.exec(part.trim()) ?? [];
    if (resourceType === undefined || resourceId === undefined) unreadable++;
    else {
      const name = { resourceType, resourceId: resourceId.toLowerCase() };
      if (nameText(name) !== nameText(own)) found.set(nameText(name), name);
    }
  }
  const names = [...found.values()];
  return { names: names.slice(0, BESIDE_MAX), tooMany: Math.max(0, names.length - BESIDE_MAX), unreadable };
}

/** What an address has for these resources; nothing for none. */
export const besideText = (names: readonly ResourceName[]): string | undefined => (names.length === 0 ? undefined : names.map(nameText).join(","));

/** The resources of a flow, those first with the most causes from or to the ones that are shown already, which are left out. */
export function relatedTo(shown: readonly ResourceName[], events: readonly LogEvent[]): Touched[] {
  const own = new Set(shown.map(nameText));
  const byId = new Map(events.map((event) => [event.id, event]));
  const links = new Map<string, number>();
  for (const event of events) {
    const cause = byId.get(event.causationId ?? "");
    if (cause === undefined) continue;
    const [one, other] = [nameText(event), nameText(cause)];
    if (own.has(one)) links.set(other, (links.get(other) ?? 0) + 1);
    else if (own.has(other)) links.set(one, (links.get(one) ?? 0) + 1);
  }
  const linksOf = (touched: Touched) => links.get(nameText(touched)) ?? 0;
  return touchedIn(events)
    .filter((touched) => !own.has(nameText(touched)))
    .sort((one, other) => linksOf(other) - linksOf(one) || other.events - one.events);
}

/** The events of one resource that were read so far, newest first. */
export interface EventsRead {
  events: readonly LogEvent[];
  hasMore: boolean;
}

export interface Merged {
  events: LogEvent[];
  /** From which of the lists each comes. */
  laneOf: number[];
  /** How many were read and are not shown yet, since events of another resource that were not read may lie between. */
  held: number;
}

/** Several lists as one, newest first, as far back as all of them were read. */
export function mergedByTime(lists: readonly EventsRead[]): Merged {
  const all = lists.flatMap(({ events }, lane) => events.map((event) => ({ event, lane })));
  all.sort((one, other) => -compareTexts(timeText(one.event), timeText(other.event)) || other.event.position - one.event.position);
  const readTo = lists.map(({ events, hasMore }) => (hasMore ? timeText(events[events.length - 1]) : "")).reduce((one, other) => (compareTexts(one, other) > 0 ? one : other), "");
  const shown = lists.length === 1 ? all : all.filter(({ event }) => compareTexts(timeText(event), readTo) >= 0);
  return { events: shown.map(({ event }) => event), laneOf: shown.map(({ lane }) => lane), held: all.length - shown.length };
}

/** Without its Z, a time sorts as a text: a fraction is then more than none. */
const timeText = (event: LogEvent | undefined): string => event?.occurredAt.slice(0, -1) ?? "";

const compareTexts = (one: string, other: string): number => (one < other ? -1 : one > other ? 1 : 0);

/** The lines of one row in lanes: causes lie below their effects, since the newest event is above. */
export interface CauseGuide {
  /** The lane of this event's cause, if that is in a later row. */
  from: number | null;
  /** Whether a line leads from this event up to an effect. */
  leads: boolean;
  /** Lanes in which the line of another pair passes. */
  passes: readonly number[];
  /** Lanes in which a line goes on below this row. */
  below: readonly number[];
}

/** The guide of each row. A line goes up in the lane of the cause, and turns to the effect in the effect's row. */
export function causeGuides(events: readonly LogEvent[], laneOf: readonly number[]): CauseGuide[] {
  const rowOf = new Map(events.map(({ id }, row) => [id, row]));
  const causes = events.map(({ causationId }, row) => {
    const cause = causationId === null ? undefined : rowOf.get(causationId);
    return cause !== undefined && cause > row ? cause : null;
  });
  const leading = new Set(causes);
  const open = new Map<number, number>();
  return causes.map((cause, row) => {
    for (const [lane, until] of open) if (until <= row) open.delete(lane);
    const passes = [...open.keys()];
    const from = cause === null ? null : (laneOf[cause] ?? 0);
    if (cause !== null && from !== null) open.set(from, Math.max(cause, open.get(from) ?? 0));
    return { from, leads: leading.has(row), passes, below: [...open.keys()] };
  });
}
