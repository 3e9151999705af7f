// Verifies a folder of `whence export --proof`, as docs/proof.md describes it. Reads it as a stream, so that a folder of
// any size needs the same memory. Works in Node and in browsers.

import { Sha256, sha256 } from "./sha2.mjs";
import { areEqual, bytesOfBase64, bytesOfText, checkedPayload, demandCosigned, ED25519, fieldsOf, hexOf, joined, nodeHash, NotProven, parseEnvelope, textOf, verifyCheckpoint } from "./verify.mjs";
import { matchesFilter, microseconds, parseFilter } from "./filters.mjs";

const MANIFEST = "manifest.json";
const NEEDED = ["checkpoint", "entries.ndjson", "hashes", "key"];
const TABLES = ["events.csv", "events.parquet"];
const FILE_BYTES_MAX = 1024 * 1024;
const LINE_BYTES_MAX = 1024 * 1024;
const HASH_LENGTH = 32;
const SALT_LENGTH = 16;
const NEWLINE = 10;
const FUTURE_MAX_US = 5n * 60n * 1_000_000n;
const MANIFEST_KEYS = [
  "asOf",
  "boundary",
  "completeFrom",
  "entries",
  "erased",
  "events",
  "files",
  "filter",
  "firstPosition",
  "format",
  "lastPosition",
  "leafOnly",
  "origin",
  "tenantId",
];
const COUNTED = ["boundary", "completeFrom", "entries", "erased", "events", "firstPosition", "lastPosition", "leafOnly"];

/** The files of an export. `read` gives the bytes of one in parts.
 * @typedef {{names: string[], read: (name: string) => AsyncIterable<Uint8Array>}} Folder */

/** A manifest, which is not signed: whatever it says has to follow from the entries.
 * @typedef {{asOf: number, boundary: number | null, completeFrom: number | null, entries: number, erased: number,
 *   events: number, files: {bytes: number, name: string, sha256: string}[], filter: {meaning: Record<string, unknown>,
 *   text: string}, firstPosition: number | null, lastPosition: number | null, leafOnly: number, origin: string, tenantId: string}} Manifest */

/** What an export proves, also in sentences: `claims`. `filter` has the fields that were applied, by name. `tables` are
 * files that this verifier compares with their sums in the manifest alone.
 * @typedef {{origin: string, asOf: number, events: number, erased: number, leafOnly: number,
 *   firstPosition: number | null, completeFrom: number | null, boundary: number | null, filter: Record<string, unknown>, tables: string[], steps: string[], claims: string[]}} ProvenExport */

/** What is said of an export of a whole tenant, which has the events in the folder `events`. */
export const OTHER_FILES = "The other files are those that the server sent when the tenant was exported. Nobody signed them.";

/** Whether a folder is the export of a whole tenant.
 * @param {string[]} names of what lies in it */
export function isTenantExport(names) {
  return names.includes("tenant.json") && !names.includes("manifest.json");
}

/** Whether the text of the file `key` is a key. It is the one by Ed25519, so of another type only the name is compared.
 * @param {import("./verify.mjs").Key} key @param {string} text */
function isKeyFile(key, text) {
  if (key.type !== ED25519 && text.startsWith(`${key.name}+`)) return true;
  return text === `${key.name}+${key.id}+${btoa(String.fromCharCode(key.type, ...key.publicKey))}\n`;
}

/** Verifies an export. Throws NotProven with the first thing that is wrong.
 * @param {Folder} folder @param {import("./verify.mjs").Key} key the log's, from where the reader keeps it
 * @param {import("./verify.mjs").Key[]} [witnesses] whose cosignatures have to be there
 * @returns {Promise<ProvenExport>} */
