import { expect, test } from "vitest";
import { fits, matchWords, placeOf } from "./matches";

test("a command is found by the beginnings of its words, in any order", () => {
  expect(fits("Go to Webhooks", "web")).toBe(true);
  expect(fits("Go to Webhooks", "webh go")).toBe(true);
  expect(fits("Show times in UTC", "utc sh")).toBe(true);
  expect(fits("Go to Webhooks", "hooks")).toBe(false);
  expect(fits("Go to Webhooks", "")).toBe(true);
});

test("each kind of match has its place and its words", () => {
  expect(placeOf({ kind: "flow", correlationId: "a/b c", events: 3 })).toEqual({ to: "/flows/$flowId", params: { flowId: "a/b c" } });
  expect(placeOf({ kind: "actor", actorType: "agent", actorId: "x/y", events: 3 }).params).toEqual({ actorType: "agent", actorId: "x/y" });
  expect(matchWords({ kind: "resource", resourceType: "action_run", resourceId: "5bc32f01", events: 2 })).toEqual({
    name: "5bc32f01",
    detail: "action_run",
    count: 2,
  });
});
