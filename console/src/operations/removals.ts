/** A policy of retention and what a removal did, in words. Pure. */
import type { Schemas } from "../api/client";
import { counted, grouped } from "../common/times";

type Removal = Schemas["Removal"];

/** The states of a removal, in their order. */
export const STATES = ["requested", "announced", "removing", "cleaning", "done"] as const satisfies readonly Removal["state"][];

const MEANINGS: Record<Removal["state"], string> = {
  requested: "waits for its turn",
  announced: "announced: the next checkpoint has to cover it",
  removing: "is removing",
  cleaning: "removed; the store overwrites what is left of it",
  done: "done",
};

/** How far a removal is: what it waits for, or what its state means. */
export function progressWords({ state, waitsFor }: Pick<Removal, "state" | "waitsFor">): string {
  return waitsFor ?? MEANINGS[state];
}

/** What it has removed so far, and what a hold kept from it. */
export function removedWords({ events, payloads, renamedEvents, held }: Pick<Removal, "events" | "payloads" | "renamedEvents" | "held">): string {
  const parts = [
    events > 0 && `${counted(events, "event")} removed`,
    payloads > 0 && `${counted(payloads, "payload")} erased`,
    (renamedEvents ?? 0) > 0 && `the actor's id replaced in ${counted(renamedEvents ?? 0, "event")}`,
    held > 0 && `${grouped(held)} kept by a hold`,
  ].filter((part) => part !== false);
  return parts.length > 0 ? parts.join(", ") : "nothing so far";
}

/** How long events are kept. */
export function policyWords(maxAgeDays: number | null): string {
  return maxAgeDays === null ? "Every event is kept for ever" : `Events are kept for ${counted(maxAgeDays, "day")}`;
}

/** Whose policy that is. */
export function sourceWords(source: Schemas["Retention"]["source"]): string {
  if (source === "tenant") return "The policy of this tenant.";
  return source === "server" ? "The policy of the server, since this tenant has none of its own." : "No policy is set, for this tenant or for the server.";
}

/** What a run would remove now. */
export function previewWords({ events, payloads, held, exact }: Schemas["RetentionPreview"]): string {
  const least = exact ? "" : "at least ";
  if (events === 0 && payloads === 0) return held > 0 ? `Nothing would go now: ${least}${counted(held, "event")} would stay because of a hold.` : "Nothing would go now.";
  const parts = [events > 0 && `${least}${counted(events, "event")} would be removed`, payloads > 0 && `${least}${counted(payloads, "payload")} would be erased`];
  const gone = parts.filter((part) => part !== false).join(", and ");
  return `${gone.charAt(0).toUpperCase()}${gone.slice(1)}.${held > 0 ? ` ${grouped(held)} would stay because of a hold.` : ""}`;
}
