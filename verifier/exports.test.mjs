// Tests of the verifier of exports: node --test verifier/*.test.mjs

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { verifyExport } from "./exports.mjs";
import { matchesFilter, parseFilter } from "./filters.mjs";
import { Sha256 } from "./sha2.mjs";
import { NotProven, parseKey } from "./verify.mjs";

const FOLDER = fileURLToPath(new URL(".", import.meta.url));
const { key, exports } = JSON.parse(readFileSync(join(FOLDER, "vectors", "exports.json"), "utf8"));

/** The bytes of a file of the vectors. */
const bytesOf = (name, text) => new Uint8Array(Buffer.from(text, name === "hashes" ? "hex" : "utf8"));

/** A folder whose files come in parts of this length. */
function folderOf(files, length) {
  async function* read(name) {
    const data = bytesOf(name, files[name]);
    for (let at = 0; at < data.length; at += length) yield data.slice(at, at + length);
  }
  return { names: Object.keys(files), read };
}

/** What an export proves, or null. Any other error than that it proves nothing is one. */
async function judged(files, length) {
  try {
    return await verifyExport(folderOf(files, length), parseKey(key));
  } catch (error) {
    if (error instanceof NotProven) return null;
    throw error;
  }
}

test("exports that hold are proven, and others are not, in whatever parts they are read", async () => {
  for (const { name, holds, files } of exports) {
    for (const length of [211, 1 << 20]) {
      const proven = await judged(files, length);
      assert.equal(proven !== null, holds, name);
      if (proven === null) continue;
      const { asOf, boundary, completeFrom, erased, events, origin } = JSON.parse(files["manifest.json"]);
      assert.deepEqual([proven.asOf, proven.boundary, proven.completeFrom, proven.erased, proven.events, proven.origin], [asOf, boundary, completeFrom, erased, events, origin], name);
    }
  }
});

test("each of the witnesses that are given has to have cosigned, also one that has the name of another", async () => {
  const { witness } = JSON.parse(readFileSync(join(FOLDER, "vectors", "notes.json"), "utf8")).notes[0];
  const { files } = exports.find(({ name }) => name === "cosigned by a witness");
  const [one, other] = [parseKey(witness), { ...parseKey(witness), id: "00000000" }];
  assert.match((await verifyExport(folderOf(files, 1 << 20), parseKey(key), [one])).steps.join(), /It is cosigned by witness.example\/w1/);
  await assert.rejects(verifyExport(folderOf(files, 1 << 20), parseKey(key), [one, other]), /not cosigned by witness.example\/w1/);
});

test("what is wrong is said", async () => {
  const said = {
    "an event that does not match is dropped": /Position 6 is missing/,
    "two are swapped": /Position 6 is missing/,
    "the boundary is moved": /about boundary/,
    "the boundary is dropped": /about boundary/,
    "another payload": /hash is not the one in the record/,
    "another sum": /is not the file that the manifest describes/,
  };
  for (const [name, sentence] of Object.entries(said)) {
    const { files } = exports.find((each) => each.name === name);
    await assert.rejects(verifyExport(folderOf(files, 500), parseKey(key)), sentence);
  }
});

test("each missing file is named", async () => {
  const { files } = exports[0];
  for (const name of Object.keys(files)) {
    const { [name]: _, ...others } = files;
    await assert.rejects(verifyExport(folderOf(others, 500), parseKey(key)), new RegExp(`has no ${name}`));
  }
});

