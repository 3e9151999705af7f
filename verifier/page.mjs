// The page: files and a key in, a verdict in words out. What comes from a file is only ever shown as text.

import { isTenantExport, OTHER_FILES, verifyExport } from "./exports.mjs";
import { demandCosigned, followedKeys, keyOfNote, keyOfProof, NotProven, originOfProof, parseKey, PROOF_BYTES_MAX, verifyConsistency, verifyProof } from "./verify.mjs";

/** How much of a file is read at a time. The page can be used meanwhile. */
const PART_BYTES = 1024 * 1024;
const form = /** @type {HTMLFormElement} */ (document.getElementById("form"));
const result = /** @type {HTMLElement} */ (document.getElementById("result"));
const keyField = /** @type {HTMLTextAreaElement} */ (document.getElementById("key"));
const witnessField = /** @type {HTMLTextAreaElement} */ (document.getElementById("witnesses"));
const rotationFiles = /** @type {HTMLInputElement} */ (document.getElementById("rotations"));
const [proofFile, olderFile, newerFile, consistencyFile, exportFiles] = ["proof", "older", "newer", "consistency", "export"].map(
  (id) => /** @type {HTMLInputElement} */ (document.getElementById(id)),
);

form.addEventListener("submit", (event) => {
  event.preventDefault();
  void check().then(() => result.focus());
});
form.addEventListener("input", clear); // what is shown was about something else
form.addEventListener("change", () => {
  for (const [id, of] of Object.entries({ "event-files": "event", "checkpoint-files": "checkpoints", "export-files": "export" })) {
    /** @type {HTMLElement} */ (document.getElementById(id)).hidden = of !== kind();
  }
  const needed = kind() === "event" ? [proofFile] : kind() === "export" ? [exportFiles] : [olderFile, newerFile, consistencyFile];
  if (keyField.value.trim() && needed.every(({ files }) => files?.length)) void check();
  else clear();
});
for (const name of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    document.body.classList.toggle("over", name === "dragover");
    if (!isFileInput(event.target)) event.preventDefault(); // otherwise the browser opens the file in the place of this page
  });
}
document.addEventListener("drop", ({ dataTransfer, target }) => {
  if (!dataTransfer?.files.length || isFileInput(target)) return;
  clear();
  if (kind() === "export") {
    exportFiles.files = dataTransfer.files;
    exportFiles.dispatchEvent(new Event("change", { bubbles: true }));
  } else if (kind() !== "event") result.replaceChildren(...shown("Not checked", false, "Drop each file on its own field.", []));
  else if (dataTransfer.files.length > 1) result.replaceChildren(...shown("Not checked", false, "Drop one file at a time.", []));
  else {
    proofFile.files = dataTransfer.files;
    proofFile.dispatchEvent(new Event("change", { bubbles: true }));
    if (!keyField.value.trim()) keyField.focus();
  }
});

/** Whether something is a field for files, which takes a dropped file by itself.
 * @param {EventTarget | null} target */
function isFileInput(target) {
  return target instanceof HTMLInputElement && target.type === "file";
}

function kind() {
  return new FormData(form).get("kind");
}

/** What is missing before anything can be checked, as a sentence. */
class NotChecked extends Error {}

/** Counts the checks, so that a slow one does not show its verdict after the next has begun. */
let checks = 0;

/** Takes away the verdict, and that of a check that is still going on. */
function clear() {
  checks++;
  result.replaceChildren();
}

/** Checks what is given, and shows the verdict. */
async function check() {
  clear();
  const turn = checks;
  const found = await verdict();
  if (turn === checks) result.replaceChildren(...found);
}

/** What is shown of what is given. @returns {Promise<HTMLElement[]>} */
async function verdict() {
  try {
    const trust = await trusted();
    if (kind() === "event") return shownEvent(await provenEvent(trust));
    if (kind() === "export") return await shownExport(trust);
    const proof = consistencyFile.files?.length ? await read(consistencyFile) : null;
    return shownConsistency(verifyConsistency(await read(olderFile), await read(newerFile), proof, trust.keys, trust.witnesses));
  } catch (error) {
    if (error instanceof NotProven) {
      return shown("Not proven", false, error.message, [...error.steps.map((step) => element("li", step)), element("li", error.message, "no")]);
    }
    const sentence = error instanceof NotChecked ? error.message : "Something went wrong in this page. Load it again.";
    return shown("Not checked", false, sentence, []);
  }
}

/** Whom the reader believes: the given key of the log and those that followed it, and the witnesses.
 * @typedef {{keys: import("./verify.mjs").Key[], witnesses: import("./verify.mjs").Key[]}} Trust */

/** @returns {Promise<Trust>} */
async function trusted() {
  const key = givenKey();
  const witnesses = witnessField.value.split("\n").filter((line) => line.trim()).map(witnessKey);
  const rotations = await Promise.all(Array.from(rotationFiles.files ?? [], contentOf));
  return { keys: followedKeys(key, rotations.sort((one, other) => epochOf(one) - epochOf(other))), witnesses };
}

