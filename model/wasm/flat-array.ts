// Flat float32 arrays that onnxruntime's tensors and our own kernels both work on: views of WebAssembly memories.

/**
 * Arrays that a loop goes through side by side start this many bytes further into their memories, each than the one before.
 * Memories lie whole gibibytes apart; at equal distances all four lines of AdamW fall into one place of the processor's first
 * cache, which made it 8 times slower (7.6 and 0.9 ns a parameter on an AMD EPYC). A multiple of a cache line.
 */
export const LANE_BYTES = 4160;

const PAGE_BYTES = 2 ** 16;
/** 32-bit addresses; the last page is kept clear, so that the end of an array is one as well. */
const MEMORY_BYTES = 2 ** 32 - PAGE_BYTES;

/** Float32 values that one array may have, whatever its lane. */
export const MAX_FLAT_LENGTH = Math.floor((MEMORY_BYTES - 8 * LANE_BYTES) / 4);

export interface FlatArray {
  readonly memory: WebAssembly.Memory;
  /** Where in the memory it starts: LANE_BYTES * lane. */
  readonly byteOffset: number;
  /** Of a SharedArrayBuffer where threads share it. */
  readonly values: Float32Array;
}

/** Zeros. Memory is taken from the system when it is first written to, and given back by the garbage collector. */
export function allocateFlat(length: number, lane: number, shared = false): FlatArray {
  const byteOffset = lane * LANE_BYTES;
  const pages = Math.ceil((byteOffset + 4 * length) / PAGE_BYTES);
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared });
  return viewFlat(memory, byteOffset, length);
}

/** The array that `allocateFlat` made, from what another thread was told of it. */
export function viewFlat(memory: WebAssembly.Memory, byteOffset: number, length: number): FlatArray {
  return { memory, byteOffset, values: new Float32Array(memory.buffer, byteOffset, length) };
}
