import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { recompute, rootOf, tilePath, type Outcome } from "./recompute";

const hash = (...parts: (string | Uint8Array)[]) => parts.reduce((made, part) => made.update(part), createHash("sha256")).digest();

/** The root as RFC 6962 defines it: of the largest power of two that is smaller, and of the rest. */
function defined(leaves: readonly Uint8Array[]): Uint8Array {
  if (leaves.length === 0) return hash("");
  if (leaves.length === 1) return leaves[0] as Uint8Array;
  let left = 1;
  while (left * 2 < leaves.length) left *= 2;
  return hash(Uint8Array.of(1), defined(leaves.slice(0, left)), defined(leaves.slice(left)));
}

const payloadOf = (number: number) => `{"n":${number}.0,"a \\"}b":["}",{}]}`;
const salt = Buffer.alloc(16, 7);

function logOf(size: number) {
  const lines: string[] = [];
  const leaves: Uint8Array[] = [];
  for (let position = 1; position <= size; position++) {
    const envelope = `{"actorId":"{ü\\"","payloadHash":"${hash(salt, payloadOf(position)).toString("hex")}","v":1}`;
    lines.push(`{"envelope":${envelope},"payload":${payloadOf(position)},"position":${position},"salt":"${salt.toString("base64")}"}`);
    leaves.push(hash(Uint8Array.of(0), envelope));
  }
  return { lines, leaves, root: defined(leaves) };
}

async function read({ lines, leaves, root }: ReturnType<typeof logOf>, change: (lines: string[]) => void = () => undefined, size = leaves.length): Promise<Outcome> {
  const changed = [...lines];
  change(changed);
  const parts = (async function* () {
    for (let at = 0; at < changed.length; at += 3) yield changed.slice(at, at + 3);
  })();
  return recompute({ parts, size, root, storedLeaf: async (position) => leaves[position - 1] as Uint8Array, onProgress: () => undefined });
}

describe("a log that is recomputed", () => {
  test("its root is that of RFC 6962", () =>
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 40 }), (size) => {
        expect(Buffer.from(rootOf(logOf(size).leaves))).toEqual(Buffer.from(logOf(size).root));
      }),
    ));

  test("holds as it was written, also where retention removed its beginning and a payload was erased", async () => {
    const log = logOf(11);
    expect(await read(log)).toEqual({ kind: "holds", size: 11, byLeaf: 0 });
    expect(await read(log, (lines) => lines.splice(0, 4))).toEqual({ kind: "holds", size: 11, byLeaf: 4 });
    expect(await read(log, (lines) => lines.splice(0, 11))).toEqual({ kind: "holds", size: 11, byLeaf: 11 });
    const erase = (line = "") => line.replace(/"payload":.*,"position"/, '"payload":null,"position"').replace(/"salt":".*"/, '"salt":null');
    expect(await read(log, (lines) => lines.splice(5, 1, erase(lines[5])))).toMatchObject({ kind: "holds" });
  });

  test.each([
    ["another payload", 3, (lines: string[]) => lines.splice(2, 1, (lines[2] ?? "").replace('"n":3.0', '"n":3'))],
    ["another envelope", 3, (lines: string[]) => lines.splice(2, 1, (lines[2] ?? "").replace('"v":1', '"v":2'))],
    ["an event that is missing", 3, (lines: string[]) => lines.splice(2, 1)],
    ["events that are missing at the end", 10, (lines: string[]) => lines.splice(9, 2)],
    ["events that changed places", 3, (lines: string[]) => lines.splice(2, 2, lines[3] ?? "", lines[2] ?? "")],
    ["a line that is no entry", 3, (lines: string[]) => lines.splice(2, 1, "{}")],
    ["one event more", 12, (lines: string[]) => lines.push(logOf(12).lines[11] ?? "")],
  ])("does not with %s, and the first such position is named", async (_name, position, change) =>
    expect(await read(logOf(11), change)).toMatchObject({ kind: "broken", position }));

  test("does not where the stored hashes are changed as well", async () => {
    const log = logOf(5);
    expect(await read({ ...log, root: hash("other") })).toMatchObject({ kind: "broken", position: null });
  });

  test("the tiles of level 0 have the names of C2SP", () => {
    expect(tilePath(1, 10)).toEqual({ path: "0/000.p/10", index: 0 });
    expect(tilePath(256, 256)).toEqual({ path: "0/000", index: 255 });
    expect(tilePath(257, 300)).toEqual({ path: "0/001.p/44", index: 0 });
    expect(tilePath(256 * 1_234_067 + 3, 2 ** 40)).toEqual({ path: "0/x001/x234/067", index: 2 });
  });
});
