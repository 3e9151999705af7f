/** Where the bars and ticks of the histogram lie. Pure; lengths are in pixels. */
import { scaleLinear, scaleTime, scaleUtc } from "d3-scale";
import type { Outcome } from "../common/marks";
import type { Zone } from "../common/times";

export interface Histogram {
  buckets: { start: string; total: number; counts: number[] }[];
  from: string | null;
  to: string | null;
  interval: string;
  intervalS: number;
  keys: { key: string; count: number }[];
  total: number;
}

export interface Segment {
  outcome: Outcome;
  y: number;
  height: number;
  isHatched: boolean;
}

export interface Bar {
  x: number;
  width: number;
  startMs: number;
  endMs: number;
  total: number;
  counts: Record<Outcome, number>;
  segments: Segment[];
}

export interface Plot {
  /** Where the bars begin: right of the counts. */
  left: number;
  bars: Bar[];
  xTicks: { x: number; label: string; anchor: "start" | "middle" | "end" }[];
  yTicks: { y: number; label: string }[];
  /** Where time lies on the plot, and which time lies where. */
  xOf: (ms: number) => number;
  /** Where a count ends. */
  yOf: (count: number) => number;
  msAt: (x: number) => number;
}

export interface Size {
  width: number;
  /** Where the bars stand. */
  base: number;
  /** Room above. */
  top: number;
}

const GAP = 2;
const LEAST_LEFT = 28;
const DIGIT_WIDTH = 7;
const LEAST_HEIGHT = 3;
const LEAST_HATCHED = 5;
/** From the base upwards. */
const ORDER: readonly Outcome[] = ["failure", "success", "none"];
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** The plot of these counts; it is high enough for those of the period `before` too. */
export function plotOf(histogram: Histogram, size: Size, zone: Zone, before?: Histogram): Plot {
  const startMs = Date.parse(histogram.buckets[0]?.start ?? histogram.from ?? "1970-01-01T00:00:00Z");
  const step = histogram.intervalS * 1000;
  const endMs = startMs + Math.max(1, histogram.buckets.length) * step;
  const largest = Math.max(1, ...[...histogram.buckets, ...(before?.buckets ?? [])].map((bucket) => bucket.total));
  const height = scaleLinear().domain([0, largest]).nice(2).range([0, size.base - size.top]);
  const label = (count: number) => count.toLocaleString("en-US");
  const left = Math.max(LEAST_LEFT, 8 + DIGIT_WIDTH * label(height.domain()[1] ?? 0).length);
  const scale = (zone === "utc" ? scaleUtc() : scaleTime()).domain([startMs, endMs]).range([left, size.width]);
  const xOf = (ms: number) => scale(ms);
  return {
    left,
    bars: histogram.buckets.map((bucket, index) => {
      const start = startMs + index * step;
      const x = xOf(start) + GAP / 2;
      const counts = countsOf(histogram, bucket.counts);
      return {
        x,
        width: Math.max(1, xOf(start + step) - GAP / 2 - x),
        startMs: start,
        endMs: start + step,
        total: bucket.total,
        counts,
        segments: segmentsOf(counts, (count) => height(count), size.base),
      };
    }),
    xTicks: xTicksOf(scale, left, size.width, zone),
    yTicks: [(height.domain()[1] ?? 0) / 2, height.domain()[1] ?? 0]
      .filter((count) => count > 0 && Number.isInteger(count))
      .map((count) => ({ y: size.base - height(count), label: label(count) })),
    xOf: (ms) => Math.min(size.width, Math.max(left, xOf(ms))),
    yOf: (count) => size.base - height(count),
    msAt: (x) => Number(scale.invert(Math.min(size.width, Math.max(left, x)))),
  };
}

function countsOf(histogram: Histogram, counts: readonly number[]): Record<Outcome, number> {
  const made: Record<Outcome, number> = { failure: 0, success: 0, none: 0 };
  histogram.keys.forEach(({ key }, index) => {
    if (key === "failure" || key === "success" || key === "none") made[key] += counts[index] ?? 0;
  });
  return made;
}

/** Failures stand at the base and are never too low to be seen; the bar may grow by that. */
export function segmentsOf(counts: Record<Outcome, number>, heightOf: (count: number) => number, base: number): Segment[] {
  let y = base;
  return ORDER.filter((outcome) => counts[outcome] > 0).map((outcome) => {
    const height = Math.max(outcome === "failure" ? LEAST_HEIGHT : 1, heightOf(counts[outcome]));
    y -= height;
    return { outcome, y, height, isHatched: outcome === "failure" && height >= LEAST_HATCHED };
  });
}

function xTicksOf(scale: ReturnType<typeof scaleUtc>, left: number, width: number, zone: Zone): Plot["xTicks"] {
  const [startMs = 0, endMs = 0] = scale.domain().map(Number);
  const count = Math.max(2, Math.floor((width - left) / 80));
  const first = { x: left, label: tickName(new Date(startMs), startMs, endMs, zone, true), anchor: "start" as const };
  const room = (label: string) => 3.2 * label.length;
  const ticks: Plot["xTicks"] = [first];
  for (const at of scale.ticks(count)) {
    const label = tickName(at, startMs, endMs, zone, false);
    const x = Number(scale(at));
    const last = ticks.at(-1) ?? first;
    const end = last.x + (last.anchor === "start" ? 2 : 1) * room(last.label);
    if (!last.label.endsWith(label) && x - room(label) > end + 8 && x + room(label) < width) ticks.push({ x, label, anchor: "middle" });
  }
  return ticks;
}

/** "22:00", at midnight and at the beginning "16 May 00:00", over long periods "16 May" or "May 2024". */
function tickName(at: Date, startMs: number, endMs: number, zone: Zone, withDay: boolean): string {
  const utc = zone === "utc";
  const day = `${utc ? at.getUTCDate() : at.getDate()} ${MONTHS[utc ? at.getUTCMonth() : at.getMonth()]}`;
  const two = (value: number) => String(value).padStart(2, "0");
  const [hour, minute, second] = utc
    ? [at.getUTCHours(), at.getUTCMinutes(), at.getUTCSeconds()]
    : [at.getHours(), at.getMinutes(), at.getSeconds()];
  const days = (endMs - startMs) / 86_400_000;
  if (days > 330) return `${MONTHS[utc ? at.getUTCMonth() : at.getMonth()]} ${utc ? at.getUTCFullYear() : at.getFullYear()}`;
  if (days > 6) return day;
  const clock = `${two(hour)}:${two(minute)}${endMs - startMs < 300_000 ? `:${two(second)}` : ""}`;
  return withDay || (hour === 0 && minute === 0 && second === 0) ? `${day} ${clock}` : clock;
}

/** The bars that a drag from one place to another covers, as a period of whole buckets; null for a mere click. */
export function dragged(plot: Plot, one: number, other: number): { from: number; to: number } | null {
  if (Math.abs(one - other) < 4) return null;
  const [start, end] = [plot.msAt(Math.min(one, other)), plot.msAt(Math.max(one, other))];
  const covered = plot.bars.filter((bar) => bar.endMs > start && bar.startMs < end);
  const [first, last] = [covered[0], covered.at(-1)];
  return first && last ? { from: first.startMs, to: last.endMs } : null;
}
