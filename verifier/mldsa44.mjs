// The verification of ML-DSA-44 signatures (FIPS 204), in plain JavaScript. The numbers of algorithms are those of the
// standard. Nothing here is secret, so nothing has to take the same time.
//
// A polynomial is an array of 256 coefficients, each at least 0 and less than Q. A product of two fits in 53 bits.

import { Shake } from "./shake.mjs";

const Q = 8380417;
const COEFFICIENTS = 256;
const ROWS = 4; // k of the standard, and also l
const DROPPED_BITS = 13; // d
const CHALLENGE_ONES = 39; // tau
const CHALLENGE_BYTES = 32; // lambda / 4
const Z_RANGE = 2 ** 17; // gamma1
const Z_BOUND = Z_RANGE - 78; // gamma1 - beta
const LOW_RANGE = (Q - 1) / 88; // gamma2
const HIGH_PARTS = 44; // how many values the high bits have
const HINTS_MAX = 80; // omega
const SEED_BYTES = 32;
const T1_BITS = 10;
const Z_BITS = 18;
const W1_BITS = 6;

const PUBLIC_KEY_BYTES = SEED_BYTES + ROWS * 32 * T1_BITS;
const Z_BYTES = ROWS * 32 * Z_BITS;
/** The length of a signature, in bytes. */
export const MLDSA44_SIGNATURE_BYTES = CHALLENGE_BYTES + Z_BYTES + HINTS_MAX + ROWS;

const ZETAS = powersOfZeta();
const INVERSE_OF_256 = 8347681;

/** Appendix B: the powers of 1753, a 512th root of unity, in the order in which the transforms need them. */
function powersOfZeta() {
  const powers = [1];
  for (let exponent = 1; exponent < COEFFICIENTS; exponent++) powers.push((powers[exponent - 1] * 1753) % Q);
  return powers.map((_, at) => powers[parseInt(at.toString(2).padStart(8, "0").split("").reverse().join(""), 2)]);
}

/** Whether the key signed the message. False for everything that is not well-formed (algorithms 3 and 8).
 * @param {Uint8Array} publicKey 1,312 bytes @param {Uint8Array} message @param {Uint8Array} signature 2,420 bytes
 * @param {Uint8Array} [context] what the signer said that it signs for, at most 255 bytes; C2SP's formats have none
 * @returns {boolean} */
export function verifyMlDsa44(publicKey, message, signature, context = new Uint8Array(0)) {
  if (publicKey.length !== PUBLIC_KEY_BYTES || signature.length !== MLDSA44_SIGNATURE_BYTES || context.length > 255) return false;
  const challenge = signature.subarray(0, CHALLENGE_BYTES);
  const z = polynomials(signature.subarray(CHALLENGE_BYTES, CHALLENGE_BYTES + Z_BYTES), Z_BITS).map(centred);
  const hints = unpackedHints(signature.subarray(CHALLENGE_BYTES + Z_BYTES));
  if (hints === null || z.some((polynomial) => polynomial.some((value) => Math.min(value, Q - value) >= Z_BOUND))) return false;
  const hashOfKey = new Shake(256, publicKey).bytes(64);
  const hashOfMessage = new Shake(256, hashOfKey, Uint8Array.of(0, context.length), context, message).bytes(64);
  const w1 = approximation(publicKey, challenge, z).map((polynomial, row) => polynomial.map((value, at) => corrected(value, hints[row][at])));
  const expected = new Shake(256, hashOfMessage, ...w1.map(packedW1)).bytes(CHALLENGE_BYTES);
  return expected.every((byte, place) => byte === challenge[place]);
}

/** A z - c t1 2^d, of which the high bits are those that the signer committed to, but for the hints.
 * @param {Uint8Array} publicKey @param {Uint8Array} challenge @param {Float64Array[]} z */
function approximation(publicKey, challenge, z) {
  const seed = publicKey.subarray(0, SEED_BYTES);
  const t1 = polynomials(publicKey.subarray(SEED_BYTES), T1_BITS);
  const c = transformed(ball(challenge));
  const transformedZ = z.map(transformed);
  return t1.map((polynomial, row) => {
    const scaled = transformed(polynomial.map((value) => value * 2 ** DROPPED_BITS));
    const result = scaled.map((value, at) => (c[at] * (Q - value)) % Q);
    transformedZ.forEach((factor, column) => {
      const matrix = sampled(seed, row, column);
      for (let at = 0; at < COEFFICIENTS; at++) result[at] = (result[at] + matrix[at] * factor[at]) % Q;
    });
    return restored(result);
  });
}

/** Numbers of so many bits each, in little-endian order, as polynomials (algorithm 18).
 * @param {Uint8Array} data @param {number} bits */
