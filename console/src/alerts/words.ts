/** Alert rules as words, and durations as one types them. Pure. */

export type Kind = "match" | "count" | "first_seen" | "absence";
export type Per = "actor" | "resource" | "correlation" | "eventType";

export interface Condition {
  kind: Kind;
  per: Per | null;
  threshold: number | null;
  windowS: number | null;
}

const UNITS: readonly (readonly [string, number])[] = [
  ["w", 604_800],
  ["d", 86_400],
  ["h", 3_600],
  ["m", 60],
  ["s", 1],
];

/** Seconds in the largest unit that leaves no rest: "10m", "26h", "90s". */
export function windowText(seconds: number): string {
  const [unit, size] = UNITS.find(([, each]) => seconds % each === 0) ?? ["s", 1];
  return `${seconds / size}${unit}`;
}

/** The seconds of a text such as "10m", or null. */
export function windowSeconds(text: string): number | null {
  const found = /^\s*([1-9]\d{0,7})\s*([smhdw])\s*$/.exec(text);
  const size = UNITS.find(([unit]) => unit === found?.[2])?.[1];
  return found?.[1] && size ? Number(found[1]) * size : null;
}

const PER: Record<Per, string> = { actor: "actor", resource: "resource", correlation: "flow", eventType: "event type" };

/** When a rule fires. */
export function conditionWords({ kind, per, threshold, windowS }: Condition): string {
  const within = windowS === null ? "" : windowText(windowS);
  switch (kind) {
    case "match":
      return "at every matching event";
    case "count":
      return `${threshold} events within ${within}${per ? ` per ${PER[per]}` : ""}`;
    case "first_seen":
      return `the first event of ${per === "eventType" || per === "actor" ? "an" : "a"} ${per ? PER[per] : "key"}`;
    case "absence":
      return `no event for ${within}`;
  }
}

/** The key of an alert, such as {"actorType": "agent", "actorId": "planner"}. */
export function keyWords(key: object): string {
  const values = Object.values(key).map(String);
  return values.length === 0 ? "" : values.join("/");
}

export interface ConditionFields {
  kind: Kind;
  per: Per | "";
  threshold: string;
  window: string;
}

export function conditionFieldsOf(condition: Condition): ConditionFields {
  return {
    kind: condition.kind,
    per: condition.per ?? "",
    threshold: condition.threshold === null ? "5" : String(condition.threshold),
    window: condition.windowS === null ? "10m" : windowText(condition.windowS),
  };
}

/** The body of a condition: only what its kind takes. What is no number is sent as it is, for the server to refuse. */
export function conditionOf({ kind, per, threshold, window }: ConditionFields): Record<string, string | number> {
  const seconds = windowSeconds(window) ?? window;
  const number = /^\d+$/.test(threshold.trim()) ? Number(threshold) : threshold;
  switch (kind) {
    case "match":
      return { kind };
    case "count":
      return { kind, threshold: number, windowS: seconds, ...(per && { per }) };
    case "first_seen":
      return { kind, per: per || "actor" };
    case "absence":
      return { kind, windowS: seconds };
  }
}
