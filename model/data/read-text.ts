// A file's text as a stream of strings: open, decompress, decode UTF-8. Owns the checks that it is text at all.
import { createReadStream } from "node:fs";
import { pipeline } from "node:stream";
import { createGunzip } from "node:zlib";
import { BinaryDataError, DataError, DataUnreadableError, NotUtf8Error } from "./errors.ts";
import type { DataFile } from "./list-data-files.ts";
import { decompressZstd } from "./zstd-frames.ts";

const READ_BYTES = 1 << 20;
/** A NUL in the first MiB makes a file binary; further on it may be one of the accidents of a large crawl. */
const NUL_CHECK_BYTES = 1 << 20;
/** Isolated broken characters are accidents and become U+FFFD; more than one in a thousand is another encoding. */
const LARGEST_INVALID_FRACTION = 0.001;
const TOLERATED_INVALID = 8;

export interface ReadOptions {
  readonly signal?: AbortSignal | undefined;
  /** Bytes taken from disk since the last call. */
  readonly onBytesRead?: ((bytes: number) => void) | undefined;
}

/**
 * The text of a .txt or .jsonl file in pieces that follow one another; a byte order mark at its head is dropped.
 * @throws DataUnreadableError, BinaryDataError, NotUtf8Error, the signal's reason
 */
export async function* readText(file: DataFile, options: ReadOptions = {}): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let bytes = 0;
  let characters = 0;
  let invalid = 0;
  const check = (text: string): string => {
    characters += text.length;
    for (let at = text.indexOf("\ufffd"); at >= 0; at = text.indexOf("\ufffd", at + 1)) invalid += 1;
    if (invalid > TOLERATED_INVALID && invalid > characters * LARGEST_INVALID_FRACTION) {
      throw new NotUtf8Error(file.path, invalid, characters);
    }
    return text;
  };
  try {
    for await (const chunk of readBytes(file, options)) {
      options.signal?.throwIfAborted();
      if (bytes < NUL_CHECK_BYTES) {
        const nul = chunk.indexOf(0);
        if (nul >= 0) throw new BinaryDataError(file.path, bytes + nul);
      }
      bytes += chunk.length;
      yield check(decoder.decode(chunk, { stream: true }));
    }
    yield check(decoder.decode());
  } catch (cause) {
    if (cause instanceof DataError) throw cause;
    options.signal?.throwIfAborted();
    throw new DataUnreadableError(file.path, (cause as Error).message, { cause });
  }
}

function readBytes(file: DataFile, options: ReadOptions): AsyncIterable<Uint8Array> {
  const bytes = readFileBytes(file.path, options);
  switch (file.compression) {
    case "none":
      return bytes;
    case "gzip":
      // The callback is pipeline's way to say that errors are met elsewhere: reading the last stream throws them.
      return pipeline(bytes, createGunzip({ chunkSize: READ_BYTES }), () => {});
    case "zstd":
      return decompressZstd(bytes);
  }
}

async function* readFileBytes(
  path: string,
  { signal, onBytesRead }: ReadOptions,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of createReadStream(path, {
    highWaterMark: READ_BYTES,
    ...(signal && { signal }),
  })) {
    onBytesRead?.(chunk.length);
    yield chunk;
  }
}
