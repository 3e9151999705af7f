// Verifies proofs of events and the consistency of checkpoints, as docs/proof.md describes them. Works in Node and in
// browsers, without any package, network or `crypto.subtle`. Everything that comes from a file is untrusted; only the key
// is trusted.

import { verifyEd25519 } from "./ed25519.mjs";
import { MLDSA44_SIGNATURE_BYTES, verifyMlDsa44 } from "./mldsa44.mjs";
import { sha256 } from "./sha2.mjs";

/** The longest proof that is read, in bytes. */
export const PROOF_BYTES_MAX = 1024 * 1024;
/** The longest note that is read, in bytes. */
export const NOTE_BYTES_MAX = 256 * 1024;

/** The type of the keys that sign a log by Ed25519. */
export const ED25519 = 0x01;
const COSIGNATURE_ED25519 = 0x04;
const COSIGNATURE_MLDSA44 = 0x06;
/** The length of the public key of each type that is checked. */
const PUBLIC_BYTES = new Map([[ED25519, 32], [COSIGNATURE_ED25519, 32], [COSIGNATURE_MLDSA44, 1312]]);
const SIGNATURES_MAX = 100;
const SIZE_MAX = 2n ** 63n - 1n;
const HASHES_MAX = 63;
const HASH_BYTES = 32;
const KEY_ID_BYTES = 4;
const TIME_BYTES = 8;
const COSIGNED_NAME_BYTES_MAX = 255;
const CONTROL = /[\x00-\x09\x0b-\x1f]/;
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/;
const KEY_ROTATED = "whence.log_key_rotated";
const HASH_HEX = /^[0-9a-f]{64}$/;

/** The keys of an envelope, in the order in which they are written. */
export const ENVELOPE_KEYS = [
  "actorId",
  "actorType",
  "causationId",
  "correlationId",
  "eventType",
  "id",
  "occurredAt",
  "outcome",
  "payloadHash",
  "recordedAt",
  "resourceId",
  "resourceType",
  "tenantId",
  "v",
];

/** What proves nothing: a sentence that says why, and the steps that had succeeded before. */
export class NotProven extends Error {
  /** @param {string} message */
  constructor(message) {
    super(message);
    this.name = "NotProven";
    /** @type {string[]} */
    this.steps = [];
  }
}

/** A public key with the name that it signs under.
 * @typedef {{name: string, id: string, type: number, publicKey: Uint8Array}} Key */

/** A checkpoint that the log's key signed. `cosigners` are those of the given witnesses that cosigned it, and `witnesses`
 * their names.
 * @typedef {{origin: string, size: bigint, root: Uint8Array, witnesses: string[], cosigners: Key[], steps: string[]}} Checkpoint */

/** The fields of an envelope, by the names in docs/proof.md.
 * @typedef {Record<string, string | number | null>} Envelope */

/** An event that is proven. `payload` is null if the proof has none: then only its hash is proven.
 * @typedef {{checkpoint: Checkpoint, position: bigint, id: string, envelope: Envelope, envelopeText: string,
 *   payload: string | null, steps: string[]}} ProvenEvent */

/** The key of `name+id+base64`. Throws NotProven for a text that is none.
 * @param {string} text @returns {Key} */
export function parseKey(text) {
  const [name, id, ...rest] = text.trim().split("+");
  const data = bytesOfBase64(rest.join("+"), "The last part of the key"); // base64 has plus signs too
  checkName(name);
  const length = PUBLIC_BYTES.get(data[0]);
  if (length === undefined) throw new NotProven("The key is of a type that this verifier does not check.");
  if (data.length !== 1 + length) throw new NotProven("The key has the wrong length for its type.");
  if (id !== hexOf(sha256(joined(bytesOfText(`${name}\n`), data)).subarray(0, KEY_ID_BYTES))) {
    throw new NotProven("The id of the key does not belong to it.");
  }
  return { name, id, type: data[0], publicKey: data.subarray(1) };
}

/** Verifies the proof of an event. Throws NotProven for everything that proves nothing.
 * @param {Uint8Array} data the file @param {Key} key the log's, from where the reader keeps it
 * @param {Key[]} [witnesses] whose cosignatures are verified too @returns {ProvenEvent} */
