// float32 arrays as little-endian bytes and back: the one place that knows the host's byte order.

const LITTLE_ENDIAN_HOST = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1;

/** Little-endian bytes of values `from` to `to` (exclusive), as a copy. */
export function floatBytes(values: Float32Array, from = 0, to = values.length): Uint8Array {
  const bytes = new Uint8Array((to - from) * 4);
  writeFloats(bytes, 0, values.subarray(from, to));
  return bytes;
}

/** As floatBytes, but not a copy where the host's order is the same: to be read at once. */
export function viewFloatBytes(values: Float32Array, from: number, to: number): Uint8Array {
  if (!LITTLE_ENDIAN_HOST) return floatBytes(values, from, to);
  return new Uint8Array(values.buffer, values.byteOffset + 4 * from, 4 * (to - from));
}

/** Writes `values` little-endian at byte `offset` of `target`. */
export function writeFloats(target: Uint8Array, offset: number, values: Float32Array): void {
  target.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), offset);
  if (!LITTLE_ENDIAN_HOST) swapWords(target.subarray(offset, offset + values.byteLength));
}

/** `count` values from byte `offset` of `bytes`, as a copy; `bytes` need not be aligned. */
export function readFloats(bytes: Uint8Array, offset: number, count: number): Float32Array {
  // Not bytes.slice(): on Node's Buffer that is a view, which may be unaligned.
  const copy = new Uint8Array(count * 4);
  copy.set(bytes.subarray(offset, offset + count * 4));
  if (!LITTLE_ENDIAN_HOST) swapWords(copy);
  return new Float32Array(copy.buffer);
}

/** As readFloats, but not a copy where order and alignment allow it: neither of the two may be written to. */
export function viewFloats(bytes: Uint8Array, offset: number, count: number): Float32Array {
  const at = bytes.byteOffset + offset;
  if (!LITTLE_ENDIAN_HOST || at % 4 !== 0) return readFloats(bytes, offset, count);
  return new Float32Array(bytes.buffer, at, count);
}

/** Reverses the bytes of each 32-bit word in place. */
export function swapWords(bytes: Uint8Array): void {
  for (let at = 0; at + 4 <= bytes.length; at += 4) bytes.subarray(at, at + 4).reverse();
}
