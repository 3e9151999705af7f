/** Times and durations as the console writes them. Pure; times are RFC 3339 texts in UTC with up to six digits. */

export type Zone = "utc" | "local";

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

export interface ClockTime {
  date: string;
  time: string;
  milliseconds: string;
}

const two = (value: number) => String(value).padStart(2, "0");

/** A time in parts: "16 May 2024", "06:20:48", ".791". */
export function clockTime(text: string, zone: Zone): ClockTime {
  const at = new Date(text);
  const [year, month, day, hour, minute, second, milli] =
    zone === "utc"
      ? [at.getUTCFullYear(), at.getUTCMonth(), at.getUTCDate(), at.getUTCHours(), at.getUTCMinutes(), at.getUTCSeconds(), at.getUTCMilliseconds()]
      : [at.getFullYear(), at.getMonth(), at.getDate(), at.getHours(), at.getMinutes(), at.getSeconds(), at.getMilliseconds()];
  return {
    date: `${day} ${MONTHS[month ?? 0]} ${year}`,
    time: `${two(hour ?? 0)}:${two(minute ?? 0)}:${two(second ?? 0)}`,
    milliseconds: `.${String(milli ?? 0).padStart(3, "0")}`,
  };
}

/** A duration in microseconds as words: "350 ms", "2.3 s", "1 min 57 s", "3 h 12 min", "2 d 4 h". */
export function durationWords(us: number): string {
  const ms = Math.abs(us) / 1000;
  const sign = us < 0 ? "−" : "";
  if (ms < 1000) return `${sign}${ms < 1 && ms > 0 ? "<1" : Math.round(ms)} ms`;
  const seconds = ms / 1000;
  if (seconds < 59.95) return `${sign}${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return sign + pair(Math.floor(whole / 60), "min", whole % 60, "s");
  const minutes = Math.round(seconds / 60);
  if (minutes < 1440) return sign + pair(Math.floor(minutes / 60), "h", minutes % 60, "min");
  const hours = Math.round(minutes / 60);
  return sign + pair(Math.floor(hours / 24), "d", hours % 24, "h");
}

function pair(first: number, unit: string, second: number, smaller: string): string {
  return second === 0 ? `${first} ${unit}` : `${first} ${unit} ${second} ${smaller}`;
}

/** Time since the root of a trace, in microseconds: "+0:00.0", "+2:41.8", "+1:03:20". */
export function sinceRoot(us: number): string {
  const sign = us < 0 ? "−" : "+";
  const tenths = Math.round(Math.abs(us) / 100_000);
  const seconds = Math.floor(tenths / 10);
  const hours = Math.floor(seconds / 3600);
  const minutes = Math.floor(seconds / 60) % 60;
  if (hours > 0) return `${sign}${hours}:${two(minutes)}:${two(seconds % 60)}`;
  return `${sign}${minutes}:${two(seconds % 60)}.${tenths % 10}`;
}

const GROUPED = new Intl.NumberFormat("en-US");

/** A count with thousands separated: "5,598". */
export const grouped = (count: number): string => GROUPED.format(count);

/** A count with its noun: "1 event", "5,598 events". */
export const counted = (count: number, noun: string, plural = `${noun}s`): string =>
  `${grouped(count)} ${count === 1 ? noun : plural}`;
