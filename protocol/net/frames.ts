// Length-prefixed frames on one stream, with every bound a hostile peer could strain: frame size, prefix length, bytes
// buffered, time per read and per write. libp2p's byte streams never push back on the sender, so protocols built on
// this ask before anything large is sent (see bulk.ts).
import type { Stream } from "@libp2p/interface";
import { lpStream } from "@libp2p/utils";
import type { Uint8ArrayList } from "uint8arraylist";
import type { Offence } from "../core/types.ts";

export interface FrameBounds {
  readonly maxFrameBytes: number;
  /** Everything that may legitimately be in flight towards us: frames asked for, with their prefixes. */
  readonly maxBufferedBytes: number;
}

/** The remote side broke a bound. `offence` says what to charge it with. */
export class FrameError extends Error {
  readonly code = "FRAME";
  readonly offence: Offence;

  constructor(offence: Offence, message: string, cause: unknown) {
    super(message, { cause });
    this.offence = offence;
  }
}

/** 4 bytes of varint say up to 256 MiB; no frame of ours needs more. */
const MAX_PREFIX_BYTES = 4;
export const FRAME_OVERHEAD_BYTES = MAX_PREFIX_BYTES;

const OVERSIZED = new Set(["InvalidDataLengthError", "InvalidDataLengthLengthError", "StreamBufferError"]);

export class Frames {
  readonly #stream: Stream;
  readonly #frames: ReturnType<typeof lpStream>;
  #closedBy: Error | undefined;

  constructor(stream: Stream, { maxFrameBytes, maxBufferedBytes }: FrameBounds) {
    this.#stream = stream;
    this.#frames = lpStream(stream, {
      maxDataLength: maxFrameBytes,
      maxBufferSize: maxBufferedBytes,
      lengthDecoder: decodeLength,
    });
    stream.addEventListener("close", (event) => {
      this.#closedBy = event.error;
    });
  }

  /** The next frame, or undefined where the remote side has closed. Throws FrameError on a broken bound. */
  async read(signal: AbortSignal): Promise<Uint8Array | undefined> {
    try {
      return (await this.#frames.read({ signal })).subarray();
    } catch (error) {
      if (error instanceof Error && error.name === "UnexpectedEOFError") return undefined;
      throw this.#charge(error);
    }
  }

  /** Resolves once the frame has left our buffers, so that one slow reader never makes us hold more than one frame. */
  async write(bytes: Uint8Array, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    try {
      await this.#frames.write(bytes, { signal });
    } catch (error) {
      throw this.#charge(error);
    }
  }

  /** A stream that we closed on a flood fails later, at whatever is next: what closed it says whose fault that is. */
  #charge(error: unknown): unknown {
    for (const cause of [error, this.#closedBy]) {
      if (cause instanceof PrefixError) return new FrameError("malformed-message", cause.message, cause);
      if (cause instanceof Error && OVERSIZED.has(cause.name)) {
        return new FrameError("oversized", "more bytes than allowed", cause);
      }
    }
    return error;
  }

  async close(signal: AbortSignal): Promise<void> {
    await this.#stream.close({ signal });
  }

  abort(reason: unknown): void {
    this.#stream.abort(reason instanceof Error ? reason : new Error(String(reason)));
  }
}

class PrefixError extends Error {}

/** lpStream hands over the prefix byte by byte and takes RangeError for "more, please"; anything else ends the stream. */
function decodeLength(prefix: Uint8Array | Uint8ArrayList): number {
  let length = 0;
  for (let at = 0; at < prefix.byteLength; at++) {
    const byte = prefix instanceof Uint8Array ? prefix[at]! : prefix.get(at);
    length += (byte & 0x7f) * 2 ** (7 * at);
    if (byte < 0x80) return length;
  }
  if (prefix.byteLength >= MAX_PREFIX_BYTES) throw new PrefixError("a frame's length prefix does not end");
  throw new RangeError("the prefix is not complete");
}