export async function verifyExport(folder, key, witnesses = []) {
  /** @type {string[]} */
  const steps = [];
  try {
    const manifest = parseManifest(await wholeFile(folder, MANIFEST));
    const tables = checkNames(folder.names, manifest.files);
    const query = parseFilter(manifest.filter.meaning);
    steps.push("The manifest has the form that it should have, and the folder has the files that it lists.");
    if (!isKeyFile(key, textOf(await wholeFile(folder, "key"), "The file key"))) throw new NotProven("The file key is not the key that was given.");
    const checkpoint = verifyCheckpoint(await wholeFile(folder, "checkpoint"), key, witnesses);
    demandCosigned(checkpoint, witnesses);
    steps.push(...checkpoint.steps);
    if (manifest.origin !== checkpoint.origin || BigInt(manifest.asOf) !== checkpoint.size) throw new NotProven("The manifest names another log or size than its checkpoint.");
    const reader = new EntryReader(manifest, query);
    const sums = new Map();
    const root = await rootOf(folder, manifest, reader, sums);
    compareCounts(manifest, reader.found());
    if (!areEqual(root, checkpoint.root)) throw new NotProven("The entries do not lead to the root of the checkpoint: one of them, or of the hashes, is not of this log.");
    steps.push(`The hashes of ${manifest.entries} entries lead to the signed root, each at its place.`);
    await compareSums(folder, manifest.files, sums);
    steps.push("The files have the sums in the manifest.");
    const { origin, asOf, events, erased, leafOnly, firstPosition, completeFrom, boundary, filter } = manifest;
    const proven = { origin, asOf, events, erased, leafOnly, firstPosition, completeFrom, boundary, filter: filter.meaning, tables, steps };
    return { ...proven, claims: claimsOf(proven) };
  } catch (error) {
    if (error instanceof NotProven) error.steps = steps;
    throw error;
  }
}

/** What an export proves, in sentences.
 * @param {Omit<ProvenExport, "claims">} proven @returns {string[]} */
function claimsOf({ origin, asOf, events, erased, leafOnly, firstPosition, completeFrom, boundary, filter, tables }) {
  const fields = Object.entries(filter).map(([name, value]) => `${name} ${Array.isArray(value) ? value.join(", ") : value}`);
  const claims = [
    `${events === 1 ? "1 event is" : `${events} events are`} proven to be in ${origin}, as it was with ${asOf === 1 ? "1 event" : `${asOf} events`}.`,
    `The filter: ${fields.join("; ") || "none, all events"}.`,
  ];
  if (erased) claims.push(`The payload of ${erased} of them is left out, as after an erasure: only its hash is proven.`);
  if (leafOnly) claims.push(`${leafOnly === 1 ? "1 event" : `${leafOnly} events`} may match too: there is only the leaf, as where the id of an actor was replaced, and it shows nothing of them.`);
  if (completeFrom === null) claims.push("Whether other events match is not proven: for that, export with --complete.");
  else claims.push(`No other event matches, of those at the positions ${completeFrom} to ${asOf}.`);
  if (boundary !== null) claims.push("Nor does an earlier one, since no event is recorded more than five minutes before it occurs.");
  else if (completeFrom !== null && firstPosition !== null && firstPosition < completeFrom) claims.push("Of earlier events nothing else is claimed: others may be removed, or left out of the export.");
  else if (completeFrom !== null && completeFrom > 1) claims.push("Of earlier events nothing is claimed: they may be removed, or left out of the export.");
  for (const name of tables) claims.push(`${name} was not compared with the entries. 'whence verify --export' does that.`);
  return claims;
}

/** Checks the entries of an export, in order. */
class EntryReader {
  /** @param {Manifest} manifest @param {import("./filters.mjs").Filter} query */
  constructor(manifest, query) {
    this.manifest = manifest;
    this.query = query;
    this.isComplete = manifest.completeFrom !== null;
    this.last = 0;
    /** @type {Record<string, number | null>} */
    this.counts = { boundary: null, completeFrom: null, entries: 0, erased: 0, events: 0, firstPosition: null, lastPosition: null, leafOnly: 0 };
    this.onlyMatches = true;
  }

  /** The number and the hash of the leaf of a line. Throws NotProven if anything is wrong with it.
   * @param {Uint8Array} line @returns {[number, Uint8Array]} */
  leafOf(line) {
    const count = ++(/** @type {{entries: number}} */ (this.counts).entries);
    const { position, leaf, envelope, payload, salt } = parseEntry(line, `Line ${count} of the entries`);
    this.checkPlace(position, envelope);
    if (envelope === null) {
      this.counts.leafOnly = Number(this.counts.leafOnly) + 1;
      return [position - 1, leaf];
    }
    const isMatch = matchesFilter(this.query, envelope);
    this.onlyMatches &&= isMatch;
    if (isMatch) {
      if (salt !== null && salt.length !== SALT_LENGTH) throw new NotProven(`Position ${position}: the salt has the wrong length.`);
      if ((salt === null) !== (payload === null)) throw new NotProven(`Position ${position}: there is a payload without its salt, or a salt alone.`);
      checkedPayload(payload, salt, String(envelope.payloadHash));
      this.counts.events = Number(this.counts.events) + 1;
      if (payload === null) this.counts.erased = Number(this.counts.erased) + 1;
      this.counts.firstPosition ??= position;
      this.counts.lastPosition = position;
    } else if (!this.isComplete) {
      throw new NotProven(`Position ${position}: the event does not match the filter.`);
    } else if (salt !== null || payload !== null) {
      throw new NotProven(`Position ${position}: the event does not match the filter, and still has a payload.`);
    }
    return [position - 1, leaf];
  }

