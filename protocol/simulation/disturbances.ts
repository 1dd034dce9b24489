// Faults around single peers: what happens to messages that come from them or go to them.
import type { PeerId } from "../core/types.ts";

/** Faults around one peer, beside the conditions that hold for all. */
export interface Disturbance {
  /** Share of messages to and from it that vanish, and of requests that time out. */
  readonly loss?: number;
  /** Added to every way there or back. */
  readonly delayMs?: number;
  /** Share of gossip messages that arrive twice. */
  readonly duplication?: number;
  /** Share of gossip messages that are late by up to five seconds, so that others overtake them. */
  readonly reordering?: number;
  /** Share of answers with a byte changed. */
  readonly corruption?: number;
}

const REORDER_MS = 5_000;

export class Disturbances {
  readonly #random: () => number;
  readonly #byPeer = new Map<PeerId, Disturbance>();

  constructor(random: () => number) {
    this.#random = random;
  }

  set(peer: PeerId, disturbance: Disturbance | undefined): void {
    if (disturbance === undefined) this.#byPeer.delete(peer);
    else this.#byPeer.set(peer, disturbance);
  }

  /** The larger of both sides' shares. */
  share(kind: Exclude<keyof Disturbance, "delayMs">, a: PeerId, b: PeerId): number {
    if (this.#byPeer.size === 0) return 0;
    return Math.max(this.#byPeer.get(a)?.[kind] ?? 0, this.#byPeer.get(b)?.[kind] ?? 0);
  }

  delayMs(a: PeerId, b: PeerId): number {
    if (this.#byPeer.size === 0) return 0;
    return (this.#byPeer.get(a)?.delayMs ?? 0) + (this.#byPeer.get(b)?.delayMs ?? 0);
  }

  gossipDelayMs(a: PeerId, b: PeerId): number {
    const held = this.chance(this.share("reordering", a, b)) ? this.#random() * REORDER_MS : 0;
    return this.delayMs(a, b) + held;
  }

  /** The bytes of an answer as they arrive: one of them is changed where a fault wants it. */
  delivered(from: PeerId, to: PeerId, bytes: Uint8Array): Uint8Array {
    if (bytes.length === 0 || !this.chance(this.share("corruption", from, to))) return bytes;
    const changed = bytes.slice();
    const at = Math.floor(this.#random() * changed.length);
    changed[at] = changed[at]! ^ (1 + Math.floor(this.#random() * 255));
    return changed;
  }

  chance(probability: number): boolean {
    return probability > 0 && this.#random() < probability;
  }
}
