// One object by its SHA-256, pulled from one source after another: resumed where the last one broke off, believed only
// when the whole hashes to its name. Owns who is to blame when it does not; knows nothing of what the object is for.
import type { ContentId, PeerId } from "../core/types.ts";
import { type BulkStream, chunkCount, type OpeningOf, pullBulk } from "./bulk.ts";
import { NetworkError, reasonOf } from "./errors.ts";
import { sha256HexInTurns } from "./hash.ts";
import type { StreamModules, Streams } from "./streams.ts";
import { within } from "./streams.ts";

/** A source that has not delivered the whole object at this rate is left for the next one, which resumes. */
export const SLOWEST_BYTES_PER_SECOND: number = 32 * 1024;
export const TRANSFER_BASE_MS = 20_000;

export interface Wanted<Name extends BulkStream> {
  readonly stream: Name;
  readonly opening: OpeningOf<Name>;
  readonly contentId: ContentId;
  /** For the log of a liar: "payload", "asset". */
  readonly what: string;
  /** Where only a bound is known, the first source's length is tried first. */
  readonly length: { readonly exactly: number } | { readonly atMost: number };
  readonly onProgress?: (bytes: number, totalBytes: number) => void;
}

/**
 * A transfer over several sources. A source whose bytes alone give a wrong hash is penalised and not asked again; where
 * several contributed nobody can be blamed: `needsSingleSources` then says to try each `fromAlone`.
 */
export class Download<Name extends BulkStream> {
  readonly #streams: Streams;
  readonly #wanted: Wanted<Name>;
  readonly #penalise: StreamModules["penalise"];
  readonly #givers = new Set<PeerId>();
  readonly #liars = new Set<PeerId>();
  #bytes: Uint8Array | undefined;
  #receivedBytes = 0;
  /** One line per failed try, for people. */
  readonly attempts: string[] = [];
  needsSingleSources = false;
  /** Some source served bytes that do not hash to the name. */
  sawWrongHash = false;

  constructor(streams: Streams, wanted: Wanted<Name>, penalise: StreamModules["penalise"]) {
    this.#streams = streams;
    this.#wanted = wanted;
    this.#penalise = penalise;
    if ("exactly" in wanted.length) this.#bytes = new Uint8Array(wanted.length.exactly);
  }

  get receivedBytes(): number {
    return this.#receivedBytes;
  }

  /** As `from`, with nothing of what others gave. */
  fromAlone(source: PeerId, signal: AbortSignal): Promise<Uint8Array | undefined> {
    this.#restart();
    return this.from(source, signal);
  }

  /** The whole, if `source` could complete it; else undefined, with the reason in `attempts`. Throws only on abort. */
  async from(source: PeerId, signal: AbortSignal): Promise<Uint8Array | undefined> {
    if (this.#liars.has(source)) return undefined;
    const { contentId, what } = this.#wanted;
    try {
      await this.#pull(source, signal);
    } catch (error) {
      signal.throwIfAborted();
      this.attempts.push(`${source}: ${reasonOf(error)}`);
      return undefined;
    }
    const bytes = this.#bytes;
    if (bytes === undefined || this.#receivedBytes < bytes.byteLength) {
      this.attempts.push(`${source}: does not have it`);
      return undefined;
    }
    if ((await sha256HexInTurns(bytes)) === contentId) return bytes;
    this.sawWrongHash = true;
    this.attempts.push(`${source}: wrong hash`);
    if (this.#givers.size === 1) {
      this.#liars.add(source);
      this.#penalise(source, "hash-mismatch", `${what} ${contentId} has another hash`);
    } else {
      this.needsSingleSources = true;
    }
    this.#restart();
    return undefined;
  }

  #restart(): void {
    this.#receivedBytes = 0;
    this.#givers.clear();
    if ("atMost" in this.#wanted.length) this.#bytes = undefined;
  }

  async #pull(source: PeerId, signal: AbortSignal): Promise<void> {
    const { stream, opening, length } = this.#wanted;
    const limitBytes = "exactly" in length ? length.exactly : length.atMost;
    const missing = limitBytes - this.#receivedBytes;
    const deadlineMs = TRANSFER_BASE_MS + Math.ceil((missing / SLOWEST_BYTES_PER_SECOND) * 1000);
    let next = 0;
    let count = 0;
    let chunkBytes = 0;
    let bytes: Uint8Array = new Uint8Array();
    await pullBulk(
      this.#streams,
      source,
      stream,
      opening,
      {
        accept: (head) => {
          bytes = this.#draftOf(head.lengthBytes, source);
          chunkBytes = head.chunkBytes;
          count = chunkCount(head);
          // Another source may cut differently: resume at the last whole chunk of this one.
          next = Math.floor(this.#receivedBytes / chunkBytes);
          this.#receivedBytes = next * chunkBytes;
        },
        next: () => (next < count ? next++ : undefined),
        receive: (index, chunk) => {
          bytes.set(chunk, index * chunkBytes);
          this.#receivedBytes = index * chunkBytes + chunk.byteLength;
          this.#givers.add(source);
          this.#wanted.onProgress?.(this.#receivedBytes, bytes.byteLength);
        },
      },
      within(signal, deadlineMs),
    );
  }

  /** Where the bytes go, once a source has said how many there are. Throws where that cannot be. */
  #draftOf(lengthBytes: number, source: PeerId): Uint8Array {
    const { length } = this.#wanted;
    const refuse = (why: string): never => {
      throw new NetworkError("PEER_MISBEHAVED", `${source} offers ${why}.`, { peer: source });
    };
    if ("exactly" in length && lengthBytes !== length.exactly) refuse("another length than announced");
    if ("atMost" in length && (lengthBytes === 0 || lengthBytes > length.atMost)) {
      refuse(`${lengthBytes} bytes, at most ${length.atMost} are taken`);
    }
    if (this.#bytes !== undefined && this.#bytes.byteLength !== lengthBytes && this.#givers.size > 0) {
      // One of the two lies about the length: each gets a try of its own.
      this.needsSingleSources = true;
      refuse("another length than the one before");
    }
    if (this.#bytes?.byteLength !== lengthBytes) this.#bytes = new Uint8Array(lengthBytes);
    return this.#bytes;
  }
}
