// The verification of Ed25519 signatures (RFC 8032, section 5.1), in plain JavaScript.
//
// Strict and without the cofactor: the equation is [S]B = R + [k]A itself. S has to be less than the order of the base
// point, points have to be in their one canonical encoding, and a public key of small order is refused. Nothing here is
// secret, so nothing has to take the same time.

import { sha512 } from "./sha2.mjs";

const P = 2n ** 255n - 19n;
const ORDER = 2n ** 252n + 27742317777372353535851937790883648493n;
const D = mod(-121665n * power(121666n, P - 2n));
const ROOT_OF_MINUS_ONE = power(2n, (P - 1n) / 4n);

/** A point of the curve in extended coordinates: x = X/Z, y = Y/Z, xy = T/Z.
 * @typedef {{X: bigint, Y: bigint, Z: bigint, T: bigint}} Point */

/** @type {Point} */
const NEUTRAL = { X: 0n, Y: 1n, Z: 1n, T: 0n };
const BASE = /** @type {Point} */ (decompressed(bytesOf(mod(4n * power(5n, P - 2n)))));

/** @param {bigint} value */
function mod(value) {
  const rest = value % P;
  return rest < 0n ? rest + P : rest;
}

/** @param {bigint} base @param {bigint} exponent */
function power(base, exponent) {
  let result = 1n;
  for (let square = mod(base); exponent; exponent >>= 1n, square = mod(square * square)) {
    if (exponent & 1n) result = mod(result * square);
  }
  return result;
}

/** The number that bytes are in little-endian order.
 * @param {Uint8Array} bytes */
function numberOf(bytes) {
  return bytes.reduceRight((number, byte) => (number << 8n) | BigInt(byte), 0n);
}

/** A number as 32 bytes in little-endian order.
 * @param {bigint} number */
function bytesOf(number) {
  return Uint8Array.from({ length: 32 }, (_, place) => Number((number >> BigInt(8 * place)) & 255n));
}

/** @param {Point} a @param {Point} b @returns {Point} */
function sum(a, b) {
  const low = mod((a.Y - a.X) * (b.Y - b.X));
  const high = mod((a.Y + a.X) * (b.Y + b.X));
  const c = mod(2n * D * mod(a.T * b.T));
  const d = mod(2n * a.Z * b.Z);
  const [e, f, g, h] = [high - low, d - c, d + c, high + low];
  return { X: mod(e * f), Y: mod(g * h), Z: mod(f * g), T: mod(e * h) };
}

/** @param {Point} a @returns {Point} */
function doubled(a) {
  const [xx, yy, zz] = [mod(a.X * a.X), mod(a.Y * a.Y), mod(a.Z * a.Z)];
  const h = xx + yy;
  const e = h - mod((a.X + a.Y) * (a.X + a.Y));
  const g = xx - yy;
  const f = 2n * zz + g;
  return { X: mod(e * f), Y: mod(g * h), Z: mod(f * g), T: mod(e * h) };
}

/** [s]a + [t]b, by one walk over the bits of both.
 * @param {bigint} s @param {Point} a @param {bigint} t @param {Point} b @returns {Point} */
function combined(s, a, t, b) {
  const both = sum(a, b);
  let result = NEUTRAL;
  for (let bit = 255n; bit >= 0n; bit--) {
    result = doubled(result);
    const [inS, inT] = [(s >> bit) & 1n, (t >> bit) & 1n];
    if (inS || inT) result = sum(result, inS && inT ? both : inS ? a : b);
  }
  return result;
}

/** The point of 32 bytes, or null for what is not the canonical encoding of one.
 * @param {Uint8Array} bytes @returns {Point | null} */
function decompressed(bytes) {
  const number = numberOf(bytes);
  const sign = number >> 255n;
  const y = number & (2n ** 255n - 1n);
  if (y >= P) return null;
  const u = mod(y * y - 1n);
  const v = mod(D * y * y + 1n);
  const v3 = mod(v * v * v);
  let x = mod(u * v3 * power(u * v3 * v3 * v, (P - 5n) / 8n));
  const square = mod(v * x * x);
  if (square === mod(-u)) x = mod(x * ROOT_OF_MINUS_ONE);
  else if (square !== u) return null;
  if (x === 0n && sign) return null;
  if ((x & 1n) !== sign) x = P - x;
  return { X: x, Y: y, Z: 1n, T: mod(x * y) };
}

/** @param {Point} a */
function compressed(a) {
  const inverse = power(a.Z, P - 2n);
  const [x, y] = [mod(a.X * inverse), mod(a.Y * inverse)];
  return bytesOf(y | ((x & 1n) << 255n));
}

/** Whether the order of a point divides the cofactor, 8. With such a key, one signature could be that of many texts.
 * @param {Point} a */
function hasSmallOrder(a) {
  const eightfold = doubled(doubled(doubled(a)));
  return eightfold.X === 0n && eightfold.Y === eightfold.Z;
}

/** Whether the key signed the message. False for everything that is not well-formed.
 * @param {Uint8Array} publicKey 32 bytes @param {Uint8Array} message @param {Uint8Array} signature 64 bytes
 * @returns {boolean} */
export function verifyEd25519(publicKey, message, signature) {
  if (publicKey.length !== 32 || signature.length !== 64) return false;
  const a = decompressed(publicKey);
  const s = numberOf(signature.subarray(32));
  if (a === null || s >= ORDER || hasSmallOrder(a)) return false;
  const hashed = new Uint8Array(64 + message.length);
  hashed.set(signature.subarray(0, 32));
  hashed.set(publicKey, 32);
  hashed.set(message, 64);
  const k = numberOf(sha512(hashed)) % ORDER;
  const negative = { X: mod(-a.X), Y: a.Y, Z: a.Z, T: mod(-a.T) };
  const expected = compressed(combined(s, BASE, k, negative)); // R, in the one encoding that it may have
  return expected.every((byte, place) => byte === signature[place]);
}