  /** Refuses an event of another log, or out of order. Takes the first one without a gap after it as the boundary, if it is one.
   * @param {number} position @param {import("./verify.mjs").Envelope | null} envelope null where there is only the leaf */
  checkPlace(position, envelope) {
    const { tenantId, asOf } = this.manifest;
    if (envelope !== null && envelope.tenantId !== tenantId) throw new NotProven(`Position ${position}: the event is of another tenant than the export.`);
    if (position <= this.last || position > asOf) throw new NotProven(`Position ${position}: the positions do not ascend from 1 to ${asOf}.`);
    if (this.isComplete && (this.counts.completeFrom === null || position !== this.last + 1)) {
      if (this.counts.completeFrom !== null && !this.mayBeginAt(position)) throw new NotProven(`Position ${this.last + 1} is missing.`);
      const { since } = this.query;
      const isBoundary = since !== null && envelope !== null && microseconds(String(envelope.recordedAt)) + FUTURE_MAX_US < microseconds(since);
      this.counts.boundary = isBoundary ? position : null;
      this.counts.completeFrom = isBoundary ? position + 1 : position;
    }
    this.last = position;
  }

  /** Whether there may be a gap before a position: events that matched were held while others around them were removed.
   * @param {number} position */
  mayBeginAt(position) {
    return this.onlyMatches && position <= Number(this.manifest.completeFrom);
  }

  /** What was read. Throws NotProven if entries are missing at the end. */
  found() {
    const { asOf } = this.manifest;
    if (this.isComplete && this.counts.completeFrom === null) this.counts.completeFrom = asOf + 1;
    else if (this.isComplete && this.last !== asOf) throw new NotProven(`The entries end at position ${this.last}, and have to go on to ${asOf}.`);
    return this.counts;
  }
}

/** Computes the root of a tree from some of its leaves, and the hashes of the parts without any of them: from left to
 * right, with one path from the root in memory. */
class PartialTree {
  /** @param {number} size @param {() => Uint8Array} nextHash */
  constructor(size, nextHash) {
    this.nextHash = nextHash;
    /** @type {([number, number] | null)[]} ranges of leaves that are still to come; null joins the last two hashes */
    this.coming = size ? [[0, size]] : [];
    /** @type {Uint8Array[]} */
    this.hashes = [];
  }

  /** Adds a leaf, whose number is larger than that of the one before. @param {number} index @param {Uint8Array} leaf */
  add(index, leaf) {
    for (let isAdded = false; !isAdded; ) isAdded = this.step(index, leaf);
  }

  /** The root, once all leaves are added. @returns {Uint8Array} */
  root() {
    while (this.coming.length) this.step(Infinity, new Uint8Array(0));
    return this.hashes.pop() ?? sha256(new Uint8Array(0));
  }

  /** @param {number} index @param {Uint8Array} leaf @returns {boolean} whether the leaf was added */
  step(index, leaf) {
    const range = this.coming.pop();
    if (range === undefined) throw new NotProven("The entries do not fit the checkpoint.");
    if (range === null) {
      const right = /** @type {Uint8Array} */ (this.hashes.pop());
      this.hashes.push(nodeHash(/** @type {Uint8Array} */ (this.hashes.pop()), right));
      return false;
    }
    const [first, end] = range;
    if (index >= end) {
      this.hashes.push(this.nextHash());
      return false;
    }
    if (end - first === 1) {
      this.hashes.push(leaf);
      return true;
    }
    let half = 1;
    while (half * 2 < end - first) half *= 2;
    this.coming.push(null, [first + half, end], [first, first + half]);
    return false;
  }
}

/** The root over the entries and the hashes beside them. Notes the sums of both files.
 * @param {Folder} folder @param {Manifest} manifest @param {EntryReader} reader
 * @param {Map<string, {bytes: number, sha256: string}>} sums @returns {Promise<Uint8Array>} */
