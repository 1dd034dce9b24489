// Token ids on disk: a .bin of uint16 or uint32, little-endian, nothing else. Owns writing (streamed, synced), reading
// at positions and the digest that tells a damaged file; what the ids mean is token-cache.ts' business.
import { createHash } from "node:crypto";
import { closeSync, openSync, readSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { endianness } from "node:os";
import { setImmediate } from "node:timers/promises";
import { TokenCacheCorruptError } from "./errors.ts";

export type TokenType = "uint16" | "uint32";

/** One token file, as plain data: what the header keeps and what a reader needs. */
export interface TokenSplit {
  readonly path: string;
  readonly type: TokenType;
  readonly vocabularySize: number;
  readonly tokens: number;
  /** UTF-8 bytes of the text that the tokens spell. */
  readonly bytes: number;
  readonly documents: number;
  /** As sampledDigest gives it; where the file is kept. */
  readonly digest?: string | undefined;
}

const FLUSH_TOKENS = 1 << 19;
const READ_TOKENS = 1 << 18;
const IS_BIG_ENDIAN = endianness() === "BE";
const DIGEST_BLOCK_BYTES = 1 << 16;
const DIGEST_BLOCKS = 64;

/** Bytes that one token takes. */
export function tokenBytes(type: TokenType): number {
  return type === "uint16" ? 2 : 4;
}

/** The smallest type that holds every id of a vocabulary. */
export function tokenTypeFor(vocabularySize: number): TokenType {
  return vocabularySize <= 2 ** 16 ? "uint16" : "uint32";
}

/** What a token file needs to know of its tokenizer. */
export interface TokenSource {
  readonly vocabularySize: number;
  readonly endOfText: number;
  /** Bytes of each token, by id. */
  readonly byteLengths: ArrayLike<number>;
}

/** Writes documents to a file and counts them. Errors of the file system come through as they are. */
export class TokenFileWriter {
  readonly #path: string;
  readonly #handle: FileHandle;
  readonly #source: TokenSource;
  readonly #type: TokenType;
  readonly #buffer: Uint16Array | Uint32Array;
  #buffered = 0;
  #tokens: number;
  #bytes: number;
  #documents: number;
  #isOpen = true;

  private constructor(path: string, handle: FileHandle, source: TokenSource, before?: TokenSplit) {
    this.#path = path;
    this.#handle = handle;
    this.#source = source;
    this.#type = tokenTypeFor(source.vocabularySize);
    this.#buffer = this.#type === "uint16" ? new Uint16Array(FLUSH_TOKENS) : new Uint32Array(FLUSH_TOKENS);
    this.#tokens = before?.tokens ?? 0;
    this.#bytes = before?.bytes ?? 0;
    this.#documents = before?.documents ?? 0;
  }

  static async create(path: string, source: TokenSource): Promise<TokenFileWriter> {
    return new TokenFileWriter(path, await open(path, "w"), source);
  }

  /** Goes on behind what `split` holds. */
  static async extend(split: TokenSplit, source: TokenSource): Promise<TokenFileWriter> {
    return new TokenFileWriter(split.path, await open(split.path, "a"), source, split);
  }

  get tokens(): number {
    return this.#tokens;
  }

  get documents(): number {
    return this.#documents;
  }

  /** Appends ids, end-of-text tokens included: each of those counts as a document. */
  async append(ids: ArrayLike<number> & Iterable<number>): Promise<void> {
    for (const id of ids) {
      this.#buffer[this.#buffered++] = id;
      this.#bytes += this.#source.byteLengths[id]!;
      if (id === this.#source.endOfText) this.#documents += 1;
      if (this.#buffered === FLUSH_TOKENS) await this.#flush();
    }
    this.#tokens += ids.length;
  }

  /** Makes what was appended durable, closes the file and says what it holds. */
  async finish(): Promise<TokenSplit> {
    await this.#flush();
    await this.#handle.sync();
    await this.close();
    return {
      path: this.#path,
      type: this.#type,
      vocabularySize: this.#source.vocabularySize,
      tokens: this.#tokens,
      bytes: this.#bytes,
      documents: this.#documents,
    };
  }

  async close(): Promise<void> {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    await this.#handle.close();
  }

  async #flush(): Promise<void> {
    const { buffer, BYTES_PER_ELEMENT } = this.#buffer;
    const bytes = toLittleEndian(
      Buffer.from(buffer, 0, this.#buffered * BYTES_PER_ELEMENT),
      BYTES_PER_ELEMENT,
    );
    for (let written = 0; written < bytes.length; ) {
      written += (await this.#handle.write(bytes, written)).bytesWritten;
    }
    this.#buffered = 0;
  }
}

/** Reads ids at positions, synchronously: a batch is a few dozen small reads from the page cache. */
export class TokenFileReader {
  readonly split: TokenSplit;
  readonly #file: number;
  #buffer = Buffer.alloc(0);

  constructor(split: TokenSplit) {
    this.split = split;
    this.#file = openSync(split.path, "r");
  }

  /**
   * Reads `target.length` ids from token `position` on.
   * @throws TokenCacheCorruptError where the file ends before or holds an id outside of the vocabulary
   */
  read(position: number, target: Int32Array): void {
    const { type, path, vocabularySize } = this.split;
    const width = tokenBytes(type);
    const length = target.length * width;
    // Buffer.alloc never pools, so that the view below is aligned.
    if (this.#buffer.length < length) this.#buffer = Buffer.alloc(length);
    if (readSync(this.#file, this.#buffer, 0, length, position * width) < length) {
      throw new TokenCacheCorruptError(path, "it is shorter than its header says");
    }
    toLittleEndian(this.#buffer.subarray(0, length), width);
    const { buffer } = this.#buffer;
    target.set(
      type === "uint16"
        ? new Uint16Array(buffer, 0, target.length)
        : new Uint32Array(buffer, 0, target.length),
    );
    for (const id of target) {
      if (id >= vocabularySize || id < 0) {
        throw new TokenCacheCorruptError(
          path,
          `it holds the token ${id} of a vocabulary of ${vocabularySize}`,
        );
      }
    }
  }

  close(): void {
    closeSync(this.#file);
  }
}

/**
 * All of a file in order, in pieces; between two of them the thread is free.
 * @throws TokenCacheCorruptError, the signal's reason
 */
export async function* readTokens(split: TokenSplit, signal?: AbortSignal): AsyncGenerator<Int32Array> {
  const reader = new TokenFileReader(split);
  try {
    for (let at = 0; at < split.tokens; at += READ_TOKENS) {
      await setImmediate();
      signal?.throwIfAborted();
      const tokens = new Int32Array(Math.min(READ_TOKENS, split.tokens - at));
      reader.read(at, tokens);
      yield tokens;
    }
  } finally {
    reader.close();
  }
}

/**
 * Lower-case hex SHA-256 over a file's size and 64 blocks of 64 KiB spread evenly over it (all of a file up to 4 MiB):
 * finds truncation, foreign files and most damage without reading gigabytes at every start.
 */
export async function sampledDigest(path: string): Promise<string> {
  const handle = await open(path);
  try {
    const { size } = await handle.stat();
    const hash = createHash("sha256").update(`${size}\n`);
    const block = Buffer.alloc(DIGEST_BLOCK_BYTES);
    const blocks = Math.min(DIGEST_BLOCKS, Math.ceil(size / DIGEST_BLOCK_BYTES));
    const span = Math.max(0, size - DIGEST_BLOCK_BYTES);
    for (let i = 0; i < blocks; i++) {
      const position =
        size <= DIGEST_BLOCKS * DIGEST_BLOCK_BYTES
          ? i * DIGEST_BLOCK_BYTES
          : Math.floor((span * i) / (blocks - 1));
      const { bytesRead } = await handle.read(block, 0, block.length, position);
      hash.update(block.subarray(0, bytesRead));
    }
    return hash.digest("hex");
  } finally {
    await handle.close();
  }
}

/** Swaps in place on the machines that need it; the same on the way out and in. */
function toLittleEndian(bytes: Buffer, width: number): Buffer {
  if (!IS_BIG_ENDIAN) return bytes;
  return width === 2 ? bytes.swap16() : bytes.swap32();
}
