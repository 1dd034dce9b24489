// Where the peers of one run may be found: hints from peer exchange, kept for a while, bounded, newest first.
// Used by a peer for its own run and by the rendezvous for each run it serves. Addresses are never trusted: a dial
// proves them.
import type { PeerId } from "../core/types.ts";
import type { ClockPort } from "../ports.ts";
import type { PeerRecord } from "../wire/exchange.ts";
import { MAX_ADDRESSES_PER_PEER, MAX_PEERS_PER_EXCHANGE } from "../wire/exchange.ts";
import { parseAddress } from "./addresses.ts";

export interface DirectoryBounds {
  readonly maxPeers: number;
  /** A peer not heard of for this long is forgotten. */
  readonly lifetimeMs: number;
}

interface Entry {
  addresses: readonly string[];
  /** When anybody last told us of it. */
  toldMs: number;
  /** When it last spoke to us itself; -Infinity if never. */
  metMs: number;
}

export class PeerDirectory {
  readonly #bounds: DirectoryBounds;
  readonly #clock: ClockPort;
  /** Ordered by last sighting, oldest first. */
  readonly #entries = new Map<PeerId, Entry>();

  constructor(bounds: DirectoryBounds, clock: ClockPort) {
    this.#bounds = bounds;
    this.#clock = clock;
  }

  /** The peer itself says where it is: replaces what others said. */
  introduce({ peer, addresses }: PeerRecord): void {
    const nowMs = this.#clock.nowMs();
    const usable = usableAddresses(peer, addresses);
    const known = this.#entries.get(peer)?.addresses ?? [];
    this.#put(peer, { addresses: usable.length > 0 ? usable : known, toldMs: nowMs, metMs: nowMs });
  }

  /** Somebody says where `peer` is: adds to what is known, but never outranks it. */
  mention({ peer, addresses }: PeerRecord): void {
    const known = this.#entries.get(peer);
    const merged = new Set([...(known?.addresses ?? []), ...usableAddresses(peer, addresses)]);
    if (merged.size === 0) return;
    const limited = [...merged].slice(0, MAX_ADDRESSES_PER_PEER);
    // A peer that only hearsay keeps alive must expire, so being mentioned again does not renew it.
    if (known !== undefined) known.addresses = limited;
    else
      this.#put(peer, { addresses: limited, toldMs: this.#clock.nowMs(), metMs: Number.NEGATIVE_INFINITY });
  }

  /** We have just spoken to `peer`. */
  confirm(peer: PeerId): void {
    const known = this.#entries.get(peer);
    if (known !== undefined) this.introduce({ peer, addresses: known.addresses });
  }

  forget(peer: PeerId): void {
    this.#entries.delete(peer);
  }

  /** Everyone known, newest sighting first. */
  all(): readonly PeerRecord[] {
    this.#expire();
    return [...this.#entries].map(([peer, { addresses }]) => ({ peer, addresses })).reverse();
  }

  /**
   * What to tell `asker`: only peers we have met ourselves, newest first, or the dead would be handed round for ever;
   * and as many as one answer may hold.
   */
  answerFor(asker: PeerId): readonly PeerRecord[] {
    const metAfterMs = this.#clock.nowMs() - this.#bounds.lifetimeMs;
    return this.all()
      .filter(({ peer, addresses }) => {
        const entry = this.#entries.get(peer);
        return peer !== asker && addresses.length > 0 && entry !== undefined && entry.metMs >= metAfterMs;
      })
      .slice(0, MAX_PEERS_PER_EXCHANGE);
  }

  get size(): number {
    this.#expire();
    return this.#entries.size;
  }

  #put(peer: PeerId, entry: Entry): void {
    this.#entries.delete(peer);
    this.#entries.set(peer, entry);
    if (this.#entries.size > this.#bounds.maxPeers) {
      const oldest = this.#entries.keys().next().value;
      if (oldest !== undefined) this.#entries.delete(oldest);
    }
  }

  #expire(): void {
    const limitMs = this.#clock.nowMs() - this.#bounds.lifetimeMs;
    for (const [peer, { toldMs }] of this.#entries) {
      if (toldMs >= limitMs) return;
      this.#entries.delete(peer);
    }
  }
}

/** Addresses that we could dial and that do not name somebody else. */
function usableAddresses(peer: PeerId, addresses: readonly string[]): readonly string[] {
  const usable: string[] = [];
  for (const address of addresses) {
    const target = parseAddress(address);
    if (target !== undefined && (target.peer ?? peer) === peer) usable.push(target.address);
  }
  return usable.slice(0, MAX_ADDRESSES_PER_PEER);
}
