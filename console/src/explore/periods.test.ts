import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { fieldOf, instant, instantOf, intervalName, micros, periodName } from "./periods";

const NOW = new Date("2024-06-01T00:00:00Z");

describe("periods", () => {
  test.each([
    [{}, "All time"],
    [{ from: "-24h" }, "Last 24 h"],
    [{ from: "-90m" }, "Last 90 min"],
    [{ from: "2024-05-15T20:00:00Z", to: "2024-05-16T06:30:00Z" }, "15 May 20:00 – 16 May 06:30"],
    [{ from: "2024-05-15T20:00:00Z", to: "2024-05-15T20:00:10Z" }, "15 May 20:00 – 20:00:10"],
    [{ from: "2023-05-15T20:00:00Z" }, "Since 15 May 2023 20:00"],
    [{ to: "2024-05-15T20:00:00Z" }, "Until 15 May 20:00"],
  ])("%j is %s", (period, name) => expect(periodName(period, "utc", NOW)).toBe(name));

  test("a field means the instant that it shows", () =>
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 4_000_000_000 }), fc.constantFrom("utc" as const, "local" as const), (second, zone) => {
        const text = instant(second * 1000);
        const again = instantOf(fieldOf(text, zone), zone);
        // An hour that clocks repeat is ambiguous in local time.
        if (zone === "utc") expect(again).toBe(text);
        else expect(Math.abs(Date.parse(again ?? "") - second * 1000) % 1_800_000).toBe(0);
      }),
    ));

  test("an empty field means nothing", () => expect(instantOf("", "utc")).toBeUndefined());
  test.each([["10m", "10 min"], ["1d", "1 day"], ["7d", "7 days"], ["30s", "30 s"]])("%s is %s", (one, other) =>
    expect(intervalName(one)).toBe(other),
  );
  test("times keep their microseconds", () =>
    expect(micros("2024-05-16T06:20:48.791001Z") - micros("2024-05-16T06:20:48Z")).toBe(791_001));
});
