// How fast a body comes, against how fast rounds go by: says why one was not to be had, where that is why.
import type { PeerId } from "../core/types.ts";
import { BodyOutrunError } from "../errors.ts";
import type { DriverContext } from "./context.ts";
import { REMEMBERED_ROUNDS } from "./update-log.ts";

export class BodyProgress {
  readonly #context: DriverContext;
  readonly #donor: PeerId;
  readonly #startedMs: number;
  #fromRound: number | undefined;
  #bytes = 0;
  #totalBytes = 0;

  constructor(context: DriverContext, donor: PeerId) {
    this.#context = context;
    this.#donor = donor;
    this.#startedMs = context.modules.clock.nowMs();
  }

  begin(closedRound: number): void {
    this.#fromRound = closedRound;
  }

  advance(bytes: number, totalBytes: number): void {
    this.#bytes = bytes;
    this.#totalBytes = totalBytes;
  }

  /** The error that ended the fetch, or what was behind it: more rounds than peers remember have closed meanwhile. */
  explained(error: unknown): unknown {
    const { state, modules } = this.#context;
    const newest = state().members.get(this.#donor)?.presence.closedRound ?? 0;
    const rounds = newest - (this.#fromRound ?? newest);
    if (rounds < REMEMBERED_ROUNDS || this.#bytes === 0) return error;
    const seconds = (modules.clock.nowMs() - this.#startedMs) / 1_000;
    return new BodyOutrunError({
      bodyBytes: this.#totalBytes,
      bytesPerSecond: this.#bytes / seconds,
      rounds,
      roundSeconds: seconds / rounds,
      rememberedRounds: REMEMBERED_ROUNDS,
      cause: error,
    });
  }
}
