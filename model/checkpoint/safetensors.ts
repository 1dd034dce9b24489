// Named arrays and text metadata <-> bytes in the safetensors format (https://huggingface.co/docs/safetensors), plus a
// checksum. Bytes only: where they are kept is the caller's business.
//
//   u64 little-endian: length of the header, a multiple of 8
//   header:            {"__metadata__":{"sha256":"<64 hex digits>", …}, "<name>":{dtype, shape, data_offsets}, …}
//   data:              the tensors without gaps, widest element type first, so that each is aligned to its elements
import { createHash } from "node:crypto";
import { CheckpointError } from "./errors.ts";

/** Element types by safetensors name. Elements are little-endian, as every platform with an onnxruntime binary is. */
const ARRAY_TYPES: Record<ElementType, ArrayConstructor> = {
  F64: Float64Array,
  F32: Float32Array,
  I64: BigInt64Array,
  U64: BigUint64Array,
  I32: Int32Array,
  U32: Uint32Array,
  I16: Int16Array,
  U16: Uint16Array,
  I8: Int8Array,
  U8: Uint8Array,
};
type ElementType = "F64" | "F32" | "I64" | "U64" | "I32" | "U32" | "I16" | "U16" | "I8" | "U8";
interface ArrayConstructor {
  readonly BYTES_PER_ELEMENT: number;
  new (buffer: ArrayBufferLike, byteOffset: number, length: number): CheckpointArray;
}

/** The typed arrays that a checkpoint can hold. */
export type CheckpointArray =
  | Float64Array
  | Float32Array
  | BigInt64Array
  | BigUint64Array
  | Int32Array
  | Uint32Array
  | Int16Array
  | Uint16Array
  | Int8Array
  | Uint8Array;

/** `data` in row-major order; its length is the product of `shape`. */
export interface CheckpointTensor {
  readonly shape: readonly number[];
  readonly data: CheckpointArray;
}

/** What a checkpoint holds, in no particular order of names. */
export interface Checkpoint {
  readonly tensors: ReadonlyMap<string, CheckpointTensor>;
  readonly metadata: ReadonlyMap<string, string>;
}

const ALIGNMENT_BYTES = 8;
const LENGTH_BYTES = 8;
/** Room for a hundred thousand tensors; a header length beyond it is noise, not a header. */
const MAX_HEADER_BYTES = 16 * 1024 * 1024;
const METADATA_KEY = "__metadata__";
const CHECKSUM_KEY = "sha256";
/** The header starts with this, so that the checksum's 64 hex digits stand at one fixed place. */
const HEADER_PREFIX = `{"${METADATA_KEY}":{"${CHECKSUM_KEY}":"`;
const CHECKSUM_BEGIN = LENGTH_BYTES + HEADER_PREFIX.length;
const CHECKSUM_DIGITS = 64;
const CHECKSUM_END = CHECKSUM_BEGIN + CHECKSUM_DIGITS;
/** What the digits are while the checksum is computed. */
const BLANK_CHECKSUM = "0".repeat(CHECKSUM_DIGITS);
/** Node's hash takes less than 2 GiB in one update. */
const HASH_CHUNK_BYTES = 256 * 1024 * 1024;

/** Throws a CheckpointError where a shape does not fit its data or a name is one that the format reserves. */
export function encodeCheckpoint(
  tensors: ReadonlyMap<string, CheckpointTensor>,
  metadata: ReadonlyMap<string, string> = new Map(),
): Uint8Array {
  if (metadata.has(CHECKSUM_KEY))
    throw new CheckpointError("content", `"${CHECKSUM_KEY}" is the checksum's own key`);
  if (tensors.has(METADATA_KEY))
    throw new CheckpointError("content", `no tensor may be named "${METADATA_KEY}"`);
  const ordered = [...tensors].sort(([, a], [, b]) => b.data.BYTES_PER_ELEMENT - a.data.BYTES_PER_ELEMENT);

  // Written by hand, not from one object: JavaScript moves keys that look like integers to an object's front.
  const metadataFields = [...metadata].map(
    ([key, value]) => `,${JSON.stringify(key)}:${JSON.stringify(value)}`,
  );
  let header = `${HEADER_PREFIX}${BLANK_CHECKSUM}"${metadataFields.join("")}}`;
  let dataBytes = 0;
  for (const [name, { shape, data }] of ordered) {
    if (elementCount(shape) !== data.length) {
      throw new CheckpointError(
        "content",
        `"${name}" has ${data.length} elements, its shape is [${shape.join(", ")}]`,
      );
    }
    const entry = {
      dtype: elementTypeOf(data),
      shape,
      data_offsets: [dataBytes, dataBytes + data.byteLength],
    };
    header += `,${JSON.stringify(name)}:${JSON.stringify(entry)}`;
    dataBytes += data.byteLength;
  }
  const headerText = new TextEncoder().encode(`${header}}`);
  const headerBytes = Math.ceil(headerText.length / ALIGNMENT_BYTES) * ALIGNMENT_BYTES;
  if (headerBytes > MAX_HEADER_BYTES) {
    throw new CheckpointError(
      "content",
      `names and metadata take ${headerBytes} bytes of at most ${MAX_HEADER_BYTES}`,
    );
  }

  const bytes = new Uint8Array(LENGTH_BYTES + headerBytes + dataBytes);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(headerBytes), true);
  bytes.set(headerText, LENGTH_BYTES);
  bytes.fill(0x20, LENGTH_BYTES + headerText.length, LENGTH_BYTES + headerBytes);
  let offset = LENGTH_BYTES + headerBytes;
  for (const [, { data }] of ordered) {
    bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), offset);
    offset += data.byteLength;
  }
  bytes.set(new TextEncoder().encode(checksumOf(bytes)), CHECKSUM_BEGIN);
  return bytes;
}

