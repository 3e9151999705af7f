import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { asks, invertedAt, nearestName, scanTerms, termText, withoutTerm, withoutTermAt, withTerm } from "./terms";

const TEXT = 'type:action_run.*  -type:*.heartbeat actor:"agent/the planner" payload.tool:think lost';

const named = fc.record({
  name: fc.constantFrom("type", "actor", "flow", "payload.tool"),
  value: fc.string({ minLength: 1 }),
  isExcluded: fc.boolean(),
});

describe("terms of a query", () => {
  test("a text is read into names and values", () =>
    expect(scanTerms(TEXT).map(({ name, value, isExcluded }) => [isExcluded ? "-" : "+", name, value])).toEqual([
      ["+", "type", "action_run.*"],
      ["-", "type", "*.heartbeat"],
      ["+", "actor", "agent/the planner"],
      ["+", "payload.tool", "think"],
      ["+", "", "lost"],
    ]));

  test("any value survives being written and read", () =>
    fc.assert(
      fc.property(fc.array(named), (terms) => {
        const read = scanTerms(terms.map(termText).join(" "));
        expect(read.map(({ name, value, isExcluded }) => ({ name, value, isExcluded }))).toEqual(terms);
      }),
    ));

  test("any text is read to its end, term after term", () =>
    fc.assert(
      fc.property(fc.string(), (text) => {
        let at = 0;
        for (const term of scanTerms(text)) {
          expect(text.slice(at, term.start).trim()).toBe("");
          expect(term.end).toBeGreaterThan(term.start);
          at = term.end;
        }
        expect(text.slice(at).trim()).toBe("");
      }),
    ));

  test("a term takes the place of its opposite, and nothing is added twice", () =>
    fc.assert(
      fc.property(fc.array(named), named, (terms, { name, value, isExcluded }) => {
        const text = withTerm(terms.map(termText).join(" "), name, value, isExcluded);
        expect(asks(text, name, value, isExcluded)).toBe(true);
        expect(asks(text, name, value, !isExcluded) && !terms.some((term) => term.name === name && term.value === value)).toBe(false);
        expect(withTerm(text, name, value, isExcluded)).toBe(text);
        expect(asks(withoutTerm(text, name, value), name, value, isExcluded)).toBe(false);
      }),
    ));

  test("the other terms stay as they were written", () => {
    expect(withoutTermAt(TEXT, 1)).toBe('type:action_run.* actor:"agent/the planner" payload.tool:think lost');
    expect(invertedAt("type:a.b -outcome:failed", 0)).toBe("-type:a.b -outcome:failed");
    expect(invertedAt("type:a.b -outcome:failed", 1)).toBe("type:a.b outcome:failed");
  });

  test.each([
    ["outcom", "outcome"],
    ["typ", "type"],
    ["actr", "actor"],
    ["banana", null],
    ["", null],
  ])("%j is nearest to %j", (name, nearest) => expect(nearestName(name)).toBe(nearest));
});
