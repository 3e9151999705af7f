import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { JsonNumber, jsonText, parseAnswer, parseJson, type Json } from "./json";

function plain(value: Json): unknown {
  if (value instanceof JsonNumber) return Number(value.literal);
  if (Array.isArray(value)) return value.map(plain);
  if (value instanceof Map) {
    const made: Record<string, unknown> = {};
    for (const [key, item] of value)
      Object.defineProperty(made, key, { value: plain(item), enumerable: true, configurable: true, writable: true });
    return made;
  }
  return value;
}

describe("JSON as it was sent", () => {
  test("any JSON reads as JSON.parse reads it", () =>
    fc.assert(
      fc.property(fc.json(), (text) => {
        expect(plain(parseJson(text))).toEqual(JSON.parse(text));
        expect(JSON.parse(jsonText(parseJson(text)))).toEqual(JSON.parse(text));
      }),
    ));

  test("what JSON.parse refuses is refused", () =>
    fc.assert(
      fc.property(fc.json(), fc.nat(), fc.constantFrom("", ",", "]", "}", '"', "x", "0"), (text, place, mark) => {
        const at = place % (text.length + 1);
        const broken = text.slice(0, at) + mark + text.slice(at + (mark === "" ? 1 : 0));
        const parses = (read: () => unknown) => {
          try {
            read();
            return true;
          } catch {
            return false;
          }
        };
        if (!parses(() => JSON.parse(broken))) expect(parses(() => parseJson(broken))).toBe(false);
      }),
    ));

  test.each(["1.0", "1E2", "-0", "9007199254740993", "123456789012345678901234567890"])("%s stays as it is", (literal) =>
    expect(jsonText(parseJson(literal))).toBe(literal),
  );

  test("keys that look like numbers keep their place", () =>
    expect(jsonText(parseJson('{"b":1,"2":2,"1":3}'))).toBe('{\n  "b": 1,\n  "2": 2,\n  "1": 3\n}'));

  test("half a character and endless depth are refused", () => {
    expect(() => parseJson('"\\ud800"')).toThrow(SyntaxError);
    expect(() => parseJson("[".repeat(100_000))).toThrow(SyntaxError);
  });

  test("an answer has the text of each payload, and none for what is inside one", () =>
    fc.assert(
      fc.property(fc.array(fc.dictionary(fc.string(), fc.jsonValue(), { maxKeys: 4 }), { maxLength: 4 }), (payloads) => {
        const events = payloads.map((payload, index) => ({ note: '"payload":{', id: index, payload }));
        const answer = parseAnswer(JSON.stringify({ events, total: 1 })) as { events: { payloadText: string }[] };
        expect(answer.events.map((event) => event.payloadText)).toEqual(payloads.map((payload) => JSON.stringify(payload)));
      }),
    ));
});
