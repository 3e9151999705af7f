// SHAKE128 and SHAKE256 (FIPS 202), in plain JavaScript. The constants are computed as the standard defines them.
//
// A lane of 64 bits is two words of 32: its low half in one array, its high half in another, both at x + 5y.

const KECCAK_ROUNDS = 24;
const { lanes: LANES, turns: TURNS } = walkOfLanes();
const ROUND_CONSTANTS = Array.from({ length: KECCAK_ROUNDS }, (_, round) => roundConstant(round));

/** The order in which rho and pi move the lanes, from lane 1 on, and by how many bits each is turned (3.2.2, 3.2.3). */
function walkOfLanes() {
  const [lanes, turns] = [[], []];
  let [x, y] = [1, 0];
  for (let t = 0; t < 24; t++) {
    turns.push((((t + 1) * (t + 2)) / 2) % 64);
    [x, y] = [y, (2 * x + 3 * y) % 5];
    lanes.push(x + 5 * y);
  }
  return { lanes, turns };
}

/** The constant of a round (3.2.5), as its two halves. @param {number} round */
function roundConstant(round) {
  const halves = [0, 0];
  for (let j = 0; j <= 6; j++) {
    const bit = 2 ** j - 1;
    if (shiftedBit(j + 7 * round)) halves[bit >> 5] |= 1 << (bit & 31);
  }
  return halves;
}

/** Algorithm 5: the lowest bit of a shift register after `t` steps. @param {number} t */
function shiftedBit(t) {
  let register = 1;
  for (let step = 0; step < t % 255; step++) {
    register <<= 1;
    if (register & 0x100) register ^= 0x171;
  }
  return register & 1;
}

/** A half of a lane that is turned to the left, by less than 64 bits. @param {number} own @param {number} other @param {number} bits */
function turnedHalf(own, other, bits) {
  const [near, far] = bits & 32 ? [other, own] : [own, other];
  const rest = bits & 31;
  return rest ? (near << rest) | (far >>> (32 - rest)) : near;
}

/** The permutation Keccak-f[1600]. @param {Int32Array} low @param {Int32Array} high */
function permute(low, high) {
  const [columnLow, columnHigh] = [new Int32Array(5), new Int32Array(5)];
  for (const [constantLow, constantHigh] of ROUND_CONSTANTS) {
    for (let x = 0; x < 5; x++) {
      columnLow[x] = low[x] ^ low[x + 5] ^ low[x + 10] ^ low[x + 15] ^ low[x + 20];
      columnHigh[x] = high[x] ^ high[x + 5] ^ high[x + 10] ^ high[x + 15] ^ high[x + 20];
    }
    for (let x = 0; x < 5; x++) {
      const [before, after] = [(x + 4) % 5, (x + 1) % 5];
      const addedLow = columnLow[before] ^ turnedHalf(columnLow[after], columnHigh[after], 1);
      const addedHigh = columnHigh[before] ^ turnedHalf(columnHigh[after], columnLow[after], 1);
      for (let y = 0; y < 25; y += 5) {
        low[x + y] ^= addedLow;
        high[x + y] ^= addedHigh;
      }
    }
    let [movedLow, movedHigh] = [low[1], high[1]];
    for (let t = 0; t < 24; t++) {
      const lane = LANES[t];
      const [nextLow, nextHigh] = [low[lane], high[lane]];
      low[lane] = turnedHalf(movedLow, movedHigh, TURNS[t]);
      high[lane] = turnedHalf(movedHigh, movedLow, TURNS[t]);
      [movedLow, movedHigh] = [nextLow, nextHigh];
    }
    for (let y = 0; y < 25; y += 5) {
      mixRow(low, y);
      mixRow(high, y);
    }
    low[0] ^= constantLow;
    high[0] ^= constantHigh;
  }
}

/** The step chi (3.2.4) on the halves of a row. @param {Int32Array} half @param {number} at */
function mixRow(half, at) {
  const [a, b, c, d, e] = [half[at], half[at + 1], half[at + 2], half[at + 3], half[at + 4]];
  half[at] = a ^ (~b & c);
  half[at + 1] = b ^ (~c & d);
  half[at + 2] = c ^ (~d & e);
  half[at + 3] = d ^ (~e & a);
  half[at + 4] = e ^ (~a & b);
}

/** The output of SHAKE128 or SHAKE256, as much of it as is read. */
export class Shake {
  /** @param {128 | 256} strength @param {...Uint8Array} parts of the message */
  constructor(strength, ...parts) {
    this.rate = 200 - strength / 4;
    this.low = new Int32Array(25);
    this.high = new Int32Array(25);
    this.at = 0;
    for (const part of parts) for (const byte of part) this.add(byte);
    this.mix(this.at, 0x1f);
    this.mix(this.rate - 1, 0x80);
    permute(this.low, this.high);
    this.at = 0;
  }

  /** @param {number} byte of the message */
  add(byte) {
    this.mix(this.at++, byte);
    if (this.at < this.rate) return;
    permute(this.low, this.high);
    this.at = 0;
  }

  /** @param {number} at a place in the state @param {number} byte */
  mix(at, byte) {
    (at & 4 ? this.high : this.low)[at >> 3] ^= byte << (8 * (at & 3));
  }

  /** The next byte of the output. */
  byte() {
    if (this.at === this.rate) {
      permute(this.low, this.high);
      this.at = 0;
    }
    const at = this.at++;
    return ((at & 4 ? this.high : this.low)[at >> 3] >>> (8 * (at & 3))) & 255;
  }

  /** The next bytes of the output. @param {number} length */
  bytes(length) {
    return Uint8Array.from({ length }, () => this.byte());
  }
}
