// The binary file of a checkpoint: a JSON header and named sections of raw bytes, closed by a SHA-256 over all of it.
// Knows nothing of what the sections mean. Layout, integers little-endian:
//   "GLOSSA" u16 format | u32 header bytes | header JSON, padded to 8 | sections, each padded to 8 | 32 bytes SHA-256
import { createHash } from "node:crypto";
import { type FileHandle, open } from "node:fs/promises";
import { sha256HexInTurns } from "#protocol/net/hash.ts";
import { StateCorruptError, storageError } from "./errors.ts";

const MAGIC = Buffer.from("GLOSSA", "latin1");
const FORMAT = 1;
const PREAMBLE_BYTES = 12;
const DIGEST_BYTES = 32;
const ALIGNMENT = 8;
/** A header lists sections and small values; a larger one is a damaged length field. */
const MAX_HEADER_BYTES = 64 * 2 ** 20;
const READ_BYTES = 16 * 2 ** 20;
/** Hashed and written before others get a turn: a few milliseconds. */
const WRITE_BYTES = 4 * 2 ** 20;

export interface Container {
  /** Small values: anything JSON holds. */
  readonly meta: unknown;
  /** Sections by name, aligned to 8 bytes, so that a float view fits without a copy. */
  readonly sections: ReadonlyMap<string, Uint8Array>;
}

interface Header {
  /** What the file is for, and the version of that purpose's own layout. */
  readonly kind: string;
  readonly version: number;
  readonly meta: unknown;
  readonly sections: readonly { name: string; bytes: number }[];
}

export interface ContainerKind {
  readonly kind: string;
  readonly version: number;
}

/** The file's bytes piece by piece, for `writeAtomic`; large sections are not copied. */
export function* encodeContainer(
  { kind, version }: ContainerKind,
  { meta, sections }: Container,
): Generator<Uint8Array> {
  const header: Header = {
    kind,
    version,
    meta,
    sections: [...sections].map(([name, { byteLength: bytes }]) => ({ name, bytes })),
  };
  const text = Buffer.from(JSON.stringify(header), "utf8");
  const preamble = Buffer.alloc(PREAMBLE_BYTES);
  MAGIC.copy(preamble);
  preamble.writeUInt16LE(FORMAT, 6);
  preamble.writeUInt32LE(text.byteLength, 8);
  const hash = createHash("sha256");
  const pieces = [preamble, text, padding(PREAMBLE_BYTES + text.byteLength)];
  for (const bytes of sections.values()) pieces.push(bytes as Buffer, padding(bytes.byteLength));
  for (const whole of pieces) {
    for (let at = 0; at < whole.byteLength; at += WRITE_BYTES) {
      const piece = whole.subarray(at, at + WRITE_BYTES);
      hash.update(piece);
      yield piece;
    }
  }
  yield hash.digest();
}

/**
 * Reads and checks a container. `undefined` where there is no file.
 * @throws {StateCorruptError} for anything that is not a whole container of this kind and version
 */
export async function readContainer(path: string, expected: ContainerKind): Promise<Container | undefined> {
  let bytes: Uint8Array<ArrayBuffer>;
  try {
    const file = await open(path, "r");
    try {
      bytes = await readWhole(file, path);
    } finally {
      await file.close();
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw storageError(error, path);
  }
  const content = bytes.subarray(0, Math.max(0, bytes.byteLength - DIGEST_BYTES));
  return decode(bytes, await sha256HexInTurns(content), path, expected);
}

/** Reads in pieces: one read call moves at most 2 GiB. */
async function readWhole(file: FileHandle, path: string): Promise<Uint8Array<ArrayBuffer>> {
  const { size } = await file.stat();
  const bytes = new Uint8Array(size);
  for (let offset = 0; offset < size; ) {
    const { bytesRead } = await file.read(bytes, offset, Math.min(READ_BYTES, size - offset), offset);
    if (bytesRead === 0) throw new StateCorruptError(path, "it shrank while being read");
    offset += bytesRead;
  }
  return bytes;
}

/** `digest`: of the bytes but the last, which have to say the same. */
function decode(
  bytes: Uint8Array<ArrayBuffer>,
  digest: string,
  path: string,
  expected: ContainerKind,
): Container {
  const corrupt = (reason: string) => new StateCorruptError(path, reason);
  if (bytes.byteLength < PREAMBLE_BYTES + DIGEST_BYTES) throw corrupt("it is too short");
  const view = new DataView(bytes.buffer);
  if (!MAGIC.equals(bytes.subarray(0, MAGIC.byteLength))) throw corrupt("it is no glossa file");
  if (view.getUint16(6, true) !== FORMAT) throw corrupt(`its format ${view.getUint16(6, true)} is unknown`);
  const end = bytes.byteLength - DIGEST_BYTES;
  if (Buffer.from(bytes.subarray(end)).toString("hex") !== digest)
    throw corrupt("its checksum does not match");

  const headerBytes = view.getUint32(8, true);
  if (headerBytes > MAX_HEADER_BYTES || PREAMBLE_BYTES + headerBytes > end)
    throw corrupt("its header is too long");
  const text = Buffer.from(bytes.buffer, PREAMBLE_BYTES, headerBytes).toString("utf8");
  const header = JSON.parse(text) as Header;
  if (header.kind !== expected.kind) throw corrupt(`it holds ${header.kind}, not ${expected.kind}`);
  if (header.version !== expected.version) {
    throw corrupt(
      `version ${header.version} of ${header.kind} is not the version ${expected.version} known here`,
    );
  }
  const sections = new Map<string, Uint8Array>();
  let offset = aligned(PREAMBLE_BYTES + headerBytes);
  for (const section of header.sections) {
    if (offset + section.bytes > end) throw corrupt(`its section ${section.name} is cut off`);
    sections.set(section.name, bytes.subarray(offset, offset + section.bytes));
    offset = aligned(offset + section.bytes);
  }
  return { meta: header.meta, sections };
}

function aligned(offset: number): number {
  return Math.ceil(offset / ALIGNMENT) * ALIGNMENT;
}

/** Zeros up to the next multiple of the alignment. Every section starts aligned, so its length alone decides. */
function padding(length: number): Buffer {
  return Buffer.alloc(aligned(length) - length);
}

/** The bytes of a float array, as they lie in memory (little-endian on every platform Node runs on). */
export function bytesOfFloats({ buffer, byteOffset, byteLength }: Float32Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

/**
 * A section as floats, without a copy.
 * @throws {StateCorruptError} where the section is absent or no whole number of floats
 */
export function floatsOf({ sections }: Container, name: string, path: string): Float32Array<ArrayBuffer> {
  const bytes = sections.get(name);
  if (bytes === undefined) throw new StateCorruptError(path, `it has no section ${name}`);
  if (bytes.byteLength % 4 !== 0) throw new StateCorruptError(path, `its section ${name} holds no floats`);
  return new Float32Array(bytes.buffer as ArrayBuffer, bytes.byteOffset, bytes.byteLength / 4);
}
