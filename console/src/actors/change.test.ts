import { expect, test } from "vitest";
import { failureRate, percentText, rateChange, reasonsOf } from "./change";

const totals = (total: number, failures: number) => ({ total, successes: total - failures, failures });

test("the change of the failure rate is in points, and says whether more fails", () => {
  expect(rateChange(totals(100, 7), totals(100, 5))).toEqual({ text: "+2.0 pt", isWorse: true });
  expect(rateChange(totals(100, 5), totals(100, 7))).toEqual({ text: "−2.0 pt", isWorse: false });
  expect(rateChange(totals(100, 5), totals(200, 10))).toEqual({ text: "as before", isWorse: false });
});

test("without events in one of the periods there is no change to speak of", () => {
  expect(rateChange(totals(100, 5), null)).toBeNull();
  expect(rateChange(totals(100, 5), totals(0, 0))).toBeNull();
  expect(rateChange(totals(0, 0), totals(10, 0))).toBeNull();
  expect(failureRate(totals(0, 0))).toBeNull();
});

test("a small share is never shown as none", () => {
  expect(percentText(0)).toBe("0 %");
  expect(percentText(0.0001)).toBe("<0.1 %");
  expect(percentText(0.063)).toBe("6.3 %");
  expect(percentText(0.566)).toBe("57 %");
  expect(percentText(null)).toBe("–");
});

test("errors that differ in numbers are one reason", () => {
  expect(
    reasonsOf([
      "payment amount does not add up, total price is 1002, but paid 1047",
      "payment amount does not add up, total price is 305, but paid 255",
      "not enough seats on flight HAT229",
    ]),
  ).toEqual([
    { reason: "payment amount does not add up, total price is …, but paid …", count: 2 },
    { reason: "not enough seats on flight …", count: 1 },
  ]);
});
