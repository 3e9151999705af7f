// Judges signatures by ML-DSA-44 for tests: reads lines of public key, message and signature in base64, and writes 1 for
// each that verifies, and 0 for the others.
//
//   node judge_mldsa.mjs < signatures

import { createInterface } from "node:readline";
import { verifyMlDsa44 } from "../../verifier/mldsa44.mjs";

for await (const line of createInterface({ input: process.stdin })) {
  const [publicKey, message, signature] = line.split(" ").map((part) => new Uint8Array(Buffer.from(part, "base64")));
  process.stdout.write(verifyMlDsa44(publicKey, message, signature) ? "1\n" : "0\n");
}