/** The number of the epoch that an announcement ended, at the end of its origin. A browser lists files by their names.
 * @param {Uint8Array} rotation */
function epochOf(rotation) {
  return Number(originOfProof(rotation).split("/").pop());
}

/** The event of the chosen proof.
 * @param {Trust} trust */
async function provenEvent({ keys, witnesses }) {
  const data = await read(proofFile);
  const proven = verifyProof(data, keyOfProof(data, keys), witnesses);
  demandCosigned(proven.checkpoint, witnesses);
  return proven;
}

/** @param {string} line */
function witnessKey(line) {
  try {
    return parseKey(line);
  } catch (error) {
    throw new NotChecked(`A line is not the key of a witness. ${error instanceof Error ? error.message : ""}`);
  }
}

function givenKey() {
  try {
    return parseKey(keyField.value);
  } catch (error) {
    throw new NotChecked(keyField.value.trim() ? `This is not the key of a log. ${error instanceof Error ? error.message : ""}` : "Give the key of the log.");
  }
}

/** The content of a chosen file. Throws NotChecked without one.
 * @param {HTMLInputElement} input */
async function read(input) {
  const file = input.files?.[0];
  if (!file) throw new NotChecked(`Choose a file: ${String(input.labels?.[0]?.textContent).toLowerCase()}.`);
  return contentOf(file);
}

/** @param {File} file */
async function contentOf(file) {
  if (file.size > PROOF_BYTES_MAX) throw new NotProven("The file is longer than 1 MiB, so it is no proof.");
  try {
    return new Uint8Array(await file.arrayBuffer());
  } catch {
    throw new NotChecked("A file cannot be read, or was changed since. Choose it again.");
  }
}

/** Verifies the chosen folder, and says what it proves.
 * @param {Trust} trust */
async function shownExport({ keys, witnesses }) {
  const chosen = Array.from(exportFiles.files ?? [], (file) => ({ name: file.webkitRelativePath.replace(/^[^/]*\//, "") || file.name, file }));
  if (!chosen.length) throw new NotChecked("Choose the folder of the export.");
  result.replaceChildren(element("p", "Checking …", "quiet"));
  const isTenant = isTenantExport(chosen.map(({ name }) => name));
  const own = isTenant ? chosen.filter(({ name }) => name.startsWith("events/")) : chosen;
  const files = new Map(own.map(({ name, file }) => [isTenant ? name.slice("events/".length) : name, file]));
  const checkpoint = files.get("checkpoint");
  const key = keys.length > 1 && checkpoint ? keyOfNote(await contentOf(checkpoint), keys) : keys[0];
  const { claims, steps } = await verifyExport({ names: [...files.keys()], read: (name) => partsOf(files.get(name)) }, key, witnesses);
  const [sentence, ...more] = isTenant ? [...claims, OTHER_FILES] : claims;
  return shown("Proven", true, sentence, steps.map((step) => element("li", step)), ...more.map((claim) => element("p", claim)));
}

/** The bytes of a file, in parts. Throws NotChecked if it cannot be read.
 * @param {File | undefined} file */
async function* partsOf(file) {
  for (let at = 0; file && at < file.size; at += PART_BYTES) {
    let part;
    try {
      part = await file.slice(at, at + PART_BYTES).arrayBuffer();
    } catch {
      throw new NotChecked("A file cannot be read, or was changed since. Choose the folder again.");
    }
    yield new Uint8Array(part);
  }
}

/** @param {import("./verify.mjs").ProvenEvent} proven */
function shownEvent({ checkpoint, position, envelope, payload, steps }) {
  const count = `${checkpoint.size} ${checkpoint.size === 1n ? "event" : "events"}`;
  const sentence = `This event is at position ${position} of the log ${checkpoint.origin}, as it was with ${count}.`;
  const facts = element("dl", "");
  for (const [name, value] of Object.entries(envelope)) {
    if (name !== "v" && name !== "payloadHash") facts.append(element("dt", name), element("dd", value === null ? "none" : String(value), "exact"));
  }
  const text = payload === null ? element("p", "The proof comes without it. Its hash is proven, and nothing else about it.") : element("pre", payload);
  return shown("Proven", true, sentence, steps.map((step) => element("li", step)), element("h2", "The event"), facts, element("h2", "Its payload"), text);
}

/** @param {ReturnType<typeof verifyConsistency>} proven */
function shownConsistency({ older, newer, steps }) {
  const sentence = `The log ${newer.origin} with ${newer.size} events begins with the one of ${older.size} events: none of those was changed or removed.`;
  return shown("Proven", true, sentence, steps.map((step) => element("li", step)));
}

/** @param {string} title @param {boolean} isProven @param {string} sentence @param {HTMLElement[]} steps
 * @param {...HTMLElement} more */
function shown(title, isProven, sentence, steps, ...more) {
  const box = element("div", "", isProven ? "verdict yes" : "verdict no");
  box.append(element("h2", title), element("p", sentence));
  const list = element("ol", "", "steps");
  list.append(...steps);
  return [box, list, ...more];
}

/** @param {string} name @param {string} text @param {string} [className] */
function element(name, text, className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}
