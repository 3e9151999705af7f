// Judges proofs for tests: reads lines of base64, and writes a line for each, what is proven as JSON, or `null`.
//
//   node judge.mjs KEY < proofs

import { createInterface } from "node:readline";
import { NotProven, parseKey, verifyProof } from "../../verifier/verify.mjs";

const key = parseKey(process.argv[2] ?? "");
for await (const line of createInterface({ input: process.stdin })) process.stdout.write(`${judged(Buffer.from(line, "base64"))}\n`);

/** @param {Uint8Array} data */
function judged(data) {
  try {
    const { checkpoint, position, envelopeText, payload } = verifyProof(data, key);
    const root = Buffer.from(checkpoint.root).toString("hex");
    return JSON.stringify([checkpoint.origin, String(checkpoint.size), root, String(position), envelopeText, payload]);
  } catch (error) {
    if (error instanceof NotProven) return "null";
    throw error;
  }
}
