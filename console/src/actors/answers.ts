/** What the server answers about actors. */
import type { Totals } from "./change";

export interface FirstTime {
  eventType: string;
  at: string;
  eventId: string;
}

export interface ActorRow extends Totals {
  actorType: string;
  actorId: string;
  previous: Totals | null;
  lastSeenAt: string | null;
  sparkline: number[];
  firstTimes: FirstTime[];
}

export interface ActorsAnswer {
  actors: ActorRow[];
  from: string | null;
  to: string | null;
  hasNext: boolean;
  total: number;
}

export interface Counted {
  value: string;
  count: number;
  failures: number;
}

export interface Triggers {
  actors: { actorType: string; actorId: string; count: number }[];
  events: number;
  missing: number;
  moreActors: number;
  roots: number;
}

export interface ActorAnswer extends Totals {
  actorType: string;
  actorId: string;
  previous: Totals | null;
  from?: string | null;
  to?: string | null;
  firstSeenAt: string | null;
  lastSeenAt: string | null;
  byEventType: Counted[];
  byResourceType: Counted[];
  firstTimes: FirstTime[];
  /** Whose events caused its latest ones, `events` in number; null for a narrowed key. */
  triggeredBy: Triggers | null;
}