export function verifyProof(data, key, witnesses = []) {
  /** @type {string[]} */
  const steps = [];
  return collecting(steps, () => {
    const proof = parseProof(data);
    const { envelopeBytes, payloadBytes, salt } = parseExtra(proof.extra);
    const envelope = parseEnvelope(envelopeBytes);
    steps.push("The file is a proof, and has the record of an event.");
    const checkpoint = verifyCheckpoint(proof.note, key, witnesses);
    steps.push(...checkpoint.steps);
    const leaf = sha256(joined(Uint8Array.of(0), envelopeBytes));
    if (!isIncluded(leaf, proof.index, checkpoint.size, proof.hashes, checkpoint.root)) {
      throw new NotProven("The event is not in the log at this place: its hashes do not lead to the root of the checkpoint.");
    }
    steps.push(`The hash of the record leads to the signed root, at position ${proof.index + 1n} of ${checkpoint.size}.`);
    const payload = checkedPayload(payloadBytes, salt, String(envelope.payloadHash));
    steps.push(payload === null ? "The proof comes without the payload: only its hash is proven." : "The payload has the hash in the record.");
    const position = proof.index + 1n;
    return { checkpoint, position, id: String(envelope.id), envelope, envelopeText: textOf(envelopeBytes, "The record of the event"), payload, steps };
  });
}

/** The log's key, and those that followed it: each by the proof of the event in which the former key announced the next.
 * Only a rotation is followed. Throws NotProven for anything else.
 * @param {Key} key @param {Uint8Array[]} rotations in their order @returns {Key[]} */
export function followedKeys(key, rotations) {
  const keys = [key];
  for (const data of rotations) keys.push(announcedKey(data, keyOfProof(data, keys)));
  return keys;
}

/** The origin that a proof is about, which is not verified.
 * @param {Uint8Array} data the file */
export function originOfProof(data) {
  return parseCheckpoint(parseNote(parseProof(data).note).text).origin;
}

/** The key of the origin that a proof is about; the first one if none of them is.
 * @param {Uint8Array} data the file @param {Key[]} keys @returns {Key} */
export function keyOfProof(data, keys) {
  return keyOfNote(parseProof(data).note, keys);
}

/** The key of the origin of a checkpoint; the first one if none of them is.
 * @param {Uint8Array} data the note @param {Key[]} keys @returns {Key} */
export function keyOfNote(data, keys) {
  const { origin } = parseCheckpoint(parseNote(data).text);
  return keys.find(({ name }) => name === origin) ?? keys[0];
}

/** The key that a proven event announces, of the type of the one that signed it.
 * @param {Uint8Array} data @param {Key} key @returns {Key} */
function announcedKey(data, key) {
  const { checkpoint, envelope, payload } = verifyProof(data, key);
  if (envelope.eventType !== KEY_ROTATED || envelope.resourceType !== "event_log") throw new NotProven("The event does not announce the rotation of a key.");
  if (payload === null) throw new NotProven("The proof of a rotation has the payload of its event.");
  const { newKey, newMlDsaKey, newOrigin, origin } = fieldsOf(payload, "The payload");
  const named = key.type === COSIGNATURE_MLDSA44 ? newMlDsaKey : newKey;
  if (typeof named !== "string" || named !== named.trim()) throw new NotProven("The event does not name the next key of this type.");
  const next = parseKey(named);
  if (origin !== checkpoint.origin) throw new NotProven("The event is about another key than the one that signed it.");
  if (next.type !== key.type || next.name !== newOrigin || next.name === origin) throw new NotProven("The next key is not that of the next origin.");
  return next;
}

/** Throws NotProven unless each of these witnesses has cosigned the checkpoint.
 * @param {Checkpoint} checkpoint @param {Key[]} witnesses */
export function demandCosigned(checkpoint, witnesses) {
  const missing = witnesses.find((witness) => !checkpoint.cosigners.includes(witness));
  if (missing) throw new NotProven(`The checkpoint is not cosigned by ${missing.name}.`);
}

/** Verifies that a later checkpoint extends an earlier one. Throws NotProven if that is not proven.
 * @param {Uint8Array} oldNote @param {Uint8Array} newNote
 * @param {Uint8Array | null} proof the answer of `GET /api/v1/log/consistency`; null if both have one size
 * @param {Key[]} keys the log's, and those that followed it @param {Key[]} [witnesses] who have to have cosigned the later one
 * @returns {{older: Checkpoint, newer: Checkpoint, steps: string[]}} */
