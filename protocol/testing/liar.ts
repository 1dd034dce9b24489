// A peer that lies: it repeats the presence of an honest peer, so that everyone waits for it, and in each round
// announces one bad update of the kind it was made for.
import { hexSha256 } from "../core/hash.ts";
import { rootOfTiles, tileBytes, tileIds } from "../core/merkle.ts";
import type { ContentId, Offence, PeerId, SignedUpdate, SnapshotManifest } from "../core/types.ts";
import { sha256 } from "../net/hash.ts";
import type { NetworkPort } from "../ports.ts";
import { Power } from "../simulation/power.ts";
import { signed } from "../simulation/simulated-network.ts";
import { RUN_ID, type Swarm, type SwarmPeer } from "./swarm.ts";

export type Lie =
  | "garbage-payload"
  | "wrong-hash"
  | "not-a-number"
  | "oversized"
  | "silent"
  | "far-future"
  | "far-ahead"
  | "equivocation"
  /** One payload, announced with more and with fewer tokens. */
  | "two-weights"
  /** In variant trim. */
  | "broken-rows"
  /** Serves a body of its own making as the one at round 0. */
  | "other-body"
  /** And as one at the last round that a message can name, with a log that leads to it. */
  | "last-round";

/** What each lie costs whoever tells it; nothing where it cannot be told from bad luck. */
export const OFFENCE_OF: { readonly [L in Lie]: Offence | undefined } = {
  "garbage-payload": "undecodable-payload",
  "wrong-hash": "hash-mismatch",
  "not-a-number": "non-finite-update",
  oversized: "oversized",
  silent: undefined,
  "far-future": undefined,
  "far-ahead": undefined,
  equivocation: "equivocation",
  "two-weights": "equivocation",
  "broken-rows": "undecodable-payload",
  // Whoever asks may have been told the wrong root: it is distrusted, not charged.
  "other-body": undefined,
  "last-round": undefined,
};

const PRESENCE_MS = 500;
const MAX_ROUND = 2 ** 31 - 1;

export class Liar {
  readonly id: PeerId;
  readonly payloads = new Map<ContentId, Uint8Array>();
  readonly announced: SignedUpdate[] = [];
  readonly #swarm: Swarm;
  readonly #lie: Lie;
  readonly #victim: SwarmPeer;
  readonly #port: NetworkPort;
  #sequence = 0;
  #liedRound = -1;

  constructor(swarm: Swarm, id: PeerId, lie: Lie, victim: SwarmPeer) {
    this.#swarm = swarm;
    this.id = id;
    this.#lie = lie;
    this.#victim = victim;
    this.#port = swarm.network.port(id, new Power());
    swarm.network.plug(id, {
      listener: {
        onUpdate: () => {},
        onPresence: () => {},
        onPeerConnected: () => {},
        onPeerDisconnected: () => {},
      },
      content: {
        payload: async (content) => this.payloads.get(content),
        inventory: () => [],
        closedRoots: () => {
          const { closedRound, root } = this.#otherBody();
          return new Map(lie === "last-round" ? [[closedRound, root]] : []);
        },
        snapshot: () => (lie === "other-body" || lie === "last-round" ? this.#otherBody() : undefined),
        tile: (_, index) => tileBytes(this.#swarm.genesis.toReversed(), index),
      },
    });
    this.#live();
  }

  #live(): void {
    const { round } = this.#victim.driver.status();
    void this.#tellPresence(round);
    if (round > this.#liedRound) {
      this.#liedRound = round;
      const updates = this.#updates(round);
      this.announced.push(...updates);
      for (const update of updates) void this.#port.publishUpdate(update);
    }
    this.#swarm.clock.after(PRESENCE_MS, () => this.#live());
  }

  async #tellPresence(round: number): Promise<void> {
    const { root, closedRound, closedRoot, openUpdates } = this.#victim.driver.status();
    const last = this.#lie === "last-round" ? MAX_ROUND - round : 0;
    const ahead = this.#lie === "far-ahead" ? 1_000 : last;
    await this.#port.publishPresence({
      runId: RUN_ID,
      author: this.id,
      name: this.id,
      sequence: this.#sequence++,
      phase: "training",
      round: round + ahead,
      root,
      closedRound: this.#lie === "last-round" ? MAX_ROUND : closedRound + ahead,
      closedRoot: this.#lie === "last-round" ? this.#otherBody().root : closedRoot,
      openUpdates,
      step: 0,
      steps: 1,
      bitsPerByte: 1,
      leaving: false,
    });
  }

  #updates(round: number): SignedUpdate[] {
    switch (this.#lie) {
      case "garbage-payload":
        return [this.#update(round, Uint8Array.of(1, 2, 3, round))];
      case "wrong-hash": {
        const update = this.#update(round, this.#payload(0.001));
        this.payloads.set(update.announcement.payload, this.#payload(0.5));
        return [update];
      }
      case "not-a-number": {
        const payload = this.#payload(0.001);
        // The scales and vectors follow the 24-byte header as float32.
        new DataView(payload.buffer).setFloat32(24, Number.NaN, true);
        return [this.#update(round, payload)];
      }
      case "broken-rows": {
        // Says of itself that its rows are longer than they are.
        const payload = this.#payload(0.001, Int32Array.of(1, 2, round % 3 === 0 ? 3 : 4));
        payload[payload.length - 4]! += 1;
        return [this.#update(round, payload)];
      }
      case "oversized": {
        const { announcement } = this.#update(round, this.#payload(0.001));
        return [signed({ ...announcement, payloadBytes: announcement.payloadBytes * 100 })];
      }
      case "silent":
      case "far-ahead":
      case "last-round":
      case "other-body":
        return [];
      case "far-future":
        return Array.from({ length: 50 }, (_, ahead) =>
          this.#update(round + 3 + ahead, this.#payload(0.001)),
        );
      case "equivocation":
        return [this.#update(round, this.#payload(0.001)), this.#update(round, this.#payload(-0.002))];
      case "two-weights": {
        const payload = this.#payload(0.001);
        return [400, 8_000].map((tokens) => this.#update(round, payload, tokens));
      }
    }
  }

  #otherBody(): SnapshotManifest {
    const tiles = tileIds(this.#swarm.genesis.toReversed(), sha256);
    const closedRound = this.#lie === "last-round" ? MAX_ROUND : 0;
    return { runId: RUN_ID, closedRound, root: rootOfTiles(tiles, sha256), tiles, updates: [] };
  }

  #payload(value: number, rows?: Int32Array): Uint8Array {
    const { layout, codec } = this.#swarm;
    return codec.encode(new Float32Array(layout.total).fill(value), rows);
  }

  #update(round: number, payload: Uint8Array, tokens = 400): SignedUpdate {
    const id = hexSha256(payload, sha256);
    this.payloads.set(id, payload);
    return signed({
      runId: RUN_ID,
      round,
      author: this.id,
      payload: id,
      payloadBytes: payload.length,
      baseRoot: "00".repeat(32),
      tokens,
      lossNatsPerToken: 1,
      bitsPerByte: 1,
    });
  }
}
