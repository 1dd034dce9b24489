// This peer's own recent updates and its residual: the books of error feedback. The invariant: what an own update
// carries is in the body if the log has it and no closed round has left it out, and in the residual if not. So whichever body this peer adopts, and however
// often, body + residual hold everything it has trained, once.
import type { ContentId, SignedUpdate } from "../core/types.ts";
import type { ResidualMove } from "./arithmetic.ts";

/**
 * Own updates of this many closed rounds can still move between body and residual. Whoever was in the smaller part of
 * a divided network does not know it, however many agreed there: only time makes an update final.
 */
export const PENDING_OWN_ROUNDS = 16;

/** An update's key (core/update-set.ts). */
type KeyOf = (update: SignedUpdate) => string;

export class OwnUpdates {
  #residual: Float32Array;
  #pending: readonly SignedUpdate[];
  readonly #keyOf: KeyOf;

  constructor(residual: Float32Array, pending: readonly SignedUpdate[], keyOf: KeyOf) {
    this.#residual = residual;
    this.#pending = pending;
    this.#keyOf = keyOf;
  }

  /** Flat, in layout order. Replaced, never overwritten: a checkpoint may hold it. */
  get residual(): Float32Array {
    return this.#residual;
  }

  get pending(): readonly SignedUpdate[] {
    return this.#pending;
  }

  /** An own update that counts now; `residual` is what compression left. */
  add(update: SignedUpdate, residual: Float32Array): void {
    this.#pending = [...this.#pending, update];
    this.#residual = residual;
  }

  forgetBefore(round: number): void {
    this.#pending = this.#pending.filter(({ announcement }) => announcement.round >= round);
  }

  /** The pending updates that `log` carries, by key. */
  keysIn(log: { carries(key: string): boolean }): ReadonlySet<string> {
    return new Set(this.#pending.map(this.#keyOf).filter((key) => log.carries(key)));
  }

  /**
   * Balances the books after the log has changed from `before` to `after` (keys): what left it goes into the residual,
   * what came back is taken out again. `moved` gives a residual with the update of a payload in or out, undefined where
   * the payload is lost. Returns how many went into the residual.
   */
  async balance(
    before: ReadonlySet<string>,
    after: ReadonlySet<string>,
    moved: (
      residual: Float32Array,
      payload: ContentId,
      move: ResidualMove,
    ) => Promise<Float32Array | undefined>,
  ): Promise<number> {
    let returned = 0;
    for (const update of this.#pending) {
      const key = this.#keyOf(update);
      if (before.has(key) === after.has(key)) continue;
      const move = before.has(key) ? "return" : "withdraw";
      const residual = await moved(this.#residual, update.announcement.payload, move);
      if (residual === undefined) continue;
      this.#residual = residual;
      if (before.has(key)) returned++;
    }
    return returned;
  }
}