export function verifyConsistency(oldNote, newNote, proof, keys, witnesses = []) {
  /** @type {string[]} */
  const steps = [];
  return collecting(steps, () => {
    const older = verifyCheckpoint(oldNote, keyOfNote(oldNote, keys));
    const newer = verifyCheckpoint(newNote, keyOfNote(newNote, keys), witnesses);
    demandCosigned(newer, witnesses);
    steps.push(`Both checkpoints are signed by the key of ${older.origin}: ${older.size} and ${newer.size} events.`);
    steps.push(...newer.steps.slice(1));
    if (newer.size < older.size) throw new NotProven("The later checkpoint has fewer events than the earlier one.");
    const { from, to, hashes } = proof === null ? { from: older.size, to: newer.size, hashes: [] } : parseConsistency(proof);
    if (from !== older.size || to !== newer.size) throw new NotProven("The consistency proof is about other sizes than those of the checkpoints.");
    if (!isConsistent(older.size, newer.size, hashes, older.root, newer.root)) {
      throw new NotProven("The later checkpoint does not extend the earlier one: events that it counted were changed or removed.");
    }
    steps.push("The hashes lead to both signed roots, so the later log begins with the earlier one.");
    return { older, newer, steps };
  });
}

/** Verifies a checkpoint. Throws NotProven unless the log's key signed it.
 * @param {Uint8Array} data the note @param {Key} key @param {Key[]} [witnesses] whose cosignatures are verified too
 * @returns {Checkpoint} */
export function verifyCheckpoint(data, key, witnesses = []) {
  const { text, signers } = verifyNote(data, [key, ...witnesses]);
  const checkpoint = parseCheckpoint(text);
  if (key.name !== checkpoint.origin) throw new NotProven("The checkpoint is of another log: the key is not that of its origin.");
  if (!signers.includes(key)) throw new NotProven("The key has not signed the checkpoint.");
  const cosigners = witnesses.filter((witness) => signers.includes(witness));
  const names = cosigners.map(({ name }) => name);
  const steps = [`The checkpoint is signed by the key ${key.id} of ${key.name}.`];
  for (const witness of cosigners) steps.push(`It is cosigned by ${witness.name} at ${timeText(cosignedAt(data, witness))}.`);
  const others = parseNote(data).signatures.filter(({ name, id }) => ![key, ...cosigners].some((known) => known.name === name && known.id === id)).length;
  if (others) steps.push(`Signatures that were not checked, since no key for them was given: ${others}.`);
  return { ...checkpoint, witnesses: names, cosigners, steps };
}

/** When a witness cosigned a checkpoint that was verified, in seconds since 1970: the latest time, if it did so twice.
 * @param {Uint8Array} data @param {Key} witness @returns {bigint} */
function cosignedAt(data, witness) {
  const own = parseNote(data).signatures.filter(({ name, id }) => name === witness.name && id === witness.id);
  const times = own.map(({ signature }) => signature.subarray(0, TIME_BYTES).reduce((time, byte) => time * 256n + BigInt(byte), 0n));
  return times.reduce((latest, time) => (time > latest ? time : latest), 0n);
}

/** A time in UTC, or in seconds since 1970 if no calendar has it.
 * @param {bigint} seconds */
function timeText(seconds) {
  return seconds < 253402300800n ? new Date(Number(seconds) * 1000).toISOString().replace(".000Z", "Z") : `${seconds} s since 1970`;
}

/** The text of a note, and those of the keys that signed it. Lines of other keys mean nothing. Throws NotProven if a line
 * of one of the keys does not verify, or if none of them signed.
 * @param {Uint8Array} data @param {Key[]} keys @returns {{text: string, signers: Key[]}} */
export function verifyNote(data, keys) {
  const { text, signatures } = parseNote(data);
  const signers = keys.filter((key) => {
    const own = signatures.filter(({ name, id }) => name === key.name && id === key.id);
    if (!own.every(({ signature }) => isSignature(key, text, signature))) throw new NotProven(`A signature by ${key.name} is not valid.`);
    return own.length > 0;
  });
  if (!signers.length) throw new NotProven("The key has not signed the checkpoint.");
  return { text, signers };
}

/** Whether hashes show that a leaf is number `index`, from 0, of the tree of this size and root (RFC 9162, 2.1.3.2).
 * @param {Uint8Array} leaf @param {bigint} index @param {bigint} size @param {Uint8Array[]} hashes
 * @param {Uint8Array} root @returns {boolean} */
export function isIncluded(leaf, index, size, hashes, root) {
  if (index < 0n || index >= size) return false;
  if ([leaf, root, ...hashes].some((hash) => hash.length !== HASH_BYTES)) return false;
  let [node, last, result] = [index, size - 1n, leaf];
  for (const sibling of hashes) {
    if (last === 0n) return false;
    if (node & 1n || node === last) {
      result = nodeHash(sibling, result);
      while (!(node & 1n) && node) [node, last] = [node >> 1n, last >> 1n];
    } else {
      result = nodeHash(result, sibling);
    }
    [node, last] = [node >> 1n, last >> 1n];
  }
  return last === 0n && areEqual(result, root);
}

