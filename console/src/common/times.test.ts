import { describe, expect, test } from "vitest";
import { clockTime, counted, durationWords, sinceRoot } from "./times";

describe("times", () => {
  test.each([
    [350_000, "350 ms"],
    [2_300_000, "2.3 s"],
    [59_960_000, "1 min"],
    [117_000_000, "1 min 57 s"],
    [11_520_000_000, "3 h 12 min"],
    [-1_200_000, "−1.2 s"],
    [0, "0 ms"],
    [400, "<1 ms"],
  ])("a duration of %i µs is %s", (us, words) => expect(durationWords(us)).toBe(words));

  test.each([
    [0, "+0:00.0"],
    [161_791_000, "+2:41.8"],
    [3_800_000_000, "+1:03:20"],
    [-350_000, "−0:00.4"],
  ])("%i µs since the root is %s", (us, words) => expect(sinceRoot(us)).toBe(words));

  test("a time has its date, its second and its milliseconds", () =>
    expect(clockTime("2024-05-16T06:20:48.791000Z", "utc")).toEqual({
      date: "16 May 2024",
      time: "06:20:48",
      milliseconds: ".791",
    }));

  test("one is not many", () => expect([counted(1, "event"), counted(5598, "event")]).toEqual(["1 event", "5,598 events"]));
});
