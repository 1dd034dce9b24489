// Bits in bytes, from the lowest bit of a byte up, and the Rice code in them:
//   rice(g, r) = g >> r zeros, a one, then the r low bits of g from the lowest up      (g >> r) + 1 + r bits
// (Rice 1971; for geometric gaps of mean m the best r is near log2(m * ln 2).)

/** Bits of rice(gap, parameter). */
export const riceBits = (gap: number, parameter: number): number => (gap >> parameter) + 1 + parameter;

/** Writes into bytes that are 0, from byte `at` on. */
export class BitWriter {
  readonly #bytes: Uint8Array;
  #at: number;
  #pending = 0;
  /** Bits in `pending`, 0 to 7 between calls. */
  #held = 0;

  constructor(bytes: Uint8Array, at: number) {
    this.#bytes = bytes;
    this.#at = at;
  }

  /** The `count` low bits of `value`, 0 to 24 of them. */
  bits(value: number, count: number): void {
    let pending = this.#pending | (value << this.#held);
    let held = this.#held + count;
    while (held >= 8) {
      this.#bytes[this.#at++] = pending;
      pending >>>= 8;
      held -= 8;
    }
    this.#pending = pending;
    this.#held = held;
  }

  /** `parameter` 0 to 20. */
  rice(gap: number, parameter: number): void {
    let zeros = gap >> parameter;
    const low = gap & ((1 << parameter) - 1);
    // Nearly all gaps are short, and then one call does.
    if (zeros + parameter < 24) {
      this.bits((1 | (low << 1)) << zeros, zeros + 1 + parameter);
      return;
    }
    for (; zeros >= 12; zeros -= 12) this.bits(0, 12);
    this.bits(1 << zeros, zeros + 1);
    this.bits(low, parameter);
  }

  /** Fills the last byte up with zeros and returns the offset behind it. */
  end(): number {
    if (this.#held > 0) this.#bytes[this.#at++] = this.#pending;
    this.#pending = 0;
    this.#held = 0;
    return this.#at;
  }
}

/** Reads untrusted bytes from byte `at` to their end; behind it come zeros, which `atEnd` tells from real ones. */
export class BitReader {
  readonly #bytes: Uint8Array;
  #at: number;
  #pending = 0;
  #held = 0;

  constructor(bytes: Uint8Array, at: number) {
    this.#bytes = bytes;
    this.#at = at;
  }

  /** A gap of at most `limit` (below 2^20) in parameter 0 to 20; -1 where it is larger or the bytes have ended. */
  rice(parameter: number, limit: number): number {
    let zeros = 0;
    for (;;) {
      this.#fill();
      const run = this.#pending === 0 ? this.#held : 31 - Math.clz32(this.#pending & -this.#pending);
      zeros += run;
      // Also ends the loop: it turns once for 24 to 31 zeros, and zeros << parameter, below 2^26, grows with them.
      if (zeros << parameter > limit) return -1;
      if (run < this.#held) {
        this.#drop(run + 1);
        break;
      }
      this.#drop(run);
    }
    this.#fill();
    const gap = (zeros << parameter) | (this.#pending & ((1 << parameter) - 1));
    this.#drop(parameter);
    return gap <= limit ? gap : -1;
  }

  /** True where no more than the padding of the last byte is left, and that is 0; false too where bits were missing. */
  atEnd(): boolean {
    const unread = 8 * (this.#bytes.length - this.#at) + this.#held;
    // Fewer than 8 bits that are not read are all in `pending`.
    return unread >= 0 && unread < 8 && this.#pending === 0;
  }

  /** Holds 24 to 31 bits; those behind the end are 0 and advance `at` all the same. */
  #fill(): void {
    while (this.#held < 24) {
      this.#pending |= (this.#at < this.#bytes.length ? this.#bytes[this.#at]! : 0) << this.#held;
      this.#at++;
      this.#held += 8;
    }
  }

  #drop(count: number): void {
    this.#pending >>>= count;
    this.#held -= count;
  }
}
