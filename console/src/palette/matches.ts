/** What the search of any pasted text answers, as places to go. Pure. */
import type { LogEvent } from "../api/events";

export type Match =
  | { kind: "event"; id: string; event: LogEvent }
  | { kind: "flow"; correlationId: string; events: number }
  | { kind: "resource"; resourceType: string; resourceId: string; events: number }
  | { kind: "actor"; actorType: string; actorId: string; events: number };

export interface Found {
  matches: Match[];
}

/** Where a match is shown: a route, and its parameters. */
export function placeOf(match: Match): { to: string; params: Record<string, string> } {
  switch (match.kind) {
    case "event":
      return { to: "/e/$eventId", params: { eventId: match.id } };
    case "flow":
      return { to: "/flows/$flowId", params: { flowId: match.correlationId } };
    case "resource":
      return { to: "/r/$resourceType/$resourceId", params: { resourceType: match.resourceType, resourceId: match.resourceId } };
    case "actor":
      return { to: "/actors/$actorType/$actorId", params: { actorType: match.actorType, actorId: match.actorId } };
  }
}

/** A match in words: what it is called, and what kind of thing it is. */
export function matchWords(match: Match): { name: string; detail: string; count: number | null } {
  switch (match.kind) {
    case "event":
      return { name: match.event.eventType, detail: `event ${match.id.slice(0, 8)} by ${match.event.actorId}`, count: null };
    case "flow":
      return { name: match.correlationId, detail: "flow", count: match.events };
    case "resource":
      return { name: match.resourceId, detail: match.resourceType, count: match.events };
    case "actor":
      return { name: match.actorId, detail: match.actorType, count: match.events };
  }
}

/** Whether every word of the query begins a word of the text, whatever their case. */
export function fits(text: string, query: string): boolean {
  const words = text.toLowerCase().split(/[\s/·:,]+/);
  return query
    .toLowerCase()
    .split(/\s+/)
    .filter(Boolean)
    .every((part) => words.some((word) => word.startsWith(part)));
}
