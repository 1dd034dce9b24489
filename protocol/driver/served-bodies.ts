// Closed bodies that others may fetch: the newest two, and those that somebody is in the midst of fetching while rounds move
// on. Bounded in number; what a peer on a slow link has begun is let go only for those who began earlier.
import type { BodyRoot } from "../core/types.ts";
import type { DescribedBody } from "./arithmetic.ts";
import { REMEMBERED_ROUNDS } from "./update-log.ts";

export type ClosedBody = DescribedBody & { readonly round: number };

/** A body that no tile has been asked of for so long is nobody's. */
export const LENT_MS = 60_000;
/** Whoever has fetched one goes on with the payloads of the rounds since, for so long. */
export const REPLAYED_MS = 600_000;
/** Older than the newest two; 4 bytes for each of its values. */
export const MAX_LENT = 2;
/** Older ones are let go whoever asks for them, so that nobody holds on to them for ever. */
const MAX_AGE_ROUNDS = 256;

export class ServedBodies {
  readonly #nowMs: () => number;
  /** Oldest first. */
  #bodies: readonly ClosedBody[] = [];
  /** When a tile of the body at the start of each round was last asked for. */
  readonly #askedMs = new Map<number, number>();

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** The newest closed body: the ones before it are the bodies of earlier rounds. */
  add(body: ClosedBody): void {
    const older = this.#bodies.filter(({ round }) => round < body.round);
    const before = older.slice(-1);
    const lent = older
      .slice(0, -1)
      .filter(({ round }) => round > body.round - MAX_AGE_ROUNDS && this.#wasAsked(round, LENT_MS))
      .slice(0, MAX_LENT);
    this.#bodies = [...lent, ...before, body];
    for (const round of [...this.#askedMs.keys()]) {
      if (round <= body.round - MAX_AGE_ROUNDS || !this.#wasAsked(round, REPLAYED_MS))
        this.#askedMs.delete(round);
    }
  }

  /** Another body has been taken over: those before it lead nowhere. */
  clear(): void {
    this.#bodies = [];
    this.#askedMs.clear();
  }

  /** The body with this root, of which a tile is asked for. */
  lend(root: BodyRoot): ClosedBody | undefined {
    const body = this.#bodies.find((served) => served.root === root);
    if (body !== undefined) this.#askedMs.set(body.round, this.#nowMs());
    return body;
  }

  /** First round whose payloads somebody may still need who has fetched a body here. */
  get oldestRound(): number {
    const newest = this.#bodies.at(-1)?.round ?? 0;
    // Whoever takes longer for a body fetches payloads as their rounds close.
    return Math.max(Math.min(...this.#askedMs.keys()), newest - REMEMBERED_ROUNDS + 1);
  }

  #wasAsked(round: number, withinMs: number): boolean {
    return this.#nowMs() - (this.#askedMs.get(round) ?? Number.NEGATIVE_INFINITY) < withinMs;
  }
}