/** Whether hashes show that a tree begins a larger one (RFC 9162, 2.1.4.2).
 * @param {bigint} older the size of the one @param {bigint} newer and of the other @param {Uint8Array[]} hashes
 * @param {Uint8Array} olderRoot @param {Uint8Array} newerRoot @returns {boolean} */
export function isConsistent(older, newer, hashes, olderRoot, newerRoot) {
  if (older < 0n || older > newer) return false;
  if ([olderRoot, newerRoot, ...hashes].some((hash) => hash.length !== HASH_BYTES)) return false;
  if (older === newer) return hashes.length === 0 && areEqual(olderRoot, newerRoot);
  if (older === 0n) return hashes.length === 0 && areEqual(olderRoot, sha256(new Uint8Array(0)));
  const path = older & (older - 1n) ? [...hashes] : [olderRoot, ...hashes];
  const first = path.shift();
  if (first === undefined) return false;
  let [node, last, before, after] = [older - 1n, newer - 1n, first, first];
  while (node & 1n) [node, last] = [node >> 1n, last >> 1n];
  for (const sibling of path) {
    if (last === 0n) return false;
    if (node & 1n || node === last) {
      [before, after] = [nodeHash(sibling, before), nodeHash(sibling, after)];
      while (!(node & 1n) && node) [node, last] = [node >> 1n, last >> 1n];
    } else {
      after = nodeHash(after, sibling);
    }
    [node, last] = [node >> 1n, last >> 1n];
  }
  return last === 0n && areEqual(before, olderRoot) && areEqual(after, newerRoot);
}

/** The parts of a proof. Nothing about them is verified.
 * @param {Uint8Array} data */
function parseProof(data) {
  if (data.length > PROOF_BYTES_MAX) throw new NotProven("The proof is longer than 1 MiB.");
  const text = textOf(data, "The proof");
  const end = text.indexOf("\n\n");
  if (end < 0) throw new NotProven("A proof has a blank line before its checkpoint.");
  const [first, ...lines] = text.slice(0, end).split("\n");
  if (first !== "c2sp.org/tlog-proof@v1") throw new NotProven("A proof begins with c2sp.org/tlog-proof@v1.");
  const extra = lines[0]?.startsWith("extra ") ? bytesOfBase64(String(lines.shift()).slice(6), "The extra of the proof") : null;
  if (extra === null) throw new NotProven("The proof lacks the record of its event.");
  const index = lines[0]?.startsWith("index ") ? numberOfText(String(lines.shift()).slice(6)) : null;
  if (index === null) throw new NotProven("A proof has the index of its event, as a decimal number.");
  return { extra, index, hashes: hashesOf(lines), note: bytesOfText(text.slice(end + 2)) };
}

/** The envelope, payload and salt in the `extra` of a proof.
 * @param {Uint8Array} data */
function parseExtra(data) {
  const text = textOf(data, "The extra of the proof");
  const { envelope, payload, salt } = fieldsOf(text, "The extra of the proof");
  // Written again, it has to be the same text: then it has these keys alone, in this order, once, and no white space.
  const written = `{"envelope":${JSON.stringify(envelope)},"payload":${JSON.stringify(payload)},"salt":${JSON.stringify(salt)}}`;
  if (written !== text || typeof envelope !== "string" || (payload === null) !== (salt === null)) {
    throw new NotProven("The proof has no record of an event in the form that it should have.");
  }
  return {
    envelopeBytes: bytesOfBase64(envelope, "The record of the event"),
    payloadBytes: payload === null ? null : bytesOfBase64(String(payload), "The payload"),
    salt: salt === null ? null : bytesOfBase64(String(salt), "The salt"),
  };
}

/** The fields of an envelope. There is one way to write an envelope, so that no two readers see different fields.
 * @param {Uint8Array} data @returns {Envelope} */
