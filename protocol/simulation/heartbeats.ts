// Which heartbeats of a large or slow swarm need not be delivered one by one. A round of ten minutes has three hundred for
// each pair of peers, and nearly all say what both sides know: of those every fourth is delivered, and surely, for one of
// any four arrives. Where two peers do not hold the same updates every one is, because it starts anti-entropy.
import type { PeerId, Presence } from "../core/types.ts";

/** Four heartbeats are less than the time after which a silent peer counts as gone. */
const THINNED_TO = 4;
/** As long as someone new has not heard everyone, all are delivered. */
const ALL_NEW_MS = 10_000;

interface Told {
  readonly what: string;
  readonly updates: string;
  readonly repeats: number;
}

export interface Thinning {
  /** It says something new, or it is a fourth one. */
  readonly isDue: boolean;
  readonly standsForMore: boolean;
}

const SELDOM: Thinning = { isDue: true, standsForMore: false };

export class Heartbeats {
  readonly #told = new Map<PeerId, Told>();
  #newcomerMs = Number.NEGATIVE_INFINITY;

  newcomer(nowMs: number): void {
    this.#newcomerMs = nowMs;
  }

  hear(presence: Presence, nowMs: number): Thinning {
    const { author, phase, round, root, closedRound, closedRoot, openUpdates, leaving, intervalMs } =
      presence;
    // Who speaks seldom is counted by how often it is heard.
    if (intervalMs !== undefined) {
      this.#told.delete(author);
      return SELDOM;
    }
    const updates = `${closedRound}/${openUpdates}`;
    const what = `${phase}/${round}/${root}/${closedRoot}/${updates}/${leaving}`;
    const told = this.#told.get(author);
    const isRepeated = told?.what === what && nowMs - this.#newcomerMs > ALL_NEW_MS;
    const repeats = isRepeated ? told.repeats + 1 : 0;
    this.#told.set(author, { what, updates, repeats });
    return { isDue: repeats % THINNED_TO === 0, standsForMore: repeats > 0 };
  }

  /** Whether two peers have last said that they hold the same updates. */
  agree(a: PeerId, b: PeerId): boolean {
    const told = this.#told.get(a);
    return told !== undefined && told.updates === this.#told.get(b)?.updates;
  }

  forget(peer: PeerId): void {
    this.#told.delete(peer);
  }
}
