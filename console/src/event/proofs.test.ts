import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import type { LogEvent } from "../api/events";
import { judge, pinKey, pinnedKey, type KeyStore } from "./proofs";

const vectors = JSON.parse(readFileSync(new URL("../../../verifier/vectors/proofs.json", import.meta.url), "utf8"));
const bytes = (text: string) => new TextEncoder().encode(text);
const at = new Date("2026-11-29T12:00:00Z");
const pinned = { key: vectors.key as string, seenAt: at.toISOString() };

interface Proven {
  envelope: string;
  payload: string | null;
  position: number;
}

/** The proof of a vector, and its event as the server answers with it. */
function vector(number: number): { proof: Uint8Array; event: LogEvent } {
  const { proof, proven } = vectors.proofs[number] as { proof: string; proven: Proven };
  const { payloadHash, v, ...fields } = JSON.parse(proven.envelope);
  void [payloadHash, v];
  const payload = proven.payload === null ? null : JSON.parse(proven.payload);
  const event = { ...fields, payload, ...(proven.payload === null ? {} : { payloadText: proven.payload }), position: proven.position };
  return { proof: bytes(proof), event: { ...event, occurredAt: event.occurredAt.replace(".000000Z", "Z") } as LogEvent };
}

function memory(): KeyStore {
  const kept = new Map<string, string>();
  return { getItem: (name) => kept.get(name) ?? null, setItem: (name, value) => void kept.set(name, value) };
}

test("the event on the page is verified, also without a fraction, with emoji, and without an erased payload", () => {
  for (const number of [0, 1, 2, 5]) {
    const { proof, event } = vector(number);
    expect(judge(proof, event, pinned, pinned.key), `${number}`).toMatchObject({ kind: "verified" });
  }
});

test("an event that differs from the proven one in any field is refused, by its name", () => {
  const { proof, event } = vector(1);
  for (const name of Object.keys(event).filter((key) => !key.startsWith("payload")) as (keyof LogEvent)[]) {
    const changed = { ...event, [name]: name === "position" ? 3 : "2026-01-02T03:04:05.999999Z" };
    expect(judge(proof, changed, pinned, pinned.key)).toEqual({
      kind: "refused",
      why: `The proof is about another event than the one on this page: ${name} differs.`,
    });
  }
  for (const changed of [{ payloadText: "{}" }, { payload: null as never }]) {
    expect(judge(proof, { ...event, ...changed }, pinned, pinned.key)).toMatchObject({ kind: "refused", why: expect.stringContaining("payload") });
  }
});

test("a proof that leaves out the payload on the page is refused", () => {
  const { event } = vector(0);
  const text = (vectors.proofs[0] as { proof: string }).proof;
  const [head, extra, ...rest] = text.split("\n");
  const { envelope } = JSON.parse(atob(String(extra).slice(6)));
  const without = [head, `extra ${btoa(`{"envelope":"${envelope}","payload":null,"salt":null}`)}`, ...rest].join("\n");
  expect(judge(bytes(without), event, pinned, pinned.key)).toMatchObject({ kind: "refused", why: expect.stringContaining("payload") });
});

test("what does not verify is refused with the verifier's sentence", () => {
  const { event } = vector(1);
  const broken = vectors.proofs.find(({ name }: { name: string }) => name === "not signed by the key") as { proof: string };
  expect(judge(bytes(broken.proof), event, pinned, pinned.key)).toEqual({ kind: "refused", why: "The key has not signed the checkpoint." });
});

test("a wrong signature by the second key of the log is refused, where the server names that key", () => {
  const { key: second, rotations } = JSON.parse(readFileSync(new URL("../../../verifier/vectors/mldsa44.json", import.meta.url), "utf8"));
  const text = rotations[0].proof as string;
  const parts = JSON.parse(atob(String(text.split("\n")[1]).slice(6)));
  const [{ payloadHash, v, ...fields }, payloadText] = [JSON.parse(atob(parts.envelope)), atob(parts.payload)];
  void [payloadHash, v];
  const event = { ...fields, payload: JSON.parse(payloadText), payloadText, position: 3 } as LogEvent;
  expect(judge(bytes(text), event, pinned, pinned.key, second)).toMatchObject({ kind: "verified" });
  const wrong = bytes(`${text.slice(0, -100)}${text.at(-100) === "A" ? "B" : "A"}${text.slice(-99)}`);
  expect(judge(wrong, event, pinned, pinned.key)).toMatchObject({ kind: "verified" });
  expect(judge(wrong, event, pinned, pinned.key, second)).toEqual({ kind: "refused", why: "A signature by log.example/acme/1 is not valid." });
});

test("a pinned key stays until another one is pinned, each log for itself", () => {
  const store = memory();
  expect(pinnedKey(store, "a")).toBeNull();
  expect(pinKey(store, "a", "one", at)).toEqual({ key: "one", seenAt: at.toISOString() });
  pinKey(store, "b", "two", at);
  expect([pinnedKey(store, "a")?.key, pinnedKey(store, "b")?.key]).toEqual(["one", "two"]);
  pinKey(store, "a", "three", at);
  expect([pinnedKey(store, "a")?.key, pinnedKey(store, "b")?.key]).toEqual(["three", "two"]);
});

test("another key of the server is a change, and nothing is verified with it", () => {
  const { proof, event } = vector(1);
  const before = { key: "log.example/acme/1+00000000+AAAA", seenAt: at.toISOString() };
  expect(judge(proof, event, before, pinned.key)).toEqual({ kind: "changed", pinned: before, offered: pinned.key });
});

test("a browser that keeps nothing, or nonsense, has seen no key", () => {
  const closed: KeyStore = {
    getItem: () => null,
    setItem: () => {
      throw new DOMException("full", "QuotaExceededError");
    },
  };
  expect(pinKey(closed, "a", "one", at).key).toBe("one");
  for (const kept of ["", "null", "[1]", '{"a":1}', '{"a":{"key":1}}']) {
    expect(pinnedKey({ getItem: () => kept, setItem: () => undefined }, "a")).toBeNull();
  }
});
