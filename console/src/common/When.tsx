import { usePreferences } from "./preferences";
import { clockTime, type Zone } from "./times";

/** A time as a screen shows it: "16 May 06:28:07"; the year only if it is not this one. */
export function whenText(at: string, zone: Zone, now: Date = new Date()): string {
  const { date, time } = clockTime(at, zone);
  const year = ` ${zone === "utc" ? now.getUTCFullYear() : now.getFullYear()}`;
  return `${date.endsWith(year) ? date.slice(0, -year.length) : date} ${time}`;
}

export function When({ at }: { at: string }) {
  const { zone } = usePreferences();
  const { date, time, milliseconds } = clockTime(at, zone);
  const full = `${date} ${time}${milliseconds} ${zone === "utc" ? "UTC" : "local time"}`;
  return (
    <time dateTime={at} title={full} className="nw">
      {whenText(at, zone)}
    </time>
  );
}

/** The zone in the head of a column of times. */
export function useZoneName(): string {
  return usePreferences().zone === "utc" ? "UTC" : "local";
}
