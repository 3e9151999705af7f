import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { dragged, plotOf, segmentsOf, type Histogram } from "./bars";

const SIZE = { width: 732, base: 64, top: 6 };
const buckets = fc.array(fc.tuple(fc.nat(1e6), fc.nat(1e6), fc.nat(1e6)), { minLength: 1, maxLength: 120 });

function histogram(counts: [number, number, number][], intervalS = 600): Histogram {
  const startMs = Date.parse("2024-05-15T20:00:00Z");
  return {
    buckets: counts.map((each, index) => ({
      start: new Date(startMs + index * intervalS * 1000).toISOString(),
      total: each[0] + each[1] + each[2],
      counts: each,
    })),
    from: null,
    to: null,
    interval: "10m",
    intervalS,
    keys: ["none", "success", "failure"].map((key) => ({ key, count: 0 })),
    total: 0,
  };
}

describe("the histogram", () => {
  test("every count that is not zero is seen, failures at the base and at least three pixels high", () =>
    fc.assert(
      fc.property(fc.nat(1e6), fc.nat(1e6), fc.nat(1e6), (failure, success, none) => {
        const segments = segmentsOf({ failure, success, none }, (count) => count / 1e5, 64);
        expect(segments.map(({ outcome }) => outcome)).toEqual(
          (["failure", "success", "none"] as const).filter((outcome) => ({ failure, success, none })[outcome] > 0),
        );
        let y = 64;
        for (const segment of segments) {
          y -= segment.height;
          expect(segment.y).toBeCloseTo(y);
          expect(segment.height).toBeGreaterThanOrEqual(segment.outcome === "failure" ? 3 : 1);
          expect(segment.isHatched).toBe(segment.outcome === "failure" && segment.height >= 5);
        }
      }),
    ));

  test("bars lie side by side in their order, and keep their counts", () =>
    fc.assert(
      fc.property(buckets, (counts) => {
        const { bars, left, yTicks } = plotOf(histogram(counts), SIZE, "utc");
        for (const { label } of yTicks) expect(left).toBeGreaterThan(7 * label.length);
        expect(bars.map((bar) => [bar.counts.none, bar.counts.success, bar.counts.failure])).toEqual(counts);
        bars.forEach((bar, index) => {
          const next = bars[index + 1];
          if (next) expect(bar.x + bar.width).toBeLessThanOrEqual(next.x + 0.001);
        });
      }),
    ));

  test("labels of time do not meet", () =>
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 120 }), fc.constantFrom(1, 60, 600, 3600, 86_400, 31_449_600), fc.integer({ min: 300, max: 1400 }), (count, step, width) => {
        const { xTicks } = plotOf(histogram(Array.from({ length: count }, () => [1, 0, 0]), step), { ...SIZE, width }, "utc");
        xTicks.forEach((tick, index) => {
          const before = xTicks[index - 1];
          if (before) expect(tick.x - before.x).toBeGreaterThan(3 * tick.label.length);
        });
      }),
    ));

  test("a drag covers whole buckets, and a click none", () => {
    const plot = plotOf(histogram(Array.from({ length: 10 }, () => [1, 1, 0])), SIZE, "utc");
    const [second, fourth] = [plot.bars[1], plot.bars[3]];
    expect(dragged(plot, (fourth?.x ?? 0) + 5, (second?.x ?? 0) + 5)).toEqual({ from: second?.startMs, to: fourth?.endMs });
    expect(dragged(plot, 100, 102)).toBeNull();
  });

  test("a second has one label, however wide it is drawn", () =>
    expect(plotOf(histogram([[0, 1, 0]], 1), SIZE, "utc").xTicks.map(({ label }) => label)).toEqual(["15 May 20:00:00"]));

  test("the ticks of the recording are those of the picture", () =>
    expect(plotOf(histogram(Array.from({ length: 63 }, () => [40, 40, 2])), SIZE, "utc").xTicks.map(({ label }) => label)).toEqual([
      "15 May 20:00", "22:00", "23:00", "16 May 00:00", "01:00", "02:00", "03:00", "04:00", "05:00", "06:00",
    ]));
});
