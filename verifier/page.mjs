// The page: files and a key in, a verdict in words out. What comes from a file is only ever shown as text.

import { NotProven, parseKey, PROOF_BYTES_MAX, verifyConsistency, verifyProof } from "./verify.mjs";

const form = /** @type {HTMLFormElement} */ (document.getElementById("form"));
const result = /** @type {HTMLElement} */ (document.getElementById("result"));
const keyField = /** @type {HTMLTextAreaElement} */ (document.getElementById("key"));
const [proofFile, olderFile, newerFile, consistencyFile] = ["proof", "older", "newer", "consistency"].map(
  (id) => /** @type {HTMLInputElement} */ (document.getElementById(id)),
);

form.addEventListener("submit", (event) => {
  event.preventDefault();
  void check().then(() => result.focus());
});
form.addEventListener("change", () => {
  const isEvent = kind() === "event";
  for (const [id, isShown] of Object.entries({ "event-files": isEvent, "checkpoint-files": !isEvent })) {
    /** @type {HTMLElement} */ (document.getElementById(id)).hidden = !isShown;
  }
  const needed = isEvent ? [proofFile] : [olderFile, newerFile, consistencyFile];
  if (keyField.value.trim() && needed.every(({ files }) => files?.length)) void check();
  else result.replaceChildren();
});
for (const name of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault(); // otherwise the browser opens the file in the place of this page
    document.body.classList.toggle("over", name === "dragover");
  });
}
document.addEventListener("drop", ({ dataTransfer }) => {
  if (!dataTransfer?.files.length || kind() !== "event") return;
  proofFile.files = dataTransfer.files;
  proofFile.dispatchEvent(new Event("change", { bubbles: true }));
  if (!keyField.value.trim()) keyField.focus();
});

function kind() {
  return new FormData(form).get("kind");
}

/** What is missing before anything can be checked, as a sentence. */
class NotChecked extends Error {}

/** Checks what is given, and shows the verdict. */
async function check() {
  try {
    const key = givenKey();
    if (kind() === "event") showEvent(verifyProof(await read(proofFile), key));
    else {
      const proof = consistencyFile.files?.length ? await read(consistencyFile) : null;
      showConsistency(verifyConsistency(await read(olderFile), await read(newerFile), proof, key));
    }
  } catch (error) {
    if (error instanceof NotChecked) show("Not checked", false, error.message, []);
    else if (!(error instanceof NotProven)) throw error;
    else show("Not proven", false, error.message, [...error.steps.map((step) => element("li", step)), element("li", error.message, "no")]);
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
  if (file.size > PROOF_BYTES_MAX) throw new NotProven("The file is longer than 1 MiB, so it is no proof.");
  return new Uint8Array(await file.arrayBuffer());
}

/** @param {import("./verify.mjs").ProvenEvent} proven */
function showEvent({ checkpoint, position, envelope, payload, steps }) {
  const count = `${checkpoint.size} ${checkpoint.size === 1n ? "event" : "events"}`;
  const sentence = `This event is at position ${position} of the log ${checkpoint.origin}, as it was with ${count}.`;
  const facts = element("dl", "");
  for (const [name, value] of Object.entries(envelope)) {
    if (name !== "v" && name !== "payloadHash") facts.append(element("dt", name), element("dd", value === null ? "none" : String(value), "exact"));
  }
  const shown = payload === null ? element("p", "The proof comes without it. Its hash is proven, and nothing else about it.") : element("pre", payload);
  show("Proven", true, sentence, steps.map((step) => element("li", step)), element("h2", "The event"), facts, element("h2", "Its payload"), shown);
}

/** @param {ReturnType<typeof verifyConsistency>} proven */
function showConsistency({ older, newer, steps }) {
  const sentence = `The log ${newer.origin} with ${newer.size} events begins with the one of ${older.size} events: none of those was changed or removed.`;
  show("Proven", true, sentence, steps.map((step) => element("li", step)));
}

/** @param {string} verdict @param {boolean} isProven @param {string} sentence @param {HTMLElement[]} steps
 * @param {...HTMLElement} more */
function show(verdict, isProven, sentence, steps, ...more) {
  const box = element("div", "", isProven ? "verdict yes" : "verdict no");
  box.append(element("h2", verdict), element("p", sentence));
  const list = element("ol", "", "steps");
  list.append(...steps);
  result.replaceChildren(box, list, ...more);
}

/** @param {string} name @param {string} text @param {string} [className] */
function element(name, text, className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}