export function parseEnvelope(data) {
  const text = textOf(data, "The record of the event");
  const fields = fieldsOf(text, "The record of the event");
  const written = ENVELOPE_KEYS.map((key) => `"${key}":${JSON.stringify(fields[key])}`).join(",");
  const areTexts = ENVELOPE_KEYS.every((key) => typeof fields[key] === "string" || (key === "causationId" && fields[key] === null) || key === "v");
  const areWhole = ENVELOPE_KEYS.every((key) => !/\p{Surrogate}/u.test(String(fields[key]))); // half of a pair is no character
  const areTimes = TIME.test(String(fields.occurredAt)) && TIME.test(String(fields.recordedAt));
  if (`{${written}}` !== text || !areTexts || !areWhole || fields.v !== 1 || !areTimes || !HASH_HEX.test(String(fields.payloadHash))) {
    throw new NotProven("The record of the event is not in the form that it should have.");
  }
  return /** @type {Envelope} */ (fields);
}

/** The payload as text, null if the proof has none. Throws NotProven unless it is the one whose hash was recorded.
 * @param {Uint8Array | null} payload @param {Uint8Array | null} salt @param {string} hash in hexadecimal digits */
export function checkedPayload(payload, salt, hash) {
  if (payload === null || salt === null) return null;
  if (hexOf(sha256(joined(salt, payload))) !== hash) {
    throw new NotProven("The payload is not the one that was stored: its hash is not the one in the record.");
  }
  const text = textOf(payload, "The payload");
  fieldsOf(text, "The payload");
  return text;
}

/** The sizes and hashes of a consistency proof.
 * @param {Uint8Array} data */
function parseConsistency(data) {
  if (data.length > PROOF_BYTES_MAX) throw new NotProven("The consistency proof is longer than 1 MiB.");
  const { from, to, hashes } = fieldsOf(textOf(data, "The consistency proof"), "The consistency proof");
  const areSizes = [from, to].every((size) => Number.isSafeInteger(size) && Number(size) >= 0);
  if (!areSizes || !Array.isArray(hashes) || !hashes.every((hash) => typeof hash === "string")) {
    throw new NotProven("The consistency proof has the members from, to and hashes.");
  }
  return { from: BigInt(Number(from)), to: BigInt(Number(to)), hashes: hashesOf(hashes) };
}

/** A text and the signatures below it. Nothing about them is verified.
 * @param {Uint8Array} data */
function parseNote(data) {
  if (data.length > NOTE_BYTES_MAX) throw new NotProven("The note is longer than 256 KiB.");
  const text = textOf(data, "The note");
  if (CONTROL.test(text)) throw new NotProven("The note has a control character.");
  const end = text.lastIndexOf("\n\n");
  if (end < 0 || !text.endsWith("\n")) throw new NotProven("The note has no signatures: a blank line, then a line for each.");
  const lines = text.slice(end + 2).split("\n").slice(0, -1);
  if (lines.length < 1 || lines.length > SIGNATURES_MAX) throw new NotProven(`A note has from 1 to ${SIGNATURES_MAX} signatures.`);
  return { text: text.slice(0, end + 1), signatures: lines.map(parseSignatureLine) };
}

/** @param {string} line */
function parseSignatureLine(line) {
  if (!line.startsWith("— ")) throw new NotProven("A signature line begins with an em dash and a space.");
  const [name, ...encoded] = line.slice(2).split(" ");
  checkName(name);
  const data = bytesOfBase64(encoded.join(" "), "A signature line");
  if (data.length <= KEY_ID_BYTES) throw new NotProven("A signature line has the id of its key, and a signature.");
  return { name, id: hexOf(data.subarray(0, KEY_ID_BYTES)), signature: data.subarray(KEY_ID_BYTES) };
}

/** The three lines of a checkpoint.
 * @param {string} text */
function parseCheckpoint(text) {
  const lines = text.split("\n");
  if (lines.length !== 4 || lines[3] !== "") throw new NotProven("A checkpoint has three lines: origin, size and root.");
  const [origin, number, encoded] = lines;
  if (origin === "") throw new NotProven("The origin of a checkpoint is not empty.");
  const size = numberOfText(number);
  if (size === null || size > SIZE_MAX) throw new NotProven("The size of a checkpoint is a decimal number.");
  const root = bytesOfBase64(encoded, "The root of the checkpoint");
  if (root.length !== HASH_BYTES) throw new NotProven(`The root of a checkpoint has ${HASH_BYTES} bytes.`);
  return { origin, size, root };
}

/** Whether a key signed the text. A signature of any type but 0x01 begins with the time at which it was made.
 * @param {Key} key @param {string} text @param {Uint8Array} signature */
