import { describe, expect, test } from "vitest";
import { askedOf, exploredAs, filtersOf, routeWords } from "./asked";

const asked = (path: string, query = "") => askedOf({ path, query, asOf: 9 });

describe("a recorded question", () => {
  test.each([
    ["/api/v1/events", "events"],
    ["/below/a/root/api/v1/events/export", "an export of events"],
    ["/api/v1/events/28473f38-76f9-5a41-a59b-4cfe1395e865/trace", "causes and effects"],
    ["/api/v1/resources/action_run/28473f38-76f9-5a41-a59b-4cfe1395e865/summary", "a resource"],
    ["/api/v1/log/entries", "the log, to verify it"],
    ["/api/v1/log/checkpoint", "the log and its proofs"],
    ["/api/v1/something", null],
    ["<script>", null],
  ])("to %s is about %s", (path, words) => expect(routeWords(path)).toBe(words));

  test("has the terms of its query and its filters, without what says how the answer looks", () =>
    expect(filtersOf("q=outcome%3Afailed+actor%3A%22user%2FAda+L%22&limit=50&event_type=a.b")).toEqual(["outcome:failed", 'actor:"user/Ada L"', "event_type a.b"]));

  test("is asked again in the explorer, unless it has a filter that an address of the explorer cannot have", () => {
    expect(exploredAs(asked("/api/v1/events/export", "q=outcome%3Afailed&from=-1d&format=csv"))).toEqual({ q: "outcome:failed", from: "-1d" });
    expect(exploredAs(asked("/api/v1/events", "event_type=a.b"))).toBeNull();
    expect(exploredAs(asked("/api/v1/flows"))).toBeNull();
  });

  test("is empty where a payload was erased or is of another form", () =>
    expect(askedOf({ path: 7, query: null })).toEqual({ path: "", query: "", asOf: null }));
});
