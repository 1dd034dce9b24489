// Readers and writers of single fields, with the bounds protobuf cannot express. Readers throw FieldError, which
// the codec turns into a rejection; writers throw RangeError, because our own bad value is a bug and must not go out.
import { fromString } from "uint8arrays/from-string";
import { isHexSha256, toHex } from "../core/hash.ts";
import { FieldError } from "./decoded.ts";

export const SHA256_BYTES = 32;
/** Rounds, steps and indices stay below this: they fit a signed 32-bit integer in any language. */
export const MAX_INT31 = 2 ** 31 - 1;
export const MAX_NAME_BYTES = 64;
/** Longest multiaddr we pass on: a DNS name of 253 characters plus protocol parts. */
export const MAX_ADDRESS_BYTES = 300;

// C0 and C1 controls, line and paragraph separators, and the bidirectional overrides that can forge a terminal line.
// biome-ignore lint/suspicious/noControlCharactersInRegex: refusing control characters is the point.
const UNPRINTABLE = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/u;
const utf8 = new TextEncoder();

/** 32 raw bytes as lower-case hex. */
export function readHex32(bytes: Uint8Array, field: string): string {
  if (bytes.byteLength !== SHA256_BYTES) {
    throw new FieldError(`${field} has ${bytes.byteLength} bytes instead of ${SHA256_BYTES}`);
  }
  return toHex(bytes);
}

export function writeHex32(hex: string, field: string): Uint8Array<ArrayBuffer> {
  if (!isHexSha256(hex)) throw new RangeError(`${field} must be 64 lower-case hex digits`);
  return new Uint8Array(fromString(hex, "base16"));
}

/** An integer in [minimum, 2^31 - 1]. */
export function readInt31(value: number, field: string, minimum = 0): number {
  if (value < minimum || value > MAX_INT31) {
    throw new FieldError(`${field} is outside ${minimum}..${MAX_INT31}`);
  }
  return value;
}

export function writeInt31(value: number, field: string, minimum = 0): number {
  if (!Number.isInteger(value) || value < minimum || value > MAX_INT31) {
    throw new RangeError(`${field} must be an integer in ${minimum}..${MAX_INT31}, not ${value}`);
  }
  return value;
}

/** A count up to 2^53 - 1, where a JavaScript number is still exact. */
export function readCount(value: bigint, field: string): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new FieldError(`${field} is above 2^53 - 1`);
  return Number(value);
}

export function writeCount(value: number, field: string): bigint {
  if (!Number.isSafeInteger(value) || value < 0) {
    throw new RangeError(`${field} must be an integer in 0..2^53 - 1, not ${value}`);
  }
  return BigInt(value);
}

/** A finite number that is not negative: losses and rates. -0 is refused, its encoding is not canonical. */
export function readMeasure(value: number, field: string): number {
  if (!Number.isFinite(value) || value < 0 || Object.is(value, -0)) {
    throw new FieldError(`${field} is not a finite number >= 0`);
  }
  return value;
}

export function writeMeasure(value: number, field: string): number {
  if (!Number.isFinite(value) || value < 0)
    throw new RangeError(`${field} must be finite and >= 0, not ${value}`);
  return value + 0; // -0 becomes 0
}

/** Text that is safe to print on one terminal line. */
export function readText(value: string, field: string, maxBytes: number): string {
  if (utf8.encode(value).byteLength > maxBytes)
    throw new FieldError(`${field} is longer than ${maxBytes} bytes`);
  if (UNPRINTABLE.test(value)) throw new FieldError(`${field} holds control characters`);
  return value;
}

export function writeText(value: string, field: string, maxBytes: number): string {
  if (!value.isWellFormed() || utf8.encode(value).byteLength > maxBytes || UNPRINTABLE.test(value)) {
    throw new RangeError(`${field} must be at most ${maxBytes} bytes of text without control characters`);
  }
  return value;
}

export function readList<T, U>(
  items: readonly T[],
  field: string,
  max: number,
  read: (item: T) => U,
): readonly U[] {
  if (items.length > max) throw new FieldError(`${field} has ${items.length} entries, at most ${max}`);
  return items.map(read);
}

export function writeList<T, U>(items: readonly T[], field: string, max: number, write: (item: T) => U): U[] {
  if (items.length > max) throw new RangeError(`${field} has ${items.length} entries, at most ${max}`);
  return items.map(write);
}