function isSignature(key, text, signature) {
  if (key.type === ED25519) return verifyEd25519(key.publicKey, bytesOfText(text), signature);
  const isMlDsa = key.type === COSIGNATURE_MLDSA44;
  if (signature.length !== TIME_BYTES + (isMlDsa ? MLDSA44_SIGNATURE_BYTES : 64)) return false;
  const seconds = new DataView(signature.buffer, signature.byteOffset).getBigUint64(0);
  if (seconds > SIZE_MAX) return false;
  const own = signature.subarray(TIME_BYTES);
  if (isMlDsa) return verifyMlDsa44(key.publicKey, messageByMlDsa(key, text, seconds), own);
  return verifyEd25519(key.publicKey, bytesOfText(`cosignature/v1\ntime ${seconds}\n${text}`), own);
}

/** What a key of type 0x06 signs: its name, the time, and what the checkpoint says.
 * @param {Key} key @param {string} text @param {bigint} seconds */
function messageByMlDsa(key, text, seconds) {
  const { origin, size, root } = parseCheckpoint(text);
  const [name, log] = [bytesOfText(key.name), bytesOfText(origin)];
  if (Math.max(name.length, log.length) > COSIGNED_NAME_BYTES_MAX) {
    throw new NotProven(`The name of a cosigner, and an origin, have at most ${COSIGNED_NAME_BYTES_MAX} bytes.`);
  }
  const label = bytesOfText("subtree/v1\n\0");
  const start = numberBytes(0n);
  return joined(label, Uint8Array.of(name.length), name, numberBytes(seconds), Uint8Array.of(log.length), log, start, numberBytes(size), root);
}

/** A number as 8 bytes, the largest one first.
 * @param {bigint} number */
function numberBytes(number) {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, number);
  return bytes;
}

/** What `work` returns; the steps so far become part of what it throws.
 * @template Result @param {string[]} steps @param {() => Result} work @returns {Result} */
function collecting(steps, work) {
  try {
    return work();
  } catch (error) {
    if (error instanceof NotProven) error.steps = steps;
    throw error;
  }
}

/** @param {string} name */
function checkName(name) {
  if (!name || /[+\p{White_Space}]/u.test(name) || CONTROL.test(name)) {
    throw new NotProven("The name of a key is not empty, and has neither spaces nor a plus.");
  }
}

/** @param {string[]} lines */
function hashesOf(lines) {
  if (lines.length > HASHES_MAX) throw new NotProven(`A proof has at most ${HASHES_MAX} hashes.`);
  const hashes = lines.map((line) => bytesOfBase64(line, "A hash of the proof"));
  if (hashes.some((hash) => hash.length !== HASH_BYTES)) throw new NotProven(`Each hash of a proof has ${HASH_BYTES} bytes.`);
  return hashes;
}

/** The number of decimal digits without a leading zero, or null.
 * @param {string} text @returns {bigint | null} */
function numberOfText(text) {
  return /^(0|[1-9][0-9]{0,18})$/.test(text) ? BigInt(text) : null;
}

/** The members of a JSON object.
 * @param {string} text @param {string} what the subject of the sentence if it is none @returns {Record<string, unknown>} */
export function fieldsOf(text, what) {
  let value = null;
  try {
    value = JSON.parse(text);
  } catch {
    // it is no JSON
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new NotProven(`${what} is no JSON object.`);
  return value;
}

/** The bytes of canonical base64.
 * @param {string} text @param {string} what the subject of the sentence if it is none @returns {Uint8Array} */
export function bytesOfBase64(text, what) {
  let binary = null;
  try {
    binary = atob(text);
  } catch {
    // it is no base64
  }
  if (binary === null || btoa(binary) !== text) throw new NotProven(`${what} is not in canonical base64.`);
  return Uint8Array.from(binary, (character) => character.charCodeAt(0));
}

/** @param {Uint8Array} bytes @param {string} what the subject of the sentence if it is no text @returns {string} */
export function textOf(bytes, what) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new NotProven(`${what} is not valid UTF-8.`);
  }
}

/** @param {string} text @returns {Uint8Array} */
export function bytesOfText(text) {
  return new TextEncoder().encode(text);
}

/** @param {Uint8Array} bytes */
export function hexOf(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** @param {...Uint8Array} parts @returns {Uint8Array} */
export function joined(...parts) {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** @param {Uint8Array} left @param {Uint8Array} right */
export function nodeHash(left, right) {
  return sha256(joined(Uint8Array.of(1), left, right));
}

/** @param {Uint8Array} one @param {Uint8Array} other */
export function areEqual(one, other) {
  return one.length === other.length && one.every((byte, place) => byte === other[place]);
}
