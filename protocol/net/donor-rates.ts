// How fast peers gave tiles before, so that the next transfer begins with the best; and which closed body each announces,
// so that it begins with those that have it. Memory of one run, bounded.
import type { BodyRoot, PeerId, Presence } from "../core/types.ts";

const MAX_PEERS = 1024;

interface Known {
  readonly closedRound: number;
  readonly closedRoot: BodyRoot;
}

export class DonorRates {
  readonly #rates = new Map<PeerId, number>();
  readonly #closed = new Map<PeerId, Known>();

  announced({ author, closedRound, closedRoot }: Presence): void {
    remember(this.#closed, author, { closedRound, closedRoot });
  }

  measured(peer: PeerId, bytesPerSecond: number): void {
    remember(this.#rates, peer, bytesPerSecond);
  }

  forget(peer: PeerId): void {
    this.#closed.delete(peer);
  }

  /**
   * Those of `peers` that may serve the body `root` of `closedRound`, best first: who announces it before who might have it
   * all the same, the faster first. Left out: who has not come that far. Unknown rates rank as the mean of the known.
   */
  rank(peers: readonly PeerId[], root: BodyRoot, closedRound: number): PeerId[] {
    const rates = [...this.#rates.values()];
    const mean = rates.length === 0 ? 0 : rates.reduce((sum, rate) => sum + rate, 0) / rates.length;
    const announces = (peer: PeerId) => Number(this.#closed.get(peer)?.closedRoot === root);
    const rate = (peer: PeerId) => this.#rates.get(peer) ?? mean;
    return peers
      .filter((peer) => (this.#closed.get(peer)?.closedRound ?? closedRound) >= closedRound)
      .sort((a, b) => announces(b) - announces(a) || rate(b) - rate(a));
  }
}

function remember<Value>(map: Map<PeerId, Value>, peer: PeerId, value: Value): void {
  map.delete(peer);
  map.set(peer, value);
  if (map.size <= MAX_PEERS) return;
  const oldest = map.keys().next().value;
  if (oldest !== undefined) map.delete(oldest);
}
