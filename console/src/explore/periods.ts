/** The period of an exploration: a relative start such as `-24h`, or instants. Pure. */
import type { Zone } from "../common/times";

/** As in an address; what is missing is open. */
export interface Period {
  from?: string | undefined;
  to?: string | undefined;
}

export const PRESETS = [
  { from: "-15m", name: "Last 15 min" },
  { from: "-1h", name: "Last hour" },
  { from: "-6h", name: "Last 6 h" },
  { from: "-24h", name: "Last 24 h" },
  { from: "-7d", name: "Last 7 days" },
  { from: "-30d", name: "Last 30 days" },
  { from: undefined, name: "All time" },
] as const;

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const UNITS: Record<string, string> = { s: "s", m: "min", h: "h", d: "days", w: "weeks" };
const two = (value: number) => String(value).padStart(2, "0");

interface Parts {
  year: number;
  month: number;
  day: number;
  hour: number;
  minute: number;
  second: number;
}

function partsOf(at: Date, zone: Zone): Parts {
  return zone === "utc"
    ? { year: at.getUTCFullYear(), month: at.getUTCMonth(), day: at.getUTCDate(), hour: at.getUTCHours(), minute: at.getUTCMinutes(), second: at.getUTCSeconds() }
    : { year: at.getFullYear(), month: at.getMonth(), day: at.getDate(), hour: at.getHours(), minute: at.getMinutes(), second: at.getSeconds() };
}

/** "15 May 20:00 – 16 May 06:30", "Last 24 h", "All time", "Since 15 May 20:00". The year stands where it is not this one. */
export function periodName(period: Period, zone: Zone, now = new Date()): string {
  const { from, to } = period;
  const preset = PRESETS.find((known) => known.from === from);
  if (!to && preset) return preset.name;
  const relative = /^-(\d+)([smhdw])$/.exec(from ?? "");
  if (!to && relative) return `Last ${relative[1]} ${UNITS[relative[2] ?? ""] ?? ""}`;
  if (from && to) return `${momentName(from, zone, now)} – ${momentName(to, zone, now, from)}`;
  return from ? `Since ${momentName(from, zone, now)}` : `Until ${momentName(to ?? "", zone, now)}`;
}

function momentName(text: string, zone: Zone, now: Date, after?: string): string {
  const at = new Date(text);
  if (Number.isNaN(at.getTime())) return text;
  const parts = partsOf(at, zone);
  const seconds = parts.second === 0 ? "" : `:${two(parts.second)}`;
  const clock = `${two(parts.hour)}:${two(parts.minute)}${seconds}`;
  const before = after === undefined ? undefined : partsOf(new Date(after), zone);
  const sameYear = parts.year === (before?.year ?? partsOf(now, zone).year);
  if (before && sameYear && before.month === parts.month && before.day === parts.day) return clock;
  return `${parts.day} ${MONTHS[parts.month]} ${sameYear ? "" : `${parts.year} `}${clock}`;
}

/** An instant as the value of a field of type datetime-local, in this zone. */
export function fieldOf(instant: string | undefined, zone: Zone): string {
  const at = new Date(instant ?? "");
  if (Number.isNaN(at.getTime())) return "";
  const { year, month, day, hour, minute, second } = partsOf(at, zone);
  return `${String(year).padStart(4, "0")}-${two(month + 1)}-${two(day)}T${two(hour)}:${two(minute)}:${two(second)}`;
}

/** The instant that such a field means, in UTC; undefined for an empty one. */
export function instantOf(field: string, zone: Zone): string | undefined {
  const at = new Date(zone === "utc" ? `${field}Z` : field);
  return Number.isNaN(at.getTime()) ? undefined : instant(at.getTime());
}

/** A time in UTC, without a fraction when it is zero. */
export function instant(ms: number): string {
  return new Date(ms).toISOString().replace(".000Z", "Z");
}

/** The length of a bucket as words: "10m" is "10 min". */
export function intervalName(interval: string): string {
  const parts = /^(\d+)([smhd])$/.exec(interval);
  if (!parts) return interval;
  const unit = { s: "s", m: "min", h: "h", d: parts[1] === "1" ? "day" : "days" }[parts[2] as "s" | "m" | "h" | "d"];
  return `${parts[1]} ${unit}`;
}

/** Microseconds since 1970 of a time with up to six digits after the second. */
export function micros(text: string): number {
  const fraction = /\.(\d{1,6})/.exec(text)?.[1] ?? "";
  return Math.floor(Date.parse(text) / 1000) * 1_000_000 + Number(fraction.padEnd(6, "0") || 0);
}
