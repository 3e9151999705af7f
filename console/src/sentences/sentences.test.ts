import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { namedFailures, sentenceOf, sentenceText, type Described, type FullSentence, type Words } from "./sentences";

interface Case extends Described {
  payload: string;
  sentence: FullSentence;
  text: string;
}

const { words, cases } = JSON.parse(readFileSync(new URL("./cases.json", import.meta.url), "utf8")) as {
  words: Words;
  cases: Case[];
};
const FAILED = { eventType: "action_run.failed", outcome: "failure", actorId: "api", resourceType: "action_run", resourceId: "r1" };
const STARTED = { ...FAILED, eventType: "action_run.started", outcome: "none" };

describe("sentences", () => {
  test("each case of both recordings reads as the commands say it", () => {
    expect(cases.length).toBeGreaterThan(200);
    for (const { sentence, text, payload, ...event } of cases) {
      const said = sentenceOf(event, payload, words);
      expect(said, text).toEqual(sentence);
      expect(sentenceText(said)).toBe(text);
    }
  });

  test("any payload gives one line of bounded length", () =>
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 4 }), fc.constantFrom("tool", "text", "error", "result", "any"), (value, name) => {
        const text = sentenceText(sentenceOf(FAILED, JSON.stringify({ [name]: value }), words));
        expect(text.length).toBeLessThan(6_000);
        expect(text).not.toContain("\n");
      }),
    ));

  test("a failure is named like the start of its run, and not like that of another", () => {
    const pairs = [
      [STARTED, '{"tool":"refund"}'],
      [FAILED, '{"error":"declined"}'],
      [{ ...FAILED, resourceId: "r2" }, '{"error":"declined"}'],
    ] as const;
    const named = namedFailures(pairs.map(([event, payload]) => [event, sentenceOf(event, payload, words)] as const));
    expect(named.map(sentenceText)).toEqual([
      "api called refund",
      "api failed refund declined",
      "api failed action run r2 declined",
    ]);
  });
});