/**
 * The arrays are views of `bytes` where alignment allows it, copies elsewhere: leave `bytes` alone afterwards.
 * Throws a CheckpointError for anything that `encodeCheckpoint` would not have written.
 */
export function decodeCheckpoint(bytes: Uint8Array): Checkpoint {
  const { header, dataBegin } = readHeader(bytes);
  const { [METADATA_KEY]: rawMetadata, ...rawTensors } = header;
  const metadata = parseMetadata(rawMetadata);
  const entries = Object.entries(rawTensors).map(([name, entry]) => parseEntry(name, entry));

  let end = 0;
  for (const entry of entries.toSorted((a, b) => a.begin - b.begin || a.end - b.end)) {
    if (entry.begin !== end) throw new CheckpointError("layout", `"${entry.name}" overlaps or leaves a gap`);
    end = entry.end;
  }
  const present = bytes.length - dataBegin;
  if (present < end) throw new CheckpointError("truncated", `${present} of ${end} bytes of data are there`);
  if (present > end) throw new CheckpointError("layout", `${present - end} bytes follow the last tensor`);
  const stated = new TextDecoder().decode(bytes.subarray(CHECKSUM_BEGIN, CHECKSUM_END));
  if (stated !== checksumOf(bytes))
    throw new CheckpointError("checksum", "its SHA-256 is not the one it states");

  const tensors = new Map<string, CheckpointTensor>();
  for (const { name, type, shape, begin, end: entryEnd } of entries) {
    tensors.set(name, { shape, data: arrayAt(bytes, type, dataBegin + begin, dataBegin + entryEnd) });
  }
  return { tensors, metadata };
}

/** The header as JSON, bounded before it is parsed; the checksum is not looked at yet. */
function readHeader(bytes: Uint8Array): { header: Record<string, unknown>; dataBegin: number } {
  if (bytes.length < LENGTH_BYTES) throw new CheckpointError("truncated", `it has ${bytes.length} bytes`);
  const stated = new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true);
  if (stated > MAX_HEADER_BYTES || stated % BigInt(ALIGNMENT_BYTES) !== 0n) {
    throw new CheckpointError("header", `it states a header of ${stated} bytes`);
  }
  const dataBegin = LENGTH_BYTES + Number(stated);
  if (bytes.length < dataBegin) throw new CheckpointError("truncated", "it ends within its header");
  let text: string;
  let header: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(
      bytes.subarray(LENGTH_BYTES, dataBegin),
    );
    header = JSON.parse(text);
  } catch {
    throw new CheckpointError("header", "its header is not JSON");
  }
  if (!text.startsWith(HEADER_PREFIX) || !isRecord(header)) {
    throw new CheckpointError("header", "its header does not begin with a checksum");
  }
  return { header, dataBegin };
}

function parseMetadata(raw: unknown): Map<string, string> {
  const metadata = new Map<string, string>();
  for (const [key, value] of Object.entries(isRecord(raw) ? raw : {})) {
    if (typeof value !== "string") throw new CheckpointError("header", `its metadata "${key}" is not a text`);
    if (key !== CHECKSUM_KEY) metadata.set(key, value);
  }
  return metadata;
}

interface Entry {
  readonly name: string;
  readonly type: ElementType;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

function parseEntry(name: string, raw: unknown): Entry {
  if (!isRecord(raw)) throw new CheckpointError("header", `"${name}" is not described`);
  const { dtype, shape, data_offsets: offsets } = raw;
  if (typeof dtype !== "string" || !Object.hasOwn(ARRAY_TYPES, dtype)) {
    throw new CheckpointError("header", `"${name}" has the element type ${JSON.stringify(dtype)}`);
  }
  const type = dtype as ElementType;
  if (!isCounts(shape)) throw new CheckpointError("header", `"${name}" has no proper shape`);
  if (!isCounts(offsets) || offsets.length !== 2)
    throw new CheckpointError("header", `"${name}" has no place`);
  const [begin, end] = offsets as [number, number];
  if (end - begin !== elementCount(shape) * ARRAY_TYPES[type].BYTES_PER_ELEMENT) {
    throw new CheckpointError(
      "layout",
      `"${name}" has ${end - begin} bytes, its shape is [${shape.join(", ")}]`,
    );
  }
  return { name, type, shape, begin, end };
}

/** SHA-256 over all bytes, the checksum's own digits taken as zeros. */
function checksumOf(bytes: Uint8Array): string {
  const hash = createHash("sha256").update(bytes.subarray(0, CHECKSUM_BEGIN)).update(BLANK_CHECKSUM);
  for (let begin = CHECKSUM_END; begin < bytes.length; begin += HASH_CHUNK_BYTES) {
    hash.update(bytes.subarray(begin, begin + HASH_CHUNK_BYTES));
  }
  return hash.digest("hex");
}

function arrayAt(bytes: Uint8Array, type: ElementType, begin: number, end: number): CheckpointArray {
  const ArrayType = ARRAY_TYPES[type];
  const aligned = (bytes.byteOffset + begin) % ArrayType.BYTES_PER_ELEMENT === 0;
  const source = aligned ? bytes.subarray(begin, end) : bytes.slice(begin, end);
  return new ArrayType(source.buffer, source.byteOffset, (end - begin) / ArrayType.BYTES_PER_ELEMENT);
}

function elementTypeOf(data: CheckpointArray): ElementType {
  const found = Object.entries(ARRAY_TYPES).find(([, ArrayType]) => data instanceof ArrayType);
  if (found === undefined)
    throw new CheckpointError("content", `a ${data.constructor.name} has no element type here`);
  return found[0] as ElementType;
}

function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isCounts(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((item) => Number.isSafeInteger(item) && item >= 0);
}