function polynomials(data, bits) {
  let [place, held, count] = [0, 0, 0];
  const next = () => {
    for (; count < bits; count += 8) held += data[place++] * 2 ** count;
    const value = held % 2 ** bits;
    [held, count] = [(held - value) / 2 ** bits, count - bits];
    return value;
  };
  return Array.from({ length: ROWS }, () => Float64Array.from({ length: COEFFICIENTS }, next));
}

/** The coefficients of z, which are stored as their distance from gamma1 (algorithm 19).
 * @param {Float64Array} polynomial */
function centred(polynomial) {
  return polynomial.map((value) => (Z_RANGE - value + Q) % Q);
}

/** Where the hints are, for each row, or null for what is not their one encoding (algorithm 21).
 * @param {Uint8Array} data */
function unpackedHints(data) {
  const rows = [];
  let place = 0;
  for (let row = 0; row < ROWS; row++) {
    const hints = new Uint8Array(COEFFICIENTS);
    const [first, end] = [place, data[HINTS_MAX + row]];
    if (end < first || end > HINTS_MAX) return null;
    for (; place < end; place++) {
      if (place > first && data[place - 1] >= data[place]) return null;
      hints[data[place]] = 1;
    }
    rows.push(hints);
  }
  return data.subarray(place, HINTS_MAX).every((byte) => byte === 0) ? rows : null;
}

/** The polynomial of a challenge: 39 coefficients are 1 or -1, the others 0 (algorithm 29).
 * @param {Uint8Array} challenge */
function ball(challenge) {
  const polynomial = new Float64Array(COEFFICIENTS);
  const output = new Shake(256, challenge);
  const signs = output.bytes(8);
  for (let at = COEFFICIENTS - CHALLENGE_ONES, bit = 0; at < COEFFICIENTS; at++, bit++) {
    let place = output.byte();
    while (place > at) place = output.byte();
    polynomial[at] = polynomial[place];
    polynomial[place] = (signs[bit >> 3] >> (bit & 7)) & 1 ? Q - 1 : 1;
  }
  return polynomial;
}

/** An entry of the matrix A, which is already transformed (algorithms 14, 30 and 32).
 * @param {Uint8Array} seed @param {number} row @param {number} column */
function sampled(seed, row, column) {
  const polynomial = new Float64Array(COEFFICIENTS);
  const output = new Shake(128, seed, Uint8Array.of(column, row));
  for (let at = 0; at < COEFFICIENTS; ) {
    const value = output.byte() | (output.byte() << 8) | ((output.byte() & 127) << 16);
    if (value < Q) polynomial[at++] = value;
  }
  return polynomial;
}

/** The number-theoretic transform of a polynomial (algorithm 41). @param {Float64Array} polynomial */
function transformed(polynomial) {
  const values = polynomial.slice();
  let zeta = 0;
  for (let half = 128; half >= 1; half /= 2) {
    for (let start = 0; start < COEFFICIENTS; start += 2 * half) {
      const factor = ZETAS[++zeta];
      for (let at = start; at < start + half; at++) {
        const product = (factor * values[at + half]) % Q;
        values[at + half] = (values[at] - product + Q) % Q;
        values[at] = (values[at] + product) % Q;
      }
    }
  }
  return values;
}

/** The polynomial with this transform (algorithm 42). @param {Float64Array} transform */
function restored(transform) {
  const values = transform.slice();
  let zeta = COEFFICIENTS;
  for (let half = 1; half < COEFFICIENTS; half *= 2) {
    for (let start = 0; start < COEFFICIENTS; start += 2 * half) {
      const factor = Q - ZETAS[--zeta];
      for (let at = start; at < start + half; at++) {
        const difference = values[at] - values[at + half] + Q;
        values[at] = (values[at] + values[at + half]) % Q;
        values[at + half] = (factor * difference) % Q;
      }
    }
  }
  return values.map((value) => (value * INVERSE_OF_256) % Q);
}

/** The high bits of a coefficient, corrected by its hint (algorithms 36 and 40).
 * @param {number} value @param {number} hint 0 or 1 */
function corrected(value, hint) {
  let low = value % (2 * LOW_RANGE);
  if (low > LOW_RANGE) low -= 2 * LOW_RANGE;
  const high = value - low === Q - 1 ? 0 : (value - low) / (2 * LOW_RANGE);
  if (value - low === Q - 1) low -= 1;
  if (!hint) return high;
  return (high + (low > 0 ? 1 : HIGH_PARTS - 1)) % HIGH_PARTS;
}

/** The high bits of a row as bytes (algorithms 16 and 28). @param {Float64Array} polynomial */
function packedW1(polynomial) {
  const bytes = new Uint8Array(32 * W1_BITS);
  polynomial.forEach((value, at) => {
    for (let bit = 0; bit < W1_BITS; bit++) {
      const place = at * W1_BITS + bit;
      bytes[place >> 3] |= ((value >> bit) & 1) << (place & 7);
    }
  });
  return bytes;
}
