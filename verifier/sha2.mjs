// SHA-256 and SHA-512 (FIPS 180-4), in plain JavaScript: `crypto.subtle` is missing over plain http.
//
// The constants are computed as the standard defines them: the first 64 bits of the fractional parts of roots of the
// first primes. SHA-256 uses the first 32 of these bits.

const PRIMES = firstPrimes(80);
const SQUARE_ROOTS = PRIMES.slice(0, 8).map((prime) => BigInt.asUintN(64, root(BigInt(prime) << 128n, 2n)));
const CUBE_ROOTS = PRIMES.map((prime) => BigInt.asUintN(64, root(BigInt(prime) << 192n, 3n)));
const START_256 = Uint32Array.from(SQUARE_ROOTS, (bits) => Number(bits >> 32n));
const ROUNDS_256 = Uint32Array.from(CUBE_ROOTS.slice(0, 64), (bits) => Number(bits >> 32n));

/** The first prime numbers.
 * @param {number} count @returns {number[]} */
function firstPrimes(count) {
  const primes = [];
  for (let number = 2; primes.length < count; number++) if (primes.every((prime) => number % prime)) primes.push(number);
  return primes;
}

/** The largest integer whose power is at most `value`.
 * @param {bigint} value @param {bigint} power @returns {bigint} */
function root(value, power) {
  let low = 0n;
  let high = 1n << 72n; // more than the cube root of any of the values above
  while (high - low > 1n) {
    const middle = (low + high) >> 1n;
    if (middle ** power <= value) low = middle;
    else high = middle;
  }
  return low;
}

/** The end of a message with its padding: a bit, zeros, and the length of all of it in bits in the last bytes of a block.
 * @param {Uint8Array} message @param {number} block bytes in a block @param {number} ending bytes of the length
 * @param {number} length bytes of the whole message */
function padded(message, block, ending, length) {
  const whole = new Uint8Array(Math.ceil((message.length + 1 + ending) / block) * block);
  whole.set(message);
  whole[message.length] = 0x80;
  new DataView(whole.buffer).setBigUint64(whole.length - 8, BigInt(length) * 8n);
  return whole;
}

/** @param {number} word @param {number} bits */
const turned = (word, bits) => (word >>> bits) | (word << (32 - bits));

/** Hashes one or more blocks of 64 bytes into the state of SHA-256.
 * @param {Uint32Array} state @param {Uint32Array} words room for 64 of them @param {Uint8Array} blocks */
function compress256(state, words, blocks) {
  const view = new DataView(blocks.buffer, blocks.byteOffset, blocks.length);
  for (let at = 0; at < blocks.length; at += 64) {
    for (let t = 0; t < 16; t++) words[t] = view.getUint32(at + 4 * t);
    for (let t = 16; t < 64; t++) {
      const late = words[t - 2];
      const early = words[t - 15];
      const added = turned(late, 17) ^ turned(late, 19) ^ (late >>> 10);
      words[t] = added + words[t - 7] + (turned(early, 7) ^ turned(early, 18) ^ (early >>> 3)) + words[t - 16];
    }
    let [a, b, c, d, e, f, g, h] = state;
    for (let t = 0; t < 64; t++) {
      const first = (h + (turned(e, 6) ^ turned(e, 11) ^ turned(e, 25)) + ((e & f) ^ (~e & g)) + ROUNDS_256[t] + words[t]) | 0;
      const second = ((turned(a, 2) ^ turned(a, 13) ^ turned(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      h = g; // one assignment after the other: an array of them takes nearly twice as long
      g = f;
      f = e;
      e = (d + first) | 0;
      d = c;
      c = b;
      b = a;
      a = (first + second) | 0;
    }
    for (const [place, word] of [a, b, c, d, e, f, g, h].entries()) state[place] += word;
  }
}

/** @param {Uint32Array} state @returns {Uint8Array} */
function bytesOfState(state) {
  const hash = new DataView(new ArrayBuffer(32));
  state.forEach((word, place) => hash.setUint32(4 * place, word));
  return new Uint8Array(hash.buffer);
}

/** The SHA-256 hash of bytes, 32 bytes.
 * @param {Uint8Array} message @returns {Uint8Array} */
export function sha256(message) {
  const state = START_256.slice();
  compress256(state, new Uint32Array(64), padded(message, 64, 8, message.length));
  return bytesOfState(state);
}

/** The SHA-256 hash of bytes that come in parts. */
export class Sha256 {
  constructor() {
    this.length = 0;
    this.state = START_256.slice();
    this.words = new Uint32Array(64);
    this.rest = new Uint8Array(0);
  }

  /** @param {Uint8Array} part */
  update(part) {
    this.length += part.length;
    let at = 0;
    if (this.rest.length) {
      at = Math.min(part.length, 64 - this.rest.length);
      const block = new Uint8Array(this.rest.length + at);
      block.set(this.rest);
      block.set(part.subarray(0, at), this.rest.length);
      this.rest = block;
      if (block.length < 64) return;
      compress256(this.state, this.words, block);
    }
    const end = at + Math.floor((part.length - at) / 64) * 64;
    compress256(this.state, this.words, part.subarray(at, end));
    this.rest = part.slice(end);
  }

  /** The hash of all parts. Nothing may be added afterwards. */
  digest() {
    compress256(this.state, this.words, padded(this.rest, 64, 8, this.length));
    return bytesOfState(this.state);
  }
}

/** @param {bigint} value */
const low64 = (value) => BigInt.asUintN(64, value);

/** @param {bigint} word @param {bigint} bits */
const turned64 = (word, bits) => (word >> bits) | low64(word << (64n - bits));

/** The SHA-512 hash of bytes, 64 bytes. Slower than SHA-256: it is for short messages.
 * @param {Uint8Array} message @returns {Uint8Array} */
export function sha512(message) {
  const whole = padded(message, 128, 16, message.length);
  const view = new DataView(whole.buffer);
  const state = SQUARE_ROOTS.slice();
  const words = new Array(80);
  for (let at = 0; at < whole.length; at += 128) {
    for (let t = 0; t < 16; t++) words[t] = view.getBigUint64(at + 8 * t);
    for (let t = 16; t < 80; t++) {
      const [late, early] = [words[t - 2], words[t - 15]];
      const added = turned64(late, 19n) ^ turned64(late, 61n) ^ (late >> 6n);
      words[t] = low64(added + words[t - 7] + (turned64(early, 1n) ^ turned64(early, 8n) ^ (early >> 7n)) + words[t - 16]);
    }
    let [a, b, c, d, e, f, g, h] = state;
    for (let t = 0; t < 80; t++) {
      const chosen = (e & f) ^ (low64(~e) & g);
      const first = h + (turned64(e, 14n) ^ turned64(e, 18n) ^ turned64(e, 41n)) + chosen + CUBE_ROOTS[t] + words[t];
      const second = (turned64(a, 28n) ^ turned64(a, 34n) ^ turned64(a, 39n)) + ((a & b) ^ (a & c) ^ (b & c));
      [h, g, f, e, d, c, b, a] = [g, f, e, low64(d + first), c, b, a, low64(first + second)];
    }
    [a, b, c, d, e, f, g, h].forEach((word, place) => (state[place] = low64(state[place] + word)));
  }
  const hash = new DataView(new ArrayBuffer(64));
  state.forEach((word, place) => hash.setBigUint64(8 * place, word));
  return new Uint8Array(hash.buffer);
}
