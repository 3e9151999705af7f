/** An event as the lists answer it with `include=position,recordedAt,outcome`. */
export interface LogEvent {
  id: string;
  tenantId: string;
  eventType: string;
  actorType: string;
  actorId: string;
  resourceType: string;
  resourceId: string;
  occurredAt: string;
  /** Null once it was erased. */
  payload: Record<string, unknown> | null;
  /** The payload as it was sent, with its numbers and the order of its keys; `getJson` adds it. */
  payloadText?: string;
  correlationId: string;
  causationId: string | null;
  position: number;
  recordedAt: string;
  outcome: "success" | "failure" | "none";
  /** When the payload was erased, where that was asked for. */
  erasedAt?: string | null;
}

/** A page of events. */
export interface EventPage {
  events: LogEvent[];
  total: number;
  limit: number;
  offset: number;
  hasNext: boolean;
  nextCursor?: string | null;
}

/** The payload as it was sent; if an answer was read without its text, as JavaScript writes it. */
export function payloadTextOf(event: LogEvent): string {
  return event.payloadText ?? JSON.stringify(event.payload);
}
