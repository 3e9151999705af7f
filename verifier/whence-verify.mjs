#!/usr/bin/env node
// Verifies what a log of Whence gave out, offline and without Whence: docs/proof.md says what is checked.

import { closeSync, createReadStream, openSync, readSync, readdirSync } from "node:fs";
import { basename, join } from "node:path";
import { parseArgs } from "node:util";
import { isTenantExport, OTHER_FILES, verifyExport } from "./exports.mjs";
import { demandCosigned, followedKeys, keyOfNote, keyOfProof, NotProven, parseKey, PROOF_BYTES_MAX, verifyConsistency, verifyProof } from "./verify.mjs";

const HELP = `Verifies proofs of a log, offline.

  node whence-verify.mjs --proof FILE --key KEY
      Whether an event is in the log, as the key signed it.
  node whence-verify.mjs --consistency OLD NEW [PROOF] --key KEY
      Whether the checkpoint in the file NEW extends the one in OLD. PROOF is an
      answer of GET /api/v1/log/consistency?from=&to= with the sizes of both; it
      is not needed if they are equal.
  node whence-verify.mjs --export DIR --key KEY
      Whether the events that 'whence export --proof DIR' or 'whence tenant
      export' wrote are in the log, and whether it has no others that match.

  --rotation FILE the proof of the event by which the key announced the next
                  one, which is believed too; may be repeated, in the order of
                  the rotations
  --witness KEY   also verify the cosignature of a witness, which has to be
                  there, of two checkpoints on the later one; may be repeated
  --steps         also say what was checked
  --json          print JSON

KEY is the text of the key of the log, as 'whence checkpoint key' prints it,
like "$(cat acme.key)". Take it from where you keep it, and not from the server
that you are checking.

Exit codes: 0 proven, 1 a file cannot be read, 2 wrong use, 5 not proven.
`;
const UNSAFE = /[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Zl}\p{Zp}]/gu;
const READ_BYTES = 1024 * 1024;
const [FAILED, USAGE, UNSOUND] = [1, 2, 5];
const OPTIONS = /** @type {const} */ ({
  proof: { type: "string" },
  consistency: { type: "boolean" },
  export: { type: "string" },
  key: { type: "string" },
  rotation: { type: "string", multiple: true },
  witness: { type: "string", multiple: true },
  steps: { type: "boolean" },
  json: { type: "boolean" },
  help: { type: "boolean", short: "h" },
});

/** Wrong use of the program, as a sentence. */
class Misuse extends Error {}

/** A file that cannot be read, as a sentence. */
class Unreadable extends Error {}

process.exitCode = await main(process.argv.slice(2));

/** Does what the arguments say, and returns the exit code.
 * @param {string[]} args */
async function main(args) {
  try {
    const given = parsed(args);
    if (given.values.help) {
      process.stdout.write(HELP);
      return 0;
    }
    const result = given.values.export !== undefined ? await exported(given) : given.values.consistency ? consistency(given) : proof(given);
    const lines = [...(given.values.steps ? result.steps : []), ...result.lines];
    process.stdout.write(given.values.json ? `${printableJson(result.json)}\n` : lines.map((line) => `${printable(line)}\n`).join(""));
    return 0;
  } catch (error) {
    if (!(error instanceof Misuse || error instanceof Unreadable || error instanceof NotProven)) throw error;
    if (error instanceof NotProven) for (const step of args.includes("--steps") ? error.steps : []) process.stdout.write(`${printable(step)}\n`);
    process.stderr.write(`${printable(error.message)}\n`);
    return error instanceof NotProven ? UNSOUND : error instanceof Misuse ? USAGE : FAILED;
  }
}

/** @param {string[]} args */
function parsed(args) {
  let given;
  try {
    given = parseArgs({ args, options: OPTIONS, allowPositionals: true, strict: true });
  } catch {
    throw new Misuse("There is no such option, or its value is missing. See --help.");
  }
  const { values, positionals } = given;
  if (values.help) return given;
  const asked = [values.proof !== undefined, values.consistency === true, values.export !== undefined].filter(Boolean);
  if (asked.length !== 1) throw new Misuse("Give one of --proof FILE, --consistency OLD NEW PROOF and --export DIR. See --help.");
  if (values.key === undefined) throw new Misuse("--key is the key of the log, from where you keep it and not from the proof.");
  const counts = values.consistency ? [2, 3] : [0];
  if (!counts.includes(positionals.length)) throw new Misuse("--proof takes one file, --export one folder, and --consistency two checkpoints and a proof. See --help.");
  return given;
}

/** Whom the reader believes: the keys of the log, and the witnesses.
 * @param {ReturnType<typeof parsed>} given */
