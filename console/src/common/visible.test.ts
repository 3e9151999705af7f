import fc from "fast-check";
import { expect, test } from "vitest";
import { HIDDEN, visible } from "./visible";

test("a name that is turned around does not pass for another", () => {
  expect(visible("\u202enimda")).toBe("[U+202E]nimda");
  expect(visible("ad\u200bmin")).toBe("ad[U+200B]min");
  expect(visible("ad\u200dmin\u0000")).toBe("ad[U+200D]min[U+0000]");
});

test("what is written by right stays: other scripts, joined pictographs, spaces", () => {
  for (const text of ["محمد", "می\u200cخواهم", "שלום", "👩‍👩‍👧‍👦", "👩🏽\u200d🚀", "a b\tc", "naïve – “q”"]) expect(visible(text)).toBe(text);
});

test("nothing hidden is left, and no other character is changed", () =>
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      const shown = visible(text);
      expect(HIDDEN.test(shown)).toBe(false);
      if (!HIDDEN.test(text)) expect(shown).toBe(text);
    }),
  ));
