import fc from "fast-check";
import { expect, test } from "vitest";
import { arrow, modelOf, type Pair } from "./model";

const pair = (causeType: string, effectType: string, events: number, failures = 0): Pair => ({
  causeType,
  effectType,
  events,
  failures,
  share: 1,
  p50Us: 1,
  p95Us: 1,
  skewed: 0,
});

test("the most frequent pair is 16 px wide, none is thinner than 1 px, and half failures are dashed", () => {
  const { edges } = modelOf([pair("a.b", "c.d", 1600), pair("a.b", "e.failed", 10, 5), pair("a.b", "f.g", 10, 4)], new Map());
  expect(edges.map(({ width }) => width)).toEqual([16, 1, 1]);
  expect(edges.map(({ isDashed }) => isDashed)).toEqual([false, true, false]);
});

test("what the picture leaves out is counted, and it is the least frequent", () => {
  const pairs = Array.from({ length: 45 }, (_, index) => pair("a.b", `c.x${index}`, index + 1));
  const { edges, leftOut } = modelOf(pairs, new Map());
  expect(leftOut).toBe(5);
  expect(Math.min(...edges.map((edge) => edge.pair.events))).toBe(6);
});

test("a type is marked as failed only when all its events failed", () => {
  const { nodes } = modelOf([pair("a.started", "a.failed", 3, 3), pair("a.started", "b.checked", 3, 1), pair("a.started", "a.completed", 3)], new Map([["a.failed", 3]]));
  expect(nodes.map(({ type, events, outcome }) => [type, events, outcome])).toEqual([
    ["a.started", null, "none"],
    ["a.failed", 3, "failure"],
    ["a.completed", null, "success"],
    ["b.checked", null, "none"],
  ].sort(([a], [b]) => nodes.findIndex(({ type }) => type === a) - nodes.findIndex(({ type }) => type === b)));
});

test("an arrow is made of finite numbers whatever its points", () => {
  const point = fc.record({ x: fc.integer({ min: -500, max: 500 }), y: fc.integer({ min: -500, max: 500 }) });
  fc.assert(
    fc.property(fc.array(point, { maxLength: 6 }), fc.double({ min: 1, max: 16, noNaN: true }), (points, width) => {
      const { path, head } = arrow(points, width);
      expect(path + head).not.toMatch(/NaN|Infinity/);
      expect(path === "").toBe(points.length < 2);
    }),
  );
});
