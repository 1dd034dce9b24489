// A network on a virtual clock: seeded latency, loss, duplication and reordering of gossip, partitions, unanswered
// requests. Implements NetworkPort with the checks a real one owes (length and hash of payloads, tiles and roots).
import { hexSha256 } from "../core/hash.ts";
import { rootOfTiles, tileCount, writeTile } from "../core/merkle.ts";
import type {
  Offence,
  PeerId,
  Presence,
  SignedUpdate,
  SnapshotManifest,
  UpdateAnnouncement,
} from "../core/types.ts";
import { sha256 } from "../net/hash.ts";
import type { ClockPort, NetworkListener, NetworkPort, ServedContent } from "../ports.ts";
import type { Power } from "./power.ts";
import { seededRandom } from "./random.ts";

export interface Conditions {
  /** One way, uniform between the two: messages overtake each other. */
  latencyMs: readonly [number, number];
  /** Share of gossip messages, and of requests, that vanish. */
  loss: number;
  /** Share of gossip messages that arrive twice. */
  duplication: number;
}

export const GOOD_CONDITIONS: Conditions = { latencyMs: [5, 40], loss: 0, duplication: 0 };

/** A vanished request is given up after this. */
const REQUEST_TIMEOUT_MS = 2_000;

export interface Station {
  readonly listener: NetworkListener;
  readonly content: ServedContent;
}

export interface Penalty {
  readonly by: PeerId;
  readonly peer: PeerId;
  readonly offence: Offence;
  readonly detail: string;
}

export class SimulatedNetwork {
  readonly conditions: Conditions;
  readonly penalties: Penalty[] = [];
  readonly #clock: ClockPort;
  readonly #random: () => number;
  readonly #bodyValues: number;
  readonly #stations = new Map<PeerId, Station>();
  #groups: readonly ReadonlySet<PeerId>[] = [];

  constructor(clock: ClockPort, seed: number, bodyValues: number, conditions = GOOD_CONDITIONS) {
    this.#clock = clock;
    this.#random = seededRandom(seed);
    this.#bodyValues = bodyValues;
    this.conditions = { ...conditions };
  }

  /** Plugs a peer in; everyone hears that it is connected. */
  plug(peer: PeerId, station: Station): void {
    this.#stations.set(peer, station);
    for (const [other, { listener }] of this.#stations) {
      if (other === peer || !this.reachable(peer, other)) continue;
      listener.onPeerConnected(peer);
      station.listener.onPeerConnected(other);
    }
  }

