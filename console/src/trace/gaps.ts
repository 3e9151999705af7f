/** How time is compressed: breaks in the tree, and the axis of the overview. Pure. */
import { at, timeOf, type Graph } from "./graph";

/** A shorter wait is never called one. */
export const GAP_FLOOR_US = 10_000_000;

export function median(values: readonly number[]): number {
  if (values.length === 0) return 0;
  const sorted = Float64Array.from(values).sort();
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? at(sorted, middle) : (at(sorted, middle - 1) + at(sorted, middle)) / 2;
}

/** With fewer waits than this there is no usual one. */
const WAITS_MIN = 3;

/** The time between a cause and its effect from which on the tree breaks: 8 times the median, and at least 10 s. */
export function gapThreshold(graph: Graph): number {
  const waits: number[] = [];
  for (const node of graph.nodes) if (node.sinceCauseUs !== null && node.sinceCauseUs >= 0) waits.push(node.sinceCauseUs);
  return waits.length < WAITS_MIN ? GAP_FLOOR_US : Math.max(GAP_FLOOR_US, 8 * median(waits));
}

/** A step of the overview's axis: as it is up to four medians, and from there on by its logarithm. */
export function compressed(us: number, limit: number): number {
  return us <= limit || limit <= 0 ? us : limit * (1 + Math.log(us / limit));
}

export interface Axis {
  /** The place of a time, from 0 to 1. Rises with time. */
  place: (us: number) => number;
  /** Labelled times within the axis, not too near to each other. */
  ticks: readonly { us: number; place: number }[];
  first: number;
  last: number;
}

/** The axis over the times of a graph. `minGap` is the least distance of two ticks, from 0 to 1. */
export function axisOf(graph: Graph, minGap = 0.1): Axis {
  const times = Float64Array.from(graph.nodes, timeOf).sort();
  const steps: number[] = [];
  for (let index = 1; index < times.length; index++) steps.push(at(times, index) - at(times, index - 1));
  const limit = 4 * median(steps.filter((step) => step > 0));
  const known: number[] = [];
  const places: number[] = [];
  let sum = 0;
  for (let index = 0; index < times.length; index++) {
    const step = index === 0 ? 0 : at(steps, index - 1);
    sum += compressed(step, limit);
    if (index > 0 && step === 0) continue;
    known.push(at(times, index));
    places.push(sum);
  }
  const place = placing(known, places.map((one) => (sum === 0 ? 0.5 : one / sum)));
  const first = known[0] ?? 0;
  const last = known[known.length - 1] ?? 0;
  return { place, ticks: ticksOf(first, last, place, minGap), first, last };
}

/** Between two known times the place follows the clock. */
function placing(known: readonly number[], places: readonly number[]): (us: number) => number {
  return (us) => {
    let low = 0;
    let high = known.length - 1;
    if (high < 0 || us <= at(known, 0)) return places[0] ?? 0.5;
    if (us >= at(known, high)) return at(places, high);
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (at(known, middle) <= us) low = middle;
      else high = middle;
    }
    const share = (us - at(known, low)) / (at(known, high) - at(known, low));
    return at(places, low) + share * (at(places, high) - at(places, low));
  };
}

const SECOND = 1_000_000;
const TICK_STEPS = [
  0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600, 43_200,
  86_400, 172_800, 604_800, 2_592_000, 31_536_000,
].map((seconds) => seconds * SECOND);

/** At most this many ticks are tried, whatever the length of the trace. */
const TICKS_TRIED = 12;

function ticksOf(first: number, last: number, place: (us: number) => number, minGap: number): Axis["ticks"] {
  const span = last - first;
  if (span <= 0) return [];
  const step = TICK_STEPS.find((one) => span / one <= TICKS_TRIED) ?? span / TICKS_TRIED;
  const ticks: { us: number; place: number }[] = [];
  let before = place(first);
  for (let us = Math.ceil((first + 1) / step) * step; us < last; us += step) {
    const here = place(us);
    if (here - before < minGap || 1 - here < minGap) continue;
    ticks.push({ us, place: here });
    before = here;
  }
  return ticks;
}
