import { describe, expect, test } from "vitest";
import { policyWords, previewWords, progressWords, removedWords, sourceWords } from "./removals";

describe("removals in words", () => {
  test("what a removal did names only what it did", () => {
    const none = { events: 0, payloads: 0, renamedEvents: null, held: 0 };
    expect(removedWords(none)).toBe("nothing so far");
    expect(removedWords({ ...none, events: 1_200, held: 3 })).toBe("1,200 events removed, 3 kept by a hold");
    expect(removedWords({ ...none, payloads: 1, renamedEvents: 2 })).toBe("1 payload erased, the actor's id replaced in 2 events");
  });

  test("what it waits for comes before its state", () => {
    expect(progressWords({ state: "announced", waitsFor: null })).toBe("announced: the next checkpoint has to cover it");
    expect(progressWords({ state: "cleaning", waitsFor: "A reader is open." })).toBe("A reader is open.");
  });

  test("a policy says for how long, and whose it is", () => {
    expect(policyWords(null)).toBe("Every event is kept for ever");
    expect(policyWords(1)).toBe("Events are kept for 1 day");
    expect(sourceWords("none")).toMatch(/^No policy/);
  });

  test("a preview that could not count to the end says that it is the least", () => {
    const found = { events: 5, payloads: 0, held: 0, exact: true, newest: null, oldest: null };
    expect(previewWords({ ...found, events: 0 })).toBe("Nothing would go now.");
    expect(previewWords({ ...found, payloads: 2 })).toBe("5 events would be removed, and 2 payloads would be erased.");
    expect(previewWords({ ...found, exact: false, held: 4 })).toBe("At least 5 events would be removed. 4 would stay because of a hold.");
    expect(previewWords({ ...found, events: 0, held: 1 })).toBe("Nothing would go now: 1 event would stay because of a hold.");
  });
});