async function rootOf(folder, manifest, reader, sums) {
  const hashes = new HashFile(summed(folder, "hashes", sums));
  const tree = new PartialTree(manifest.asOf, () => hashes.next());
  for await (const line of linesOf(summed(folder, "entries.ndjson", sums))) {
    if (!hashes.isFilled()) await hashes.fill();
    tree.add(...reader.leafOf(line));
  }
  await hashes.fill();
  const root = tree.root();
  await hashes.finish();
  return root;
}

/** Hashes of 32 bytes each, of which the next ones are in memory. */
class HashFile {
  /** @param {AsyncIterable<Uint8Array>} parts */
  constructor(parts) {
    this.parts = parts[Symbol.asyncIterator]();
    this.isAtEnd = false;
    this.held = new Uint8Array(0);
    this.at = 0;
  }

  /** Whether there are as many as one leaf can need: two for each level of the tree. */
  isFilled() {
    return this.isAtEnd || this.held.length - this.at >= 128 * HASH_LENGTH;
  }

  async fill() {
    while (!this.isFilled()) {
      const { value, done } = await this.parts.next();
      if (done) this.isAtEnd = true;
      else [this.held, this.at] = [joined(this.held.subarray(this.at), value), 0];
    }
  }

  next() {
    const found = this.held.slice(this.at, this.at + HASH_LENGTH);
    if (found.length !== HASH_LENGTH) throw new NotProven("The entries do not fit the checkpoint: there are too few hashes.");
    this.at += HASH_LENGTH;
    return found;
  }

  async finish() {
    if (this.at < this.held.length || !(this.isAtEnd || (await this.parts.next()).done)) throw new NotProven("The entries do not fit the checkpoint: there are too many hashes.");
  }
}

/** The envelope, payload and salt of a line, or the leaf where the actor's id was replaced. There is one way to write a
 * line, so that no two readers see different ones.
 * @param {Uint8Array} line @param {string} what */
function parseEntry(line, what) {
  const text = textOf(line, what);
  const { envelope: members, leaf, position, salt } = fieldsOf(text, what);
  if (members === null) return { ...parseLeaf(text, leaf, position, what), envelope: null, payload: null, salt: null };
  const envelopeText = JSON.stringify(members);
  const [start, end] = [`{"envelope":${envelopeText},"payload":`, `,"position":${position},"salt":${JSON.stringify(salt)}}`];
  const payloadText = text.slice(start.length, text.length - end.length);
  const isWritten = start + payloadText + end === text;
  if (!isWritten || !Number.isSafeInteger(position) || Number(position) < 1 || !(salt === null || typeof salt === "string")) {
    throw new NotProven(`${what} is not an entry.`);
  }
  const envelopeBytes = bytesOfText(envelopeText);
  return {
    position: Number(position),
    leaf: sha256(joined(Uint8Array.of(0), envelopeBytes)),
    envelope: parseEnvelope(envelopeBytes),
    payload: payloadText === "null" ? null : bytesOfText(payloadText),
    salt: salt === null ? null : bytesOfBase64(String(salt), "The salt of an entry"),
  };
}

/** The position and hash of a line that has only a leaf.
 * @param {string} text @param {unknown} leaf @param {unknown} position @param {string} what */
function parseLeaf(text, leaf, position, what) {
  const isWritten = `{"envelope":null,"leaf":${JSON.stringify(leaf)},"payload":null,"position":${position},"salt":null}` === text;
  if (!isWritten || typeof leaf !== "string" || !Number.isSafeInteger(position) || Number(position) < 1) throw new NotProven(`${what} is not an entry.`);
  const hash = bytesOfBase64(leaf, "The leaf of an entry");
  if (hash.length !== HASH_LENGTH) throw new NotProven(`${what} is not an entry.`);
  return { position: Number(position), leaf: hash };
}

/** The manifest. There is one way to write it, too.
 * @param {Uint8Array} data @returns {Manifest} */