  unplug(peer: PeerId): void {
    this.#stations.delete(peer);
    for (const { listener } of this.#stations.values()) listener.onPeerDisconnected(peer);
  }

  /** Only peers of the same group reach each other; without groups everyone does. */
  partition(...groups: readonly (readonly PeerId[])[]): void {
    this.#groups = groups.map((group) => new Set(group));
  }

  reachable(a: PeerId, b: PeerId): boolean {
    return this.#groups.length === 0 || this.#groups.some((group) => group.has(a) && group.has(b));
  }

  port(self: PeerId, power: Power): NetworkPort {
    return {
      self,
      signUpdate: async (announcement) => signed(announcement),
      publishUpdate: async (update) => {
        if (power.on) this.#gossip(self, ({ listener }) => listener.onUpdate(update, self));
      },
      publishPresence: async (presence: Presence) => {
        if (power.on) this.#gossip(self, ({ listener }) => listener.onPresence(presence, self));
      },
      fetchPayload: (update, holders, signal) =>
        power.through(this.#fetchPayload(self, update, holders, signal)),
      fetchInventory: (peer, fromRound, signal) =>
        power.through(this.#request(self, peer, signal, async (content) => content.inventory(fromRound))),
      fetchSnapshot: (peer, signal, onProgress) =>
        power.through(this.#fetchSnapshot(self, peer, signal, onProgress)),
      penalise: (peer, offence, detail) => {
        this.penalties.push({ by: self, peer, offence, detail });
      },
      connectedPeers: () => [...this.#stations.keys()].filter((peer) => peer !== self),
    };
  }

  #gossip(from: PeerId, deliver: (station: Station) => void): void {
    for (const peer of this.#stations.keys()) {
      if (peer === from) continue;
      const copies = this.#chance(this.conditions.duplication) ? 2 : 1;
      for (let copy = 0; copy < copies; copy++) {
        if (this.#chance(this.conditions.loss)) continue;
        this.#clock.after(this.#latencyMs(), () => {
          const station = this.#stations.get(peer);
          if (station !== undefined && this.reachable(from, peer)) deliver(station);
        });
      }
    }
  }

  async #fetchPayload(
    self: PeerId,
    update: SignedUpdate,
    holders: readonly PeerId[],
    signal: AbortSignal,
  ): Promise<Uint8Array> {
    const { author, payload: id, payloadBytes } = update.announcement;
    for (const holder of new Set([...holders, author])) {
      if (holder === self) continue;
      try {
        const bytes = await this.#request(self, holder, signal, (content) => content.payload(id));
        if (bytes === undefined) continue;
        if (bytes.length === payloadBytes && hexSha256(bytes, sha256) === id) return bytes.slice();
        const detail = `${bytes.length} bytes that are not ${id.slice(0, 12)}`;
        this.penalties.push({ by: self, peer: holder, offence: "hash-mismatch", detail });
      } catch (error) {
        if (signal.aborted) throw error;
      }
    }
    throw new Error(`no holder gave the payload ${id.slice(0, 12)}`);
  }

  async #fetchSnapshot(
    self: PeerId,
    peer: PeerId,
    signal: AbortSignal,
    onProgress: ((bytes: number, totalBytes: number) => void) | undefined,
  ): Promise<{ manifest: SnapshotManifest; body: Float32Array }> {
    const manifest = await this.#request(self, peer, signal, async (content) => content.snapshot());
    if (manifest === undefined) throw new Error("nothing to serve yet");
    if (manifest.tiles.length !== tileCount(this.#bodyValues)) throw new Error("a body of another size");
    if (rootOfTiles(manifest.tiles, sha256) !== manifest.root) throw new Error("tiles are not the root's");
    const body = new Float32Array(this.#bodyValues);
    for (const [index, id] of manifest.tiles.entries()) {
      const tile = await this.#request(self, peer, signal, async (content) =>
        content.tile(manifest.root, index),
      );
      if (tile === undefined || hexSha256(tile, sha256) !== id || !writeTile(body, index, tile)) {
        throw new Error(`tile ${index} is missing or wrong`);
      }
      onProgress?.((index + 1) * tile.length, 4 * body.length);
    }
    return { manifest, body };
  }

  async #request<Answer>(
    self: PeerId,
    peer: PeerId,
    signal: AbortSignal,
    answer: (content: ServedContent) => Promise<Answer>,
  ): Promise<Answer> {
    signal.throwIfAborted();
    const station = this.#stations.get(peer);
    const lost = station === undefined || !this.reachable(self, peer) || this.#chance(this.conditions.loss);
    await this.#wait(lost ? REQUEST_TIMEOUT_MS : this.#latencyMs(), signal);
    if (lost || this.#stations.get(peer) !== station) throw new Error(`${peer} does not answer`);
    const answered = await answer(station.content);
    await this.#wait(this.#latencyMs(), signal);
    if (!this.reachable(self, peer)) throw new Error(`${peer} is gone`);
    return answered;
  }

  #wait(delayMs: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const abort = () => {
        cancel();
        reject(signal.reason);
      };
      const cancel = this.#clock.after(delayMs, () => {
        signal.removeEventListener("abort", abort);
        resolve();
      });
      signal.addEventListener("abort", abort, { once: true });
    });
  }

  #latencyMs(): number {
    const [least, most] = this.conditions.latencyMs;
    return least + this.#random() * (most - least);
  }

  #chance(probability: number): boolean {
    return probability > 0 && this.#random() < probability;
  }
}

/** A simulation has no keys: the network itself lets nobody speak for another. */
export const signed = (announcement: UpdateAnnouncement): SignedUpdate => ({
  announcement,
  envelope: new TextEncoder().encode(`${announcement.author}/${announcement.payload}`),
});
