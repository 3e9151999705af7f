/** Verifies the whole log in this browser: the signature of its newest checkpoint, then every event against it. */
import { ApiError, getJson, ROOT, send, type Schemas } from "../api/client";
import { pinKey, pinnedKey } from "../event/proofs";
import { NotProven, parseKey, verifyCheckpoint } from "../../../verifier/verify.mjs";
import { hexOf, recompute, tilePath, type Outcome } from "./recompute";

export type Verdict =
  | (Outcome & { root: string; ms: number })
  /** The server names another key than the one that this browser saw first. */
  | { kind: "other key"; seenAt: string }
  /** Nothing was decided, and why. */
  | { kind: "undecided"; why: string };

/** Reads the log once. `onProgress` is called with positions and the size. Stops when the signal says so, by an AbortError. */
export async function verifyLog(tenantId: string, signal: AbortSignal, onProgress: (position: number, size: number) => void): Promise<Verdict> {
  const began = performance.now();
  let reached = 0;
  try {
    const { keys } = await getJson<Schemas["LogKeys"]>("api/v1/log/key", signal);
    const offered = keys.at(-1)?.key;
    if (offered === undefined) return { kind: "undecided", why: "The log has no checkpoint yet." };
    const log = `${ROOT} ${tenantId}`;
    const pinned = pinnedKey(localStorage, log);
    if (pinned !== null && pinned.key !== offered) return { kind: "other key", seenAt: pinned.seenAt };
    const second = keys.at(-1)?.mlDsaKey; // a signature by it may be missing, but not wrong
    const checkpoint = verifyCheckpoint(await bytesAt("api/v1/log/checkpoint", signal), parseKey(offered), second ? [parseKey(second)] : []);
    if (pinned === null) pinKey(localStorage, log, offered, new Date());
    const size = Number(checkpoint.size);
    const answer = await send(`api/v1/log/entries?complete=true&as_of=${size}`, { signal });
    const outcome = await recompute({
      parts: linesOf(answer),
      size,
      root: checkpoint.root,
      storedLeaf: storedLeaves(size, signal),
      onProgress: (position) => onProgress((reached = position), size),
    });
    return { ...outcome, root: hexOf(checkpoint.root), ms: performance.now() - began };
  } catch (error) {
    if (signal.aborted) throw error;
    if (error instanceof NotProven) return { kind: "broken", position: null, why: error.message, root: "", ms: performance.now() - began };
    if (error instanceof ApiError) return { kind: "undecided", why: error.message };
    return { kind: "undecided", why: `The server ended its answer after position ${reached.toLocaleString("en-US")}.` };
  }
}

async function bytesAt(path: string, signal: AbortSignal): Promise<Uint8Array> {
  return new Uint8Array(await (await send(path, { signal })).arrayBuffer());
}

const HASH_BYTES = 32;

/** The stored leaves by their positions; the tile that was read last is kept. */
function storedLeaves(size: number, signal: AbortSignal) {
  let kept = { path: "", hashes: new Uint8Array(0) as Uint8Array };
  return async (position: number) => {
    const { path, index } = tilePath(position, size);
    if (kept.path !== path) kept = { path, hashes: await bytesAt(`api/v1/log/tile/${path}`, signal) };
    return kept.hashes.slice(index * HASH_BYTES, (index + 1) * HASH_BYTES);
  };
}

/** The whole lines of an answer, as they come. */
async function* linesOf(answer: Response): AsyncGenerator<string[]> {
  if (answer.body === null) return;
  const reader = answer.body.pipeThrough(new TextDecoderStream("utf-8", { fatal: true, ignoreBOM: true })).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    const lines = (rest + value).split("\n");
    rest = lines.pop() ?? "";
    if (lines.length > 0) yield lines;
  }
  if (rest !== "") yield [rest];
}
