// The safetensors format as other programs write it: any file in, headers for ours out. Bytes only; where they are kept is
// the caller's business. (safetensors.ts is stricter: it reads what glossa itself has written and vouches for each bit.)
//
//   u64 little-endian: length of the header
//   header:            {"__metadata__":{…}, "<name>":{dtype, shape, data_offsets}, …}
//   data:              the tensors; offsets count from its begin
import type { TensorSpec } from "../../types.ts";
import { ModelFolderUnreadableError } from "./errors.ts";

export interface StoredTensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  /** Bytes from the begin of the file. */
  readonly begin: number;
  readonly end: number;
}

/** Reads a file at a place. Gives fewer bytes only where the file ends. */
export interface ByteSource {
  readonly path: string;
  readonly size: number;
  read(position: number, length: number): Promise<Uint8Array<ArrayBuffer>>;
}

const LENGTH_BYTES = 8;
const ALIGNMENT_BYTES = 8;
/** The format's own bound. */
const MAX_HEADER_BYTES = 100_000_000;
const METADATA_KEY = "__metadata__";
/** Bounds what is in memory beside the model itself while a tensor is converted. */
const CHUNK_BYTES = 64 * 2 ** 20;

/** Bytes of an element of the types that can be converted to float32. */
const ELEMENT_BYTES: Readonly<Record<string, number>> = { F32: 4, F16: 2, BF16: 2 };
export const READABLE_TYPES = Object.keys(ELEMENT_BYTES);

/** The tensors of a file by name, each checked to lie within it. */
export async function readSafetensorsHeader(source: ByteSource): Promise<Map<string, StoredTensor>> {
  const fail = (cause: string) => new ModelFolderUnreadableError(source.path, cause);
  const prefix = await source.read(0, LENGTH_BYTES);
  if (prefix.length < LENGTH_BYTES) throw fail(`it has ${prefix.length} bytes`);
  const length = new DataView(prefix.buffer, prefix.byteOffset).getBigUint64(0, true);
  if (length > MAX_HEADER_BYTES) throw fail("it does not begin as a safetensors file does");
  const dataBegin = LENGTH_BYTES + Number(length);
  if (source.size < dataBegin) throw fail("it ends within its header");
  let header: unknown;
  try {
    header = JSON.parse(
      new TextDecoder("utf-8", { fatal: true }).decode(await source.read(8, Number(length))),
    );
  } catch {
    throw fail("its header is not JSON");
  }
  if (typeof header !== "object" || header === null || Array.isArray(header)) {
    throw fail("its header is no JSON object");
  }
  const tensors = new Map<string, StoredTensor>();
  for (const [name, entry] of Object.entries(header)) {
    if (name === METADATA_KEY) continue;
    const { dtype, shape, data_offsets: offsets } = (entry ?? {}) as Record<string, unknown>;
    if (typeof dtype !== "string" || !isCounts(shape) || !isCounts(offsets) || offsets.length !== 2) {
      throw fail(`its tensor ${name} is not described`);
    }
    const [begin, end] = offsets.map((offset) => dataBegin + offset) as [number, number];
    if (end > source.size) throw fail(`it ends ${end - source.size} bytes before its tensor ${name} does`);
    const bytes = shape.reduce((product, size) => product * size, ELEMENT_BYTES[dtype] ?? Number.NaN);
    if (dtype in ELEMENT_BYTES && end - begin !== bytes) {
      throw fail(`its tensor ${name} has ${end - begin} bytes where its shape takes ${bytes}`);
    }
    tensors.set(name, { dtype, shape, begin, end });
  }
  return tensors;
}

/** Fills `target` with a tensor of one of READABLE_TYPES. */
export async function readTensor(
  source: ByteSource,
  { dtype, begin, end }: StoredTensor,
  target: Float32Array,
  signal?: AbortSignal,
): Promise<void> {
  for (let position = begin, at = 0; position < end; ) {
    signal?.throwIfAborted();
    const bytes = await source.read(position, Math.min(CHUNK_BYTES, end - position));
    if (bytes.length === 0) throw new ModelFolderUnreadableError(source.path, "it ends too early");
    const elements = toFloat32(bytes, dtype);
    target.set(elements, at);
    at += elements.length;
    position += bytes.length;
  }
}

/** Little-endian elements as float32; each half has one, bfloat16 is its upper half. */
export function toFloat32(bytes: Uint8Array<ArrayBuffer>, dtype: string): Float32Array {
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
  const { buffer, byteOffset, byteLength } = aligned;
  if (dtype === "F32") return new Float32Array(buffer, byteOffset, byteLength / 4);
  const halves = new Uint16Array(buffer, byteOffset, byteLength / 2);
  const bits = new Uint32Array(halves.length);
  const widen = dtype === "BF16" ? (half: number) => half << 16 : widenHalf;
  for (let at = 0; at < halves.length; at++) bits[at] = widen(halves[at]!);
  return new Float32Array(bits.buffer);
}

/** Bits of a float16 (1 sign, 5 exponent, 10 fraction) as those of the same float32 (1, 8, 23). */
function widenHalf(half: number): number {
  const sign = (half & 0x8000) << 16;
  const exponent = (half >>> 10) & 0x1f;
  let fraction = half & 0x3ff;
  if (exponent === 0x1f) return sign | 0x7f800000 | (fraction << 13);
  if (exponent !== 0) return sign | ((exponent + 112) << 23) | (fraction << 13);
  if (fraction === 0) return sign;
  // Subnormal: shifted until its leading one is the implied one.
  let shifts = 0;
  while ((fraction & 0x400) === 0) {
    fraction <<= 1;
    shifts++;
  }
  return sign | ((113 - shifts) << 23) | ((fraction & 0x3ff) << 13);
}

/** Everything before the data of a file of float32 tensors that lie one after the other in this order. */
export function safetensorsPrefix(specs: readonly TensorSpec[]): Uint8Array<ArrayBuffer> {
  let offset = 0;
  const entries = specs.map(({ name, shape }) => {
    const begin = offset;
    offset += 4 * shape.reduce((product, size) => product * size, 1);
    return [name, { dtype: "F32", shape, data_offsets: [begin, offset] }];
  });
  // transformers refuses a file that does not say which library its tensors are for.
  const header = JSON.stringify({ [METADATA_KEY]: { format: "pt" }, ...Object.fromEntries(entries) });
  const text = Buffer.from(header.padEnd(Math.ceil(header.length / ALIGNMENT_BYTES) * ALIGNMENT_BYTES));
  const prefix = new Uint8Array(LENGTH_BYTES + text.length);
  new DataView(prefix.buffer).setBigUint64(0, BigInt(text.length), true);
  prefix.set(text, LENGTH_BYTES);
  return prefix;
}

function isCounts(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((item) => Number.isSafeInteger(item) && item >= 0);
}
