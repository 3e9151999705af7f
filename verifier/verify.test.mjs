// Tests of the verifier: node --test verifier/*.test.mjs

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { verifyEd25519 } from "./ed25519.mjs";
import { verifyMlDsa44 } from "./mldsa44.mjs";
import { sha256, sha512 } from "./sha2.mjs";
import { Shake } from "./shake.mjs";
import { demandCosigned, followedKeys, isConsistent, isIncluded, NotProven, originOfProof, parseKey, verifyCheckpoint, verifyConsistency, verifyNote, verifyProof } from "./verify.mjs";

const FOLDER = fileURLToPath(new URL(".", import.meta.url));
const read = (name) => JSON.parse(readFileSync(join(FOLDER, "vectors", name), "utf8"));
const bytes = (text) => new TextEncoder().encode(text);
const hex = (data) => Buffer.from(data).toString("hex");
const unhex = (text) => new Uint8Array(Buffer.from(text, "hex"));
const unbase64 = (text) => new Uint8Array(Buffer.from(text, "base64"));

/** Whether something is proven; any other error is one. */
function holds(work) {
  try {
    work();
    return true;
  } catch (error) {
    if (error instanceof NotProven) return false;
    throw error;
  }
}

test("the hashes are those of the standard, for every length around a block", () => {
  assert.equal(hex(sha256(bytes("abc"))), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  assert.equal(hex(sha512(bytes("abc"))).slice(0, 32), "ddaf35a193617abacc417349ae204131");
  for (let length = 0; length < 300; length++) {
    const message = Uint8Array.from({ length }, (_, place) => (place * 167 + length) & 255);
    assert.equal(hex(sha256(message)), createHash("sha256").update(message).digest("hex"));
    assert.equal(hex(sha512(message)), createHash("sha512").update(message).digest("hex"));
  }
});

test("the published signatures are judged as their authors do", () => {
  const { wycheproof, edges } = read("published/ed25519.json");
  for (const [key, message, signature, isValid] of [...wycheproof.cases, ...edges.cases]) {
    assert.equal(verifyEd25519(unhex(key), unhex(message), unhex(signature)), isValid, signature);
  }
});

for (const file of ["mldsa44.json", "mldsa44-acvp.json"]) {
  test(`the published signatures by ML-DSA-44 are judged as their authors do: ${file}`, () => {
    const { keys, cases } = read(`published/${file}`);
    for (const [number, key, message, context, signature, isValid] of cases) {
      assert.equal(verifyMlDsa44(unbase64(keys[key]), unbase64(message), unbase64(signature), unbase64(context)), isValid, `${number}`);
    }
  });
}

test("SHAKE is that of the standard, for messages and outputs around a block", () => {
  for (const strength of [128, 256]) {
    for (let length = 0; length < 340; length++) {
      const message = Uint8Array.from({ length }, (_, place) => (place * 167 + length) & 255);
      const expected = createHash(`shake${strength}`, { outputLength: length + 1 }).update(message).digest("hex");
      assert.equal(hex(new Shake(strength, message.subarray(0, 7), message.subarray(7)).bytes(length + 1)), expected);
    }
  }
});

test("the published proofs of Merkle trees are judged as their authors do", () => {
  const { inclusion, consistency } = read("published/merkle.json");
  for (const [name, index, size, leaf, hashes, root, isRight] of inclusion.cases) {
    assert.equal(isIncluded(unbase64(leaf), BigInt(index), BigInt(size), hashes.map(unbase64), unbase64(root)), isRight, name);
  }
  for (const [name, older, newer, hashes, olderRoot, newerRoot, isRight] of consistency.cases) {
    assert.equal(isConsistent(BigInt(older), BigInt(newer), hashes.map(unbase64), unbase64(olderRoot), unbase64(newerRoot)), isRight, name);
  }
});

test("the published notes and keys are judged as their authors do", () => {
  const { notes, keys } = read("published/notes.json");
  for (const [name, note, known, isRight] of notes.cases) {
    assert.equal(holds(() => verifyNote(bytes(note), known.map(parseKey))), isRight, name);
  }
  for (const [name, key, isRight] of keys.cases) assert.equal(holds(() => parseKey(key)), isRight, name);
});

test("every part of a key, and a key with one other character, is refused", () => {
  const { key } = read("log.json");
  for (let end = 0; end < key.length; end++) assert.ok(!holds(() => parseKey(key.slice(0, end))), `${end}`);
  for (let at = 0; at < key.length; at++) {
    const other = key.slice(0, at) + String.fromCharCode(key.charCodeAt(at) + 1) + key.slice(at + 1);
    assert.ok(!holds(() => parseKey(other)), other);
  }
});

test("leaves and payload hashes are those of the recorded events", () => {
  for (const { salt, payload, envelope, leaf } of read("log.json").events) {
    assert.equal(hex(sha256(Buffer.concat([Uint8Array.of(0), bytes(envelope)]))), leaf);
    assert.equal(hex(sha256(Buffer.concat([unhex(salt), bytes(payload)]))), JSON.parse(envelope).payloadHash);
  }
});

test("proofs that hold prove what they claim, and the others nothing", () => {
  const { key, proofs } = read("proofs.json");
  const known = parseKey(key);
  for (const { name, proof, proven } of proofs) {
    if (proven === null) {
      assert.ok(!holds(() => verifyProof(bytes(proof), known)), name);
      continue;
    }
    const { checkpoint, position, envelopeText, payload, steps } = verifyProof(bytes(proof), known);
    const claim = { envelope: envelopeText, payload, position: Number(position), root: hex(checkpoint.root), size: Number(checkpoint.size) };
    assert.deepEqual(claim, proven, name);
    assert.equal(steps.filter((step) => !step.startsWith("Signatures that were not checked")).length, 4, name);
  }
});

test("a refused proof says which steps had succeeded", () => {
  const { key, proofs } = read("proofs.json");
  const { proof } = proofs.find(({ name }) => name === "another payload");
  assert.throws(
    () => verifyProof(bytes(proof), parseKey(key)),
    (error) => error instanceof NotProven && error.steps.length === 3 && /payload is not the one/.test(error.message),
  );
});

test("a checkpoint extends another one only if that is proven", () => {
  const { key, pairs } = read("consistency.json");
  for (const { name, old, new: newer, proof, holds: isRight } of pairs) {
    assert.equal(holds(() => verifyConsistency(bytes(old), bytes(newer), bytes(proof), [parseKey(key)])), isRight, name);
  }
  assert.ok(holds(() => verifyConsistency(bytes(pairs[0].old), bytes(pairs[0].new), null, [parseKey(key)])));
  assert.ok(!holds(() => verifyConsistency(bytes(pairs[1].old), bytes(pairs[1].new), null, [parseKey(key)])));
});

test("cosignatures of known witnesses are verified, and others mean nothing", () => {
  const { key, notes } = read("notes.json");
  for (const { name, note, witness, cosigners, key: own = key } of [...notes, ...read("mldsa44.json").notes]) {
    const judged = () => verifyCheckpoint(bytes(note), parseKey(own), [parseKey(witness)]);
    if (cosigners === null) assert.ok(!holds(judged), name);
    else assert.deepEqual(judged().witnesses, cosigners, name);
  }
  const [{ note }] = notes;
  const { steps } = verifyCheckpoint(bytes(note), parseKey(key)); // which has the line of a key that is not known
  assert.equal(steps.at(-1), "Signatures that were not checked, since no key for them was given: 1.");
});

test("names of more than 255 bytes are not cosigned by ML-DSA-44", () => {
  const { key, notes } = read("mldsa44.json");
  const [{ note }] = notes;
  const [name, data] = ["w".repeat(256), unbase64(key.split("+").slice(2).join("+"))];
  const id = createHash("sha256").update(`${name}\n`).update(data).digest().subarray(0, 4);
  const witness = parseKey(`${name}+${hex(id)}+${Buffer.from(data).toString("base64")}`);
  const line = `— ${name} ${Buffer.concat([id, new Uint8Array(2428)]).toString("base64")}\n`;
  assert.throws(() => verifyCheckpoint(bytes(note + line), parseKey(read("notes.json").key), [witness]), /at most 255 bytes/);
});

test("a key is followed by the announcement of a rotation alone", () => {
  for (const { key, rotations } of [read("rotations.json"), read("mldsa44.json")]) {
    const known = parseKey(key);
    for (const { name, proof, next } of rotations) {
      if (next === null) assert.ok(!holds(() => followedKeys(known, [bytes(proof)])), name);
      else assert.deepEqual(followedKeys(known, [bytes(proof)]), [known, parseKey(next)], name);
    }
  }
  const { chain, key } = read("rotations.json");
  const proofs = chain.proofs.map(bytes);
  assert.deepEqual(proofs.map(originOfProof), ["log.example/acme/1", "log.example/acme/2"]);
  assert.deepEqual(followedKeys(parseKey(key), proofs).at(-1), parseKey(chain.last));
  assert.ok(!holds(() => followedKeys(parseKey(key), proofs.reverse())));
});

test("each of the witnesses that are given has to have cosigned", () => {
  const { key, notes } = read("notes.json");
  const [{ note, witness }] = notes;
  const [one, stranger] = [parseKey(witness), { ...parseKey(witness), id: "00000000" }];
  assert.match(String(verifyCheckpoint(bytes(note), parseKey(key), [one]).steps.at(-1)), /w1 at 2026-01-02T03:04:05Z\.$/);
  for (const [witnesses, isRight] of [[[one], true], [[one, one], true], [[], true], [[stranger], false], [[one, stranger], false]]) {
    assert.equal(holds(() => demandCosigned(verifyCheckpoint(bytes(note), parseKey(key), witnesses), witnesses)), isRight);
  }
});

test("the later one of two checkpoints has to be cosigned by each witness that is given", () => {
  const { key, notes } = read("notes.json");
  const [{ note, witness }] = notes;
  const [one, stranger] = [parseKey(witness), { ...parseKey(witness), id: "00000000" }];
  const judged = (...witnesses) => verifyConsistency(bytes(note), bytes(note), null, [parseKey(key)], witnesses);
  assert.match(judged(one).steps[1], /cosigned by witness.example\/w1/);
  assert.ok(!holds(() => judged(one, stranger)));
});

test("the command says what is proven, by its words and its exit code", (t) => {
  const folder = mkdtempSync(join(tmpdir(), "whence-verify-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = (name, text) => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };
  const run = (...args) => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [join(FOLDER, "whence-verify.mjs"), ...args], { encoding: "utf8" });
    return { status, stdout, stderr };
  };
  const { key, proofs } = read("proofs.json");
  const right = file("right", proofs[1].proof);
  assert.deepEqual(run("--proof", right, "--key", key), {
    status: 0,
    stdout: "Event 01941f29-0000-7000-8000-000000000001 is proven: position 2 of log.example/acme/1,\nas it was with 2 events.\n",
    stderr: "",
  });
  const json = run("--proof", right, "--key", key, "--json");
  assert.ok(!json.stdout.includes("\u2028"));
  assert.deepEqual(JSON.parse(json.stdout).payload, JSON.parse(proofs[1].proven.payload));
  const wrong = run("--proof", file("wrong", proofs.at(-1).proof), "--key", key, "--steps");
  assert.deepEqual([wrong.status, wrong.stdout.split("\n").length], [5, 4]);
  const { pairs } = read("consistency.json");
  const files = [file("old", pairs[3].old), file("new", pairs[3].new), file("proof", pairs[3].proof)];
  assert.equal(run("--consistency", ...files, "--key", key).status, 0);
  assert.equal(run("--consistency", files[1], files[0], files[2], "--key", key).status, 5);
  const { notes } = read("notes.json");
  assert.equal(run("--consistency", ...files, "--key", key, "--witness", notes[0].witness).status, 5); // it has no cosignature
  const cosigned = file("cosigned", notes[0].note);
  assert.match(run("--consistency", cosigned, cosigned, "--key", key, "--witness", notes[0].witness).stdout, /\nIt is cosigned by /);
  assert.equal(run("--proof", right, "--key", key, "--witness", notes[0].witness).status, 5); // it has no cosignature
  const { rotations } = read("rotations.json");
  const rotation = file("rotation", rotations[0].proof);
  assert.equal(run("--proof", right, "--key", key, "--rotation", rotation).status, 0); // the former key stays good
  assert.equal(run("--proof", rotation, "--key", rotations[0].next).status, 5);
  assert.equal(run("--consistency", ...files, "--key", key, "--rotation", rotation).status, 0);
  assert.equal(run("--proof", right, "--key", key, "--rotation", file("other", rotations[1].proof)).status, 5);
  for (const args of [[], ["--proof", right], ["--proof", right, "--key", "none"], ["--proof", right, "--key", key, "more"], ["--x"]]) {
    const { status, stdout, stderr } = run(...args);
    assert.deepEqual([status, stdout, stderr.split("\n").length], [2, "", 2]);
  }
  assert.equal(run("--proof", join(folder, "missing"), "--key", key).status, 1);
});
