import { describe, expect, test } from "vitest";
import { plotOf, type Histogram } from "./bars";
import { changeWords, countBefore, ghostPath, periodBefore } from "./compare";

const HOUR_MS = 3_600_000;
const at = (hour: number) => new Date(Date.UTC(2026, 0, 2, hour)).toISOString().replace(".000Z", "Z");
const counts = (from: number, totals: number[], more: Partial<Histogram> = {}): Histogram => ({
  buckets: totals.map((total, index) => ({ start: at(from + index), total, counts: [total] })),
  from: at(from),
  to: at(from + totals.length),
  interval: "1h",
  intervalS: 3600,
  keys: [{ key: "none", count: totals.reduce((sum, total) => sum + total, 0) }],
  total: totals.reduce((sum, total) => sum + total, 0),
  ...more,
});
const now = counts(12, [4, 8]);
const before = counts(10, [2, 16]);

describe("the period before", () => {
  test("is as long, and ends where the one shown begins", () => {
    expect(periodBefore(now, 0)).toEqual({ from: at(10), to: at(12), shiftMs: 2 * HOUR_MS });
  });

  test("of one that is still going on is as long as what has passed of it", () => {
    expect(periodBefore({ ...now, to: null }, Date.parse(at(13)))?.from).toBe(at(11));
    expect(periodBefore({ ...now, to: null }, Date.parse(at(20)))?.from).toBe(at(10));
  });

  test("is not there when the one shown has no beginning, or no bucket", () => {
    expect(periodBefore({ ...now, from: null }, 0)).toBeNull();
    expect(periodBefore({ ...now, buckets: [] }, 0)).toBeNull();
  });

  test("lies over the bars, and the scale has room for it", () => {
    const plot = plotOf(now, { width: 228, base: 64, top: 0 }, "utc", before);
    expect(countBefore(before, 2 * HOUR_MS, plot.bars[1]!)).toBe(16);
    expect(plot.yOf(16)).toBeGreaterThanOrEqual(0);
    const path = ghostPath(before, 2 * HOUR_MS, plot);
    expect(path).toBe(`M28.0 64.0V${plot.yOf(2).toFixed(1)}H128.0V${plot.yOf(16).toFixed(1)}H228.0V64.0`);
  });

  test("in words", () => {
    expect(changeWords(1_204, 892)).toBe("892 before, 35 % more");
    expect(changeWords(1, 2)).toBe("2 before, 50 % fewer");
    expect(changeWords(5, 5)).toBe("5 before, as many");
    expect(changeWords(10_001, 10_000)).toBe("10,000 before, less than 1 % more");
    expect(changeWords(5, 0)).toBe("none before");
  });
});
