import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { diffRows, foundRows, openRows, payloadRows, type PayloadRow } from "./payload";

const rowsOf = (value: unknown) => payloadRows(JSON.stringify(value)) as PayloadRow[];
const objects = fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 3 }), { maxKeys: 5 });

function leafCount(value: unknown): number {
  if (typeof value !== "object" || value === null) return 1;
  const inner = Object.values(value);
  return inner.length === 0 ? 1 : inner.reduce<number>((sum, each) => sum + leafCount(each), 0);
}

describe("a payload as rows", () => {
  test("branches say what they hold, leaves are as they were sent, and each has its path", () =>
    expect(payloadRows('{"tool":"book","arguments":{"flights":[{"no":"HAT082"}],"price":1.0,"a b":[]},"ok":null}')).toEqual([
      { path: "tool", field: "tool", key: "tool", depth: 0, kind: "text", text: "book" },
      { path: "arguments", field: null, key: "arguments", depth: 0, kind: "branch", text: "3 keys" },
      { path: "arguments.flights", field: null, key: "flights", depth: 1, kind: "branch", text: "1 item" },
      { path: "arguments.flights[0]", field: null, key: "0", depth: 2, kind: "branch", text: "1 key" },
      { path: "arguments.flights[0].no", field: null, key: "no", depth: 3, kind: "text", text: "HAT082" },
      { path: "arguments.price", field: "arguments.price", key: "price", depth: 1, kind: "number", text: "1.0" },
      { path: 'arguments["a b"]', field: null, key: "a b", depth: 1, kind: "empty", text: "[]" },
      { path: "ok", field: "ok", key: "ok", depth: 0, kind: "word", text: "null" },
    ]));

  test("a value is asked for by the keys to it, an element by those of its array, and what no query can name by none", () => {
    const field = (value: unknown) => rowsOf(value).findLast((row) => row.kind !== "branch")?.field ?? null;
    expect(field({ a: { b: 1 } })).toBe("a.b");
    expect(field({ a: ["x"] })).toBe("a");
    expect(field({ a: [{ b: 1 }] })).toBeNull();
    expect(field({ a: [["x"]] })).toBeNull();
    expect(field(["x"])).toBeNull();
    expect(field({ a: Array(101).fill("x") })).toBeNull();
    expect(field({ a: "x".repeat(255) })).toBe("a");
    for (const text of ["", "x".repeat(256), "a\nb"]) expect(field({ a: text })).toBeNull();
    for (const key of ["", "a b", "a.b", "a:b", "a=b", 'a"', "a".repeat(129)]) expect(field({ [key]: 1 })).toBeNull();
    expect(field({ a: { b: { c: { d: 1 } } } })).toBe("a.b.c.d");
    expect(field({ a: { b: { c: { d: { e: 1 } } } } })).toBeNull();
  });

  test("every leaf has a row, and every path is another", () =>
    fc.assert(
      fc.property(objects, (value) => {
        const rows = rowsOf(value);
        if (Object.keys(value).length > 0) expect(rows.filter((row) => row.kind !== "branch")).toHaveLength(leafCount(value));
        expect(new Set(rows.map((row) => row.path)).size).toBe(rows.length);
      }),
    ));

  test("a closed branch hides what is below it and nothing else", () => {
    const rows = rowsOf({ a: { b: { c: 1 } }, d: 2 });
    expect(openRows(rows, new Set(["a"])).map((row) => row.path)).toEqual(["a", "d"]);
    expect(openRows(rows, new Set(["a.b"])).map((row) => row.path)).toEqual(["a", "a.b", "d"]);
  });

  test("what is found stands below its branches", () =>
    expect(foundRows(rowsOf({ a: { b: "Paid 1047", e: 3 }, d: 2 }), "paid").map((row) => row.path)).toEqual(["a", "a.b"]));

  test("what cannot be read has no rows", () => expect(payloadRows("{")).toBeNull());
});

describe("the difference of two payloads", () => {
  test("same, changed, added and removed", () =>
    expect(diffRows(rowsOf({ a: 1, b: { c: "x" }, d: 1 }), rowsOf({ a: 1, b: { c: "y" }, e: [] }))).toEqual([
      { path: "a", change: "same", before: "1", after: "1" },
      { path: "b.c", change: "changed", before: "x", after: "y" },
      { path: "e", change: "added", before: null, after: "[]" },
      { path: "d", change: "removed", before: "1", after: null },
    ]));

  test("a payload does not differ from itself, and the other way round nothing is lost", () =>
    fc.assert(
      fc.property(objects, objects, (one, other) => {
        expect(diffRows(rowsOf(one), rowsOf(one)).every((row) => row.change === "same")).toBe(true);
        const count = (change: string, from: unknown, to: unknown) => diffRows(rowsOf(from), rowsOf(to)).filter((row) => row.change === change).length;
        expect(count("added", one, other)).toBe(count("removed", other, one));
        expect(count("changed", one, other)).toBe(count("changed", other, one));
      }),
    ));
});
