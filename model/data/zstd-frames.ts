// Zstandard files of many frames (pzstd, appended files, the seekable format): Node's decompressor stops, silently, at
// the end of the first. Finds where frames end (RFC 8878, section 3) and decompresses them one after another.
import { pipeline, Readable } from "node:stream";
import { constants, createZstdDecompress } from "node:zlib";

const FRAME_MAGIC = 0xfd2fb528;
const SKIPPABLE_MAGIC = 0x184d2a50; // the low four bits are free
const LONGEST_FRAME_HEADER_BYTES = 18;
/** Frames of `zstd --long=31` ask for a window of 2 GiB; memory is only taken as the frame is long. */
const LARGEST_WINDOW_LOG = 31;

/** Decompresses a stream of frames. Throws where the input is no Zstandard or ends inside of a frame. */
export async function* decompressZstd(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const source = new FrameSource(chunks);
  try {
    while (await source.openFrame()) {
      const decompressor = createZstdDecompress({
        params: { [constants.ZSTD_d_windowLogMax]: LARGEST_WINDOW_LOG },
      });
      yield* pipeline(Readable.from(source.frame()), decompressor, () => {});
    }
  } finally {
    await source.close();
  }
}

/** Reads a byte stream frame by frame. */
class FrameSource {
  readonly #chunks: AsyncIterator<Uint8Array>;
  #buffer: Uint8Array = new Uint8Array(0);

  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  /** Stands at the next frame's magic, past skippable frames; false at the end of the stream. */
  async openFrame(): Promise<boolean> {
    for (;;) {
      if (!(await this.#fill(1))) return false;
      if (!(await this.#fill(4))) throw new Error("the last frame is cut off");
      const magic = this.#view().getUint32(0, true);
      if (magic === FRAME_MAGIC) return true;
      if ((magic & ~0xf) >>> 0 !== SKIPPABLE_MAGIC) throw new Error("not Zstandard data");
      if (!(await this.#fill(8))) throw new Error("the last frame is cut off");
      let left = 8 + this.#view().getUint32(4, true);
      for await (const piece of this.#pass(left)) left -= piece.length;
      if (left > 0) throw new Error("the last frame is cut off");
    }
  }

  /** The bytes of the frame: header, blocks, checksum. A truncated frame ends early; the decompressor reports it. */
  async *frame(): AsyncGenerator<Uint8Array> {
    await this.#fill(LONGEST_FRAME_HEADER_BYTES);
    const descriptor = this.#buffer[4] ?? 0;
    yield* this.#pass(frameHeaderBytes(descriptor));
    for (let isLast = false; !isLast; ) {
      if (!(await this.#fill(3))) {
        yield* this.#pass(3);
        return;
      }
      const header = this.#buffer[0]! | (this.#buffer[1]! << 8) | (this.#buffer[2]! << 16);
      isLast = (header & 1) === 1;
      const isRunLength = ((header >> 1) & 3) === 1; // one byte, repeated
      yield* this.#pass(3 + (isRunLength ? 1 : header >> 3));
    }
    if (descriptor & 0b100) yield* this.#pass(4);
  }

  async close(): Promise<void> {
    await this.#chunks.return?.();
  }

  /** Makes at least `bytes` available; false where the stream ends before. */
  async #fill(bytes: number): Promise<boolean> {
    while (this.#buffer.length < bytes) {
      const { done, value } = await this.#chunks.next();
      if (done) return false;
      this.#buffer = this.#buffer.length === 0 ? value : Buffer.concat([this.#buffer, value]);
    }
    return true;
  }

  /** Hands on `bytes` bytes, fewer only at the end of the stream. */
  async *#pass(bytes: number): AsyncGenerator<Uint8Array> {
    for (let left = bytes; left > 0 && (await this.#fill(1)); ) {
      const piece = this.#buffer.subarray(0, left);
      this.#buffer = this.#buffer.subarray(piece.length);
      left -= piece.length;
      yield piece;
    }
  }

  #view(): DataView {
    return new DataView(this.#buffer.buffer, this.#buffer.byteOffset, this.#buffer.byteLength);
  }
}

/** Magic, descriptor, window descriptor, dictionary id and content size; the last three as the descriptor says. */
function frameHeaderBytes(descriptor: number): number {
  const isSingleSegment = (descriptor & 0b10_0000) !== 0;
  const contentSizeFlag = descriptor >> 6;
  const contentSizeBytes = contentSizeFlag === 0 ? Number(isSingleSegment) : 1 << contentSizeFlag;
  const dictionaryIdBytes = [0, 1, 2, 4][descriptor & 0b11]!;
  return 4 + 1 + Number(!isSingleSegment) + dictionaryIdBytes + contentSizeBytes;
}
