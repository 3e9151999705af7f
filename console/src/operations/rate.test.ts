import { expect, test } from "vitest";
import { eventsPerSecond, followerPlace, kept, rateText } from "./rate";

test("the rate is what was added over the time that was watched", () => {
  expect(eventsPerSecond([])).toBeNull();
  expect(eventsPerSecond([{ atMs: 0, size: 5 }])).toBeNull();
  expect(eventsPerSecond([{ atMs: 0, size: 100 }, { atMs: 4000, size: 300 }])).toBe(50);
  expect(eventsPerSecond([{ atMs: 0, size: 100 }, { atMs: 4000, size: 90 }])).toBe(0);
  expect([0, 0.25, 50, 1234].map(rateText)).toEqual(["0", "0.3", "50", "1,234"]);
});

test("only the last minute is kept, so that a long look does not grow", () => {
  let readings: { atMs: number; size: number }[] = [];
  for (let second = 0; second < 600; second += 2) readings = kept(readings, { atMs: second * 1000, size: second });
  expect(readings.length).toBeLessThan(35);
  expect(eventsPerSecond(readings)).toBe(1);
});

test("followers lead to their pages", () => {
  expect(followerPlace("webhook:ab-1")).toEqual({ to: "/webhooks/$webhookId", params: { webhookId: "ab-1" }, kind: "webhook" });
  expect(followerPlace("alert:x")?.kind).toBe("alert rule");
  expect(followerPlace("sealer")).toBeNull();
});