function trusted({ values }) {
  const [key, witnesses] = [keyOf(values.key ?? "", "--key"), (values.witness ?? []).map((text) => keyOf(text, "--witness"))];
  return { keys: followedKeys(key, (values.rotation ?? []).map(read)), witnesses };
}

/** @param {ReturnType<typeof parsed>} given */
function proof(given) {
  const { keys, witnesses } = trusted(given);
  const data = read(given.values.proof ?? "");
  const proven = verifyProof(data, keyOfProof(data, keys), witnesses);
  const { checkpoint, position, payload } = proven;
  demandCosigned(checkpoint, witnesses);
  const numbers = `"position":${position},"size":${checkpoint.size}`;
  const json = `{"envelope":${proven.envelopeText},"origin":${JSON.stringify(checkpoint.origin)},"payload":${payload},${numbers}}`;
  const lines = [
    `Event ${proven.id} is proven: position ${position} of ${checkpoint.origin},`,
    `as it was with ${checkpoint.size} ${checkpoint.size === 1n ? "event" : "events"}.`,
  ];
  lines.push(...checkpoint.steps.slice(1)); // by whom it is cosigned, and when
  if (payload === null) lines.push("The proof comes without the payload, so only the hash of it is proven.");
  return { steps: proven.steps, lines, json };
}

/** @param {ReturnType<typeof parsed>} given */
function consistency(given) {
  const { keys, witnesses } = trusted(given);
  const [oldFile, newFile, proofFile] = given.positionals;
  const proof = proofFile === undefined ? null : read(proofFile);
  const { older, newer, steps } = verifyConsistency(read(oldFile), read(newFile), proof, keys, witnesses);
  const json = `{"from":${older.size},"origin":${JSON.stringify(newer.origin)},"to":${newer.size}}`;
  const lines = [`The log ${newer.origin} with ${newer.size} events begins with the one of ${older.size} events.`];
  return { steps, lines: [...lines, ...newer.steps.slice(1)], json };
}

/** @param {ReturnType<typeof parsed>} given */
async function exported(given) {
  const { keys, witnesses } = trusted(given);
  const path = given.values.export ?? "";
  const isTenant = isTenantExport(folderOf(path).names);
  const events = isTenant ? join(path, "events") : path;
  const key = keys.length > 1 ? keyOfNote(read(join(events, "checkpoint")), keys) : keys[0];
  const proven = await verifyExport(folderOf(events), key, witnesses);
  const { steps, claims, ...json } = proven;
  const lines = isTenant ? [...claims, OTHER_FILES] : claims;
  return { steps, lines, json: JSON.stringify(json) };
}

/** The files of a folder.
 * @param {string} path @returns {import("./exports.mjs").Folder} */
function folderOf(path) {
  /** @param {string} name */
  async function* read(name) {
    try {
      yield* createReadStream(join(path, name), { highWaterMark: READ_BYTES });
    } catch {
      throw new Unreadable("A file of the export cannot be read.");
    }
  }
  try {
    return { names: readdirSync(path), read };
  } catch {
    throw new Unreadable("The folder cannot be read.");
  }
}

/** @param {string} text @param {string} option */
function keyOf(text, option) {
  try {
    return parseKey(text);
  } catch (error) {
    if (!(error instanceof NotProven)) throw error;
    throw new Misuse(`${option} is not a key. ${error.message} Pass its text, as in "$(cat acme.key)".`);
  }
}

/** The content of a file, and at most one byte more than may be in it.
 * @param {string} path */
function read(path) {
  const data = new Uint8Array(PROOF_BYTES_MAX + 1);
  let length = 0;
  let file = null;
  try {
    file = openSync(path, "r");
    for (let count = -1; count !== 0 && length < data.length; length += count) count = readSync(file, data, length, data.length - length, null);
  } catch {
    throw new Unreadable(`The file ${basename(path)} cannot be read.`);
  } finally {
    if (file !== null) closeSync(file);
  }
  return data.subarray(0, length);
}

/** A text with everything that could control a terminal, or reorder a line, written as an escape sequence.
 * @param {string} text */
function printable(text) {
  return text.replace(UNSAFE, escaped);
}

/** The same for JSON, whose value it does not change. White space between its parts stays.
 * @param {string} json */
function printableJson(json) {
  return json.replace(UNSAFE, (character) => (/[\t\n\r]/.test(character) ? character : escaped(character)));
}

/** @param {string} character */
function escaped(character) {
  return Array.from({ length: character.length }, (_, at) => `\\u${character.charCodeAt(at).toString(16).padStart(4, "0")}`).join("");
}
