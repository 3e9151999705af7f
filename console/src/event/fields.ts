/** What two events have in common, field by field. Pure. */
import type { LogEvent } from "../api/events";
import { micros } from "../explore/periods";

export interface FieldRow {
  name: string;
  one: string;
  other: string;
  isSame: boolean;
}

const FIELDS: readonly (readonly [string, (event: LogEvent) => string | number | null])[] = [
  ["Type", (event) => event.eventType],
  ["Outcome", (event) => event.outcome],
  ["Actor", (event) => `${event.actorType}/${event.actorId}`],
  ["Resource", (event) => `${event.resourceType}/${event.resourceId}`],
  ["Flow", (event) => event.correlationId],
  ["Cause", (event) => event.causationId],
  ["Occurred", (event) => event.occurredAt],
  ["Recorded", (event) => event.recordedAt],
  ["Position", (event) => event.position],
];

/** The fields of two events but for id and payload, in the order of an event's page. A field that is empty is "none". */
export function fieldRows(one: LogEvent, other: LogEvent): FieldRow[] {
  return FIELDS.map(([name, of]) => {
    const [left, right] = [String(of(one) ?? "none"), String(of(other) ?? "none")];
    return { name, one: left, other: right, isSame: left === right };
  });
}

/** Two events, the earlier one first. */
export function inOrder(one: LogEvent, other: LogEvent): [LogEvent, LogEvent] {
  const later = micros(one.occurredAt) - micros(other.occurredAt) || one.position - other.position;
  return later <= 0 ? [one, other] : [other, one];
}
