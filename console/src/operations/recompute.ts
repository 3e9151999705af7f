/** Recomputes the hashes of a whole log from its entries, and compares the root with the signed one. */
import { endOfObject } from "../api/json";
import { sha256 } from "../../../verifier/sha2.mjs";

/** The stored hash of the event at a position: all that is left of one that retention removed. */
export type StoredLeaf = (position: number) => Promise<Uint8Array>;

export type Outcome =
  /** Every leaf leads to the root. `byLeaf`: how many events are gone, so that only their stored hashes were read. */
  | { kind: "holds"; size: number; byLeaf: number }
  /** The first position that is not as it was written, as far as that is known, and why. */
  | { kind: "broken"; position: number | null; why: string };

interface Work {
  /** The lines of `GET /api/v1/log/entries?complete=true`, in parts. */
  parts: AsyncIterable<readonly string[]>;
  size: number;
  root: Uint8Array;
  storedLeaf: StoredLeaf;
  onProgress: (position: number) => void;
}

/** Reads the log once. Memory grows by 32 bytes an event, so that a changed one can be named afterwards. */
export async function recompute({ parts, size, root, storedLeaf, onProgress }: Work): Promise<Outcome> {
  const leaves: Uint8Array[] = [];
  let byLeaf = 0;
  const fromStore = async (position: number) => {
    leaves.push(await storedLeaf(position));
    byLeaf++;
  };
  for await (const lines of parts) {
    for (const line of lines) {
      const entry = parseEntry(line);
      if (entry === null) return { kind: "broken", position: leaves.length + 1, why: "Its entry cannot be read." };
      if (entry.position > size) return { kind: "broken", position: entry.position, why: "It lies beyond the checkpoint." };
      // What retention removed lies before the first entry.
      while (leaves.length + 1 < entry.position && byLeaf === leaves.length) await fromStore(leaves.length + 1);
      if (entry.position !== leaves.length + 1) return { kind: "broken", position: leaves.length + 1, why: "It is missing." };
      if (entry.payload !== null && hexOf(sha256(joined(entry.salt, entry.payload))) !== entry.payloadHash)
        return { kind: "broken", position: entry.position, why: "Its payload is not the one that was written." };
      leaves.push(sha256(joined(Uint8Array.of(0), entry.envelope)));
    }
    onProgress(leaves.length);
    await new Promise((later) => setTimeout(later)); // the page stays alive
  }
  while (leaves.length < size && byLeaf === leaves.length) await fromStore(leaves.length + 1);
  if (leaves.length < size) return { kind: "broken", position: leaves.length + 1, why: "The entries end before the checkpoint does." };
  onProgress(size);
  if (areEqual(rootOf(leaves), root)) return { kind: "holds", size, byLeaf };
  return firstDifference(leaves, storedLeaf);
}

async function firstDifference(leaves: readonly Uint8Array[], storedLeaf: StoredLeaf): Promise<Outcome> {
  for (const [index, leaf] of leaves.entries()) {
    const stored = await storedLeaf(index + 1);
    if (!areEqual(leaf, stored)) return { kind: "broken", position: index + 1, why: `Its hash is ${hexOf(leaf).slice(0, 16)}…, and the log has ${hexOf(stored).slice(0, 16)}….` };
  }
  return { kind: "broken", position: null, why: "The hashes of the events do not lead to the signed root." };
}

interface Entry {
  position: number;
  payloadHash: string;
  envelope: Uint8Array;
  salt: Uint8Array;
  /** Null when it was erased. */
  payload: Uint8Array | null;
}

const HEAD = '{"envelope":';
const MIDDLE = ',"payload":';

/** The entry of a line, with the bytes that were hashed; null for a line that is none. */
function parseEntry(line: string): Entry | null {
  try {
    if (!line.startsWith(HEAD)) return null;
    const end = endOfObject(line, HEAD.length);
    const envelopeText = line.slice(HEAD.length, end);
    if (!line.startsWith(MIDDLE, end)) return null;
    const from = end + MIDDLE.length;
    const to = line.startsWith("null", from) ? from + 4 : endOfObject(line, from);
    const { position, salt } = JSON.parse(`{${line.slice(to + 1)}`) as { position: number; salt: string | null };
    const envelope = JSON.parse(envelopeText) as Record<string, string>;
    const payloadText = line.slice(from, to);
    return {
      position,
      payloadHash: String(envelope.payloadHash),
      envelope: bytesOf(envelopeText),
      salt: Uint8Array.from(atob(salt ?? ""), (character) => character.charCodeAt(0)),
      payload: salt === null ? null : bytesOf(payloadText),
    };
  } catch {
    return null;
  }
}

/** The root of a tree by RFC 6962, level by level: the last node of an odd level goes up as it is. */
export function rootOf(leaves: readonly Uint8Array[]): Uint8Array {
  if (leaves.length === 0) return sha256(new Uint8Array(0));
  let level = leaves;
  while (level.length > 1) {
    const above: Uint8Array[] = [];
    for (let index = 0; index < level.length; index += 2) {
      const left = level[index] as Uint8Array;
      const right = level[index + 1];
      above.push(right === undefined ? left : sha256(joined(Uint8Array.of(1), left, right)));
    }
    level = above;
  }
  return level[0] as Uint8Array;
}

const TILE_WIDTH = 256;

/** The path of the tile of level 0 that has a leaf, in C2SP tlog-tiles: "0/x001/234", with a width unless it is full. */
export function tilePath(position: number, size: number): { path: string; index: number } {
  const number = Math.floor((position - 1) / TILE_WIDTH);
  const digits = String(number);
  const groups = digits.padStart(Math.ceil(digits.length / 3) * 3, "0").match(/\d{3}/g) ?? [];
  const name = groups.map((group, at) => (at < groups.length - 1 ? `x${group}` : group)).join("/");
  const width = Math.min(TILE_WIDTH, size - number * TILE_WIDTH);
  return { path: `0/${name}${width < TILE_WIDTH ? `.p/${width}` : ""}`, index: (position - 1) % TILE_WIDTH };
}

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);

function joined(...parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

export const hexOf = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

const areEqual = (one: Uint8Array, other: Uint8Array): boolean => one.length === other.length && one.every((byte, at) => byte === other[at]);
