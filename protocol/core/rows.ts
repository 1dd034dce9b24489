// Sets of rows of an embedding: their ids, ascending, and the one spelling that each set has in a payload.
//   rice(id_0, r) rice(id_1 - id_0 - 1, r) rice(id_2 - id_1 - 1, r) …     bits from the lowest of a byte up, padded with 0
//   r = the largest r >= 0 with held * 2^r <= size - held, or 0
// The parameter follows from how many rows are held, so that there is nothing to choose; with r = 0 this is a bitmap,
// and it is never longer than one: at most `size` bits.
import { HeldRowsError } from "../errors.ts";
import { BitReader, BitWriter, riceBits } from "./codec/bit-stream.ts";

/** Bytes of a set of rows at most. */
export const maxRowsBytes = (size: number): number => Math.ceil(size / 8);

/** Throws HeldRowsError where `rows` are not ids of an embedding of `size` rows: ascending, each once, one at least. */
export function requireRows(rows: Int32Array, size: number): void {
  if (rows.length === 0) throw new HeldRowsError("there are none");
  for (let at = 0; at < rows.length; at++) {
    const before = at === 0 ? -1 : rows[at - 1]!;
    if (rows[at]! <= before) throw new HeldRowsError(`row ${rows[at]} follows row ${before}`);
  }
  const last = rows.at(-1)!;
  if (last >= size) throw new HeldRowsError(`row ${last} is beyond the last one, ${size - 1}`);
}

/** `rows` as requireRows demands them. */
export function encodeRows(rows: Int32Array, size: number): Uint8Array {
  const parameter = gapParameter(rows.length, size);
  let bits = 0;
  forEachGap(rows, (gap) => {
    bits += riceBits(gap, parameter);
  });
  const bytes = new Uint8Array(Math.ceil(bits / 8));
  const writer = new BitWriter(bytes, 0);
  forEachGap(rows, (gap) => writer.rice(gap, parameter));
  writer.end();
  return bytes;
}

/**
 * Reads `held` rows, at least one, of an embedding of `size` rows from untrusted bytes that hold nothing else; says what
 * is wrong where they are not the spelling of such a set. Never throws; allocates no more than the bytes account for.
 */
export function decodeRows(bytes: Uint8Array, held: number, size: number): Int32Array | string {
  const parameter = gapParameter(held, size);
  if (8 * bytes.length < held * riceBits(0, parameter)) return `${held} rows in ${bytes.length} bytes`;
  const rows = new Int32Array(held);
  const reader = new BitReader(bytes, 0);
  let last = -1;
  for (let at = 0; at < held; at++) {
    const gap = reader.rice(parameter, size - last - 2);
    if (gap < 0) return `row ${at} of ${held} is beyond the last one, ${size - 1}`;
    last += gap + 1;
    rows[at] = last;
  }
  return reader.atEnd() ? rows : "bytes after the last row";
}

/** Calls `visit` with each run of neighbouring rows: its place in the set, its first row and how many rows it has. */
export function forEachRowRun(
  rows: Int32Array,
  visit: (at: number, row: number, count: number) => void,
): void {
  let at = 0;
  while (at < rows.length) {
    const row = rows[at]!;
    let count = 1;
    while (at + count < rows.length && rows[at + count] === row + count) count++;
    visit(at, row, count);
    at += count;
  }
}

/** Near the logarithm of the mean gap, the best for rows that lie about evenly. */
function gapParameter(held: number, size: number): number {
  let parameter = 0;
  while (held * 2 ** (parameter + 1) <= size - held) parameter++;
  return parameter;
}

function forEachGap(rows: Int32Array, visit: (gap: number) => void): void {
  let last = -1;
  for (let at = 0; at < rows.length; at++) {
    const row = rows[at]!;
    visit(row - last - 1);
    last = row;
  }
}