test("a filter means what docs/proof.md says", () => {
  const id = "5b0c3bd0-6f5d-4ef4-8d0c-0000000000aa";
  const envelope = {
    actorId: id.toUpperCase(),
    actorType: "agent",
    causationId: null,
    correlationId: "run-1",
    eventType: "action_run.failed",
    occurredAt: "2026-01-02T03:04:05.000001Z",
    outcome: "failure",
    resourceId: id,
    resourceType: "action_run",
  };
  const cases = [
    [{}, true],
    [{ since: "2026-01-02T03:04:05Z" }, true],
    [{ since: "2026-01-02T03:04:05.000002Z" }, false],
    [{ until: "2026-01-02T03:04:05.000001Z" }, false],
    [{ until: "2026-01-02T03:04:06Z" }, true],
    [{ event_types: ["action_run.failed"] }, true],
    [{ event_types: ["action_run.started"], event_type_prefixes: ["action_run."] }, true],
    [{ event_type_prefixes: ["action."] }, false],
    [{ type_patterns: ["*.failed"] }, true],
    [{ type_patterns: ["action_run.*"] }, true],
    [{ type_patterns: ["run.*", "failed"] }, false],
    [{ excluded_event_types: ["action_run.*"] }, false],
    [{ actor_ids: [id] }, true],
    [{ actor_ids: ["ana"] }, false],
    [{ actors: ["*/" + id] }, true],
    [{ actors: ["user/" + id] }, false],
    [{ actors: ["agent/"] }, true],
    [{ excluded_actors: ["agent/" + id] }, false],
    [{ causation_ids: ["null"] }, false],
    [{ excluded_causation_ids: ["null"] }, true],
    [{ correlation_ids: ["run-1", "run-2"] }, true],
    [{ outcomes: ["success"] }, false],
    [{ resource_types: ["action_run"], outcomes: ["failure"] }, true],
    [{ resources: ["action_run/other"] }, false],
  ];
  for (const [meaning, isMatch] of cases) assert.equal(matchesFilter(parseFilter(meaning), envelope), isMatch, JSON.stringify(meaning));
  for (const meaning of [{ toString: ["x"] }, { payload_values: ["a=1"] }, { outcomes: "x" }, { outcomes: [] }, { since: "2026" }, { outcomes: [1] }]) {
    assert.throws(() => parseFilter(meaning), NotProven);
  }
});

test("the hash of parts is that of the whole", () => {
  const message = Uint8Array.from({ length: 300 }, (_, at) => (at * 167) & 255);
  for (let first = 0; first < 200; first++) {
    const hash = new Sha256();
    for (const part of [message.subarray(0, first), message.subarray(first, first + 70), message.subarray(first + 70)]) hash.update(part);
    assert.equal(Buffer.from(hash.digest()).toString("hex"), createHash("sha256").update(message).digest("hex"));
  }
});

test("the command says what an export proves", (t) => {
  const folder = mkdtempSync(join(tmpdir(), "whence-export-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const run = (...args) => spawnSync(process.execPath, [join(FOLDER, "whence-verify.mjs"), "--export", folder, ...args], { encoding: "utf8" });
  const put = ({ files }) => Object.entries(files).forEach(([name, text]) => writeFileSync(join(folder, name), bytesOf(name, text)));
  put(exports[2]);
  const { status, stdout } = run("--key", key);
  assert.equal(status, 0);
  assert.match(stdout, /^2 events are proven to be in log.example\/acme\/1, as it was with 16 events.\nThe filter: .*since/);
  assert.match(stdout, /No other event matches, of those at the positions 9 to 16.\nNor does an earlier one/);
  assert.deepEqual(JSON.parse(run("--key", key, "--json").stdout).completeFrom, 9);
  assert.equal(run("--key", key, "--proof", "x").status, 2);
  const { notes } = JSON.parse(readFileSync(join(FOLDER, "vectors", "notes.json"), "utf8"));
  assert.equal(run("--key", key, "--witness", notes[0].witness).status, 5); // it has no cosignature
  const { rotations } = JSON.parse(readFileSync(join(FOLDER, "vectors", "rotations.json"), "utf8"));
  const announced = join(mkdtempSync(join(tmpdir(), "whence-rotation-")), "proof");
  writeFileSync(announced, rotations[0].proof);
  t.after(() => rmSync(dirname(announced), { recursive: true }));
  assert.equal(run("--key", key, "--rotation", announced).status, 0); // the former key stays good
  assert.equal(run("--key", rotations[0].next).status, 5);
  const stranger = "log.example/acme/1+ddcfb952+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop";
  assert.match(run("--key", stranger).stderr, /The file key is not the key that was given/);
  const second = JSON.parse(readFileSync(join(FOLDER, "vectors", "mldsa44.json"), "utf8")).key;
  assert.match(run("--key", second).stderr, /The key has not signed/); // but is a key of this name
  put(exports.find(({ name }) => name === "the end is cut off"));
  assert.deepEqual([run("--key", key).status, run("--key", key, "--steps").stdout.split("\n").length], [5, 3]);
  rmSync(join(folder, "key"));
  assert.equal(run("--key", key).status, 5);
  assert.equal(spawnSync(process.execPath, [join(FOLDER, "whence-verify.mjs"), "--export", join(folder, "none"), "--key", key]).status, 1);
});
