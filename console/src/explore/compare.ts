/** The period before the one that a histogram shows: of the same length, up to its beginning. Pure. */
import { grouped } from "../common/times";
import type { Bar, Histogram, Plot } from "./bars";
import { instant } from "./periods";

export interface Before {
  from: string;
  to: string;
  /** How much earlier it is, in milliseconds. */
  shiftMs: number;
}

/** The period before; null when the one that is shown has no beginning. */
export function periodBefore({ from, to, buckets, intervalS }: Histogram, nowMs: number): Before | null {
  const last = buckets.at(-1);
  if (from === null || last === undefined) return null;
  const startMs = Date.parse(from);
  const endMs = to === null ? Math.min(nowMs, Date.parse(last.start) + intervalS * 1000) : Date.parse(to);
  const shiftMs = endMs - startMs;
  return shiftMs > 0 ? { from: instant(startMs - shiftMs), to: from, shiftMs } : null;
}

/** The counts of the period before as steps over the bars, as the path of an SVG. */
export function ghostPath(before: Histogram, shiftMs: number, plot: Plot): string {
  const step = before.intervalS * 1000;
  const steps = before.buckets.map((bucket) => {
    const start = Date.parse(bucket.start) + shiftMs;
    return `V${plot.yOf(bucket.total).toFixed(1)}H${plot.xOf(start + step).toFixed(1)}`;
  });
  const first = before.buckets[0];
  if (first === undefined) return "";
  const left = plot.xOf(Date.parse(first.start) + shiftMs).toFixed(1);
  return `M${left} ${plot.yOf(0).toFixed(1)}${steps.join("")}V${plot.yOf(0).toFixed(1)}`;
}

/** How many events the period before had at the place of a bar: those of the bucket that covers its middle. */
export function countBefore(before: Histogram, shiftMs: number, bar: Bar): number {
  const middle = (bar.startMs + bar.endMs) / 2 - shiftMs;
  const step = before.intervalS * 1000;
  return before.buckets.find(({ start }) => Date.parse(start) <= middle && middle < Date.parse(start) + step)?.total ?? 0;
}

/** "892 before, 35 % more" */
export function changeWords(total: number, before: number): string {
  const change = total - before;
  if (before === 0) return "none before";
  const percent = Math.round((100 * Math.abs(change)) / before);
  const words = change === 0 ? "as many" : `${percent < 1 ? "less than 1" : grouped(percent)} % ${change > 0 ? "more" : "fewer"}`;
  return `${grouped(before)} before, ${words}`;
}
