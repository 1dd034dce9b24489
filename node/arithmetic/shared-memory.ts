// Arrays that two threads see, so that a body of hundreds of megabytes is neither copied nor sent from one to the other.
import { setImmediate as turn } from "node:timers/promises";

/**
 * V8 does not count shared memory, and so would let hundreds of megabytes lie that nobody holds any more. Each shared
 * buffer has a companion that it does count: as large, never written to, so that no memory stands behind it.
 */
const companions = new WeakMap<ArrayBufferLike, ArrayBuffer>();
/** Below this it is not worth it. */
const COUNTED_BYTES = 2 ** 20;

/** Copied before others get a turn: about a millisecond. */
const SLICE_BYTES = 4 * 2 ** 20;

type Shareable = Float32Array | Uint8Array;

const isShared = ({ buffer }: Shareable): boolean => buffer instanceof SharedArrayBuffer;

/** Has this thread's garbage collector know what it holds. To be called of all that comes from another thread. */
export function counted<View extends Shareable>(view: View): View {
  if (isShared(view)) count(view.buffer);
  return view;
}

function count(buffer: ArrayBufferLike): void {
  if (buffer.byteLength < COUNTED_BYTES || companions.has(buffer)) return;
  companions.set(buffer, new ArrayBuffer(buffer.byteLength));
}

/** Zeros. */
export function sharedMemory(bytes: number): SharedArrayBuffer {
  const buffer = new SharedArrayBuffer(bytes);
  count(buffer);
  return buffer;
}

export const sharedFloats = (length: number): Float32Array => new Float32Array(sharedMemory(4 * length));

/** The array itself where it is shared, else a shared copy, made piece by piece so that nobody waits for long. */
export async function shared<View extends Shareable>(view: View): Promise<View> {
  if (isShared(view)) return view;
  const copy = new Uint8Array(sharedMemory(view.byteLength));
  const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  for (let at = 0; at < bytes.length; at += SLICE_BYTES) {
    if (at > 0) await turn();
    copy.set(bytes.subarray(at, at + SLICE_BYTES), at);
  }
  return (view instanceof Float32Array ? new Float32Array(copy.buffer) : copy) as View;
}