function parseManifest(data) {
  const text = textOf(data, "The manifest");
  const fields = fieldsOf(text, "The manifest");
  const { files, filter } = /** @type {Record<string, any>} */ (fields);
  const isWritten = `${JSON.stringify(fields, null, 2)}\n` === text && haveKeys(fields, MANIFEST_KEYS);
  const areCounts = ["asOf", "entries", "erased", "events", "leafOnly"].every((name) => isCount(fields[name])) && COUNTED.every((name) => fields[name] === null || isCount(fields[name]));
  if (!isWritten || !areCounts || !Array.isArray(files) || !haveKeys(filter, ["meaning", "text"])) throw new NotProven("The manifest cannot be read.");
  if (files.some((file) => !haveKeys(file, ["bytes", "name", "sha256"]))) throw new NotProven("The manifest cannot be read.");
  if (fields.format !== "whence-export/1") throw new NotProven("The manifest is of another format, perhaps of a later release.");
  return /** @type {Manifest} */ (/** @type {unknown} */ (fields));
}

/** @param {unknown} value */
function isCount(value) {
  return Number.isSafeInteger(value) && Number(value) >= 0;
}

/** @param {unknown} value @param {string[]} keys */
function haveKeys(value, keys) {
  return typeof value === "object" && value !== null && Object.keys(value).join() === keys.join();
}

/** Refuses other files than those of the manifest, which somebody could take for a part of it. Returns the tables.
 * @param {string[]} there @param {{name: string}[]} files @returns {string[]} */
function checkNames(there, files) {
  const names = files.map(({ name }) => name);
  const isSorted = names.every((name, at) => at === 0 || names[at - 1] < name);
  if (!isSorted || NEEDED.some((name) => !names.includes(name)) || names.some((name) => ![...NEEDED, ...TABLES].includes(name))) {
    throw new NotProven("The manifest does not list the files of an export.");
  }
  const missing = names.find((name) => !there.includes(name));
  if (missing !== undefined) throw new NotProven(`The export has no ${missing}.`);
  if (there.some((name) => name !== MANIFEST && !names.includes(name))) throw new NotProven("The folder has a file that the manifest does not list.");
  return names.filter((name) => TABLES.includes(name));
}

/** @param {Record<string, any>} manifest @param {Record<string, number | null>} found */
function compareCounts(manifest, found) {
  const other = COUNTED.find((name) => manifest[name] !== found[name]);
  if (other !== undefined) throw new NotProven(`The manifest says something else about ${other} than the entries show.`);
}

/** @param {Folder} folder @param {{bytes: number, name: string, sha256: string}[]} files
 * @param {Map<string, {bytes: number, sha256: string}>} sums those that are known already */
async function compareSums(folder, files, sums) {
  for (const { name, bytes, sha256: sum } of files) {
    if (!sums.has(name)) for await (const _ of summed(folder, name, sums)); // reads it to its end
    const found = sums.get(name);
    if (found?.bytes !== bytes || found.sha256 !== sum) throw new NotProven(`${name} is not the file that the manifest describes.`);
  }
}

/** The parts of a file. Once they are read, `sums` has its length and its hash.
 * @param {Folder} folder @param {string} name @param {Map<string, {bytes: number, sha256: string}>} sums */
async function* summed(folder, name, sums) {
  const hash = new Sha256();
  for await (const part of folder.read(name)) {
    hash.update(part);
    yield part;
  }
  sums.set(name, { bytes: hash.length, sha256: hexOf(hash.digest()) });
}

/** The lines of a file, without their ends. Throws NotProven for a last line that does not end.
 * @param {AsyncIterable<Uint8Array>} parts */
async function* linesOf(parts) {
  let rest = new Uint8Array(0);
  for await (const part of parts) {
    let data = rest.length ? joined(rest, part) : part;
    for (let end = data.indexOf(NEWLINE, rest.length); end >= 0; end = data.indexOf(NEWLINE)) {
      yield data.subarray(0, end);
      data = data.subarray(end + 1);
      rest = new Uint8Array(0);
    }
    if (data.length > LINE_BYTES_MAX) throw new NotProven("A line of the entries is longer than 1 MiB.");
    rest = data.slice();
  }
  if (rest.length) throw new NotProven("The last line of the entries does not end.");
}

/** The content of a small file. @param {Folder} folder @param {string} name @returns {Promise<Uint8Array>} */
async function wholeFile(folder, name) {
  if (!folder.names.includes(name)) throw new NotProven(`The export has no ${name}.`);
  let whole = new Uint8Array(0);
  for await (const part of folder.read(name)) {
    whole = joined(whole, part);
    if (whole.length > FILE_BYTES_MAX) throw new NotProven(`${name} is longer than 1 MiB.`);
  }
  return whole;
}
