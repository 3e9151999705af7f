/** What a proof of an event shows to this browser, and the key of the log that it saw first. The verifier is that of `verifier/`. */
import type { LogEvent } from "../api/events";
import { NotProven, parseKey, verifyProof, type Envelope } from "../../../verifier/verify.mjs";

/** The key that this browser saw first for a log, and when. */
export interface PinnedKey {
  key: string;
  /** RFC 3339, in UTC. */
  seenAt: string;
}

export type Verdict =
  | { kind: "verified"; size: bigint; pinned: PinnedKey }
  | { kind: "refused"; why: string }
  | { kind: "changed"; pinned: PinnedKey; offered: string };

const STORED = "whence.log-keys";

/** The part of localStorage that is used. */
export type KeyStore = Pick<Storage, "getItem" | "setItem">;

/** The key that is pinned for a log. */
export function pinnedKey(store: KeyStore, log: string): PinnedKey | null {
  return readPins(store)[log] ?? null;
}

/** Pins a key for a log, in place of any other. A browser that keeps nothing sees it for the first time each time. */
export function pinKey(store: KeyStore, log: string, key: string, now: Date): PinnedKey {
  const pinned = { key, seenAt: now.toISOString() };
  try {
    store.setItem(STORED, JSON.stringify({ ...readPins(store), [log]: pinned }));
  } catch {
    // The storage is full or switched off.
  }
  return pinned;
}

function readPins(store: KeyStore): Record<string, PinnedKey> {
  try {
    const read: unknown = JSON.parse(store.getItem(STORED) ?? "{}");
    if (typeof read !== "object" || read === null) return {};
    return Object.fromEntries(Object.entries(read).filter(([, pin]) => typeof pin?.key === "string" && typeof pin.seenAt === "string")) as Record<string, PinnedKey>;
  } catch {
    return {};
  }
}

/** What a proof shows about the event that is on the page. `offered` is the key that the server names now, and `second` its key by
 * ML-DSA-44: a signature by it may be missing, but not wrong. */
export function judge(proof: Uint8Array, event: LogEvent, pinned: PinnedKey, offered: string, second: string | null = null): Verdict {
  if (offered !== pinned.key) return { kind: "changed", pinned, offered };
  try {
    const { checkpoint, position, envelope, payload } = verifyProof(proof, parseKey(pinned.key), second === null ? [] : [parseKey(second)]);
    const differing = differingField(event, envelope, Number(position), payload);
    if (differing) return { kind: "refused", why: `The proof is about another event than the one on this page: ${differing} differs.` };
    return { kind: "verified", size: checkpoint.size, pinned };
  } catch (error) {
    if (!(error instanceof NotProven)) throw error;
    return { kind: "refused", why: error.message };
  }
}

/** Members of an envelope that an event has in another form. Every other one is on the page as it is in the envelope. */
const IN_ANOTHER_FORM = new Set(["occurredAt", "recordedAt", "payloadHash", "v"]);

/** The first field in which the event on the page is not the proven one; null if it is. */
function differingField(event: LogEvent, envelope: Envelope, position: number, payload: string | null): string | null {
  if (event.position !== position) return "position";
  for (const name of ["occurredAt", "recordedAt"] as const) if (withFraction(event[name]) !== envelope[name]) return name;
  const names = Object.keys(envelope).filter((name) => !IN_ANOTHER_FORM.has(name));
  const field = names.find((name) => event[name as keyof LogEvent] !== envelope[name]);
  if (field) return field;
  const shown = event.payload === null ? null : (event.payloadText ?? null);
  return shown === payload ? null : "payload";
}

/** A time with six digits of fraction, as in an envelope. */
const withFraction = (time: string) => (time.includes(".") ? time : time.replace("Z", ".000000Z"));
