// A peer that says whatever the wire lets through, drawn by seed: numbers at the edges of what is valid, ids of others and again its
// own, bodies and logs that lead nowhere. It follows no rule; the others are to go on as if it were not there.
import { hexSha256 } from "../core/hash.ts";
import { rootOfTiles, tileBytes, tileIds } from "../core/merkle.ts";
import {
  type BodyRoot,
  type ContentId,
  NO_BODY,
  type PeerId,
  type Phase,
  type SignedUpdate,
  type SnapshotManifest,
} from "../core/types.ts";
import { sha256 } from "../net/hash.ts";
import type { NetworkPort, ServedContent } from "../ports.ts";
import { Power } from "../simulation/power.ts";
import { seededRandom, seedOf } from "../simulation/random.ts";
import { signed } from "../simulation/simulated-network.ts";
import { RUN_ID, type Swarm } from "./swarm.ts";

const MAX_ROUND = 2 ** 31 - 1;
const MAX_COUNT = Number.MAX_SAFE_INTEGER;
const PHASES: readonly Phase[] = [
  ...(["waiting", "syncing", "warming", "training", "collecting", "settling", "done"] as const),
];
const SPEAKS_EVERY_MS = 120;

export class Hostile {
  readonly id: PeerId;
  readonly #swarm: Swarm;
  readonly #port: NetworkPort;
  readonly #random: () => number;
  readonly #payloads = new Map<ContentId, Uint8Array>();
  #sequence = 0;

  constructor(swarm: Swarm, id: PeerId, seed: number) {
    this.#swarm = swarm;
    this.id = id;
    this.#random = seededRandom(seedOf("hostile", id, seed));
    this.#port = swarm.network.port(id, new Power());
    const ignore = () => {};
    swarm.network.plug(id, {
      listener: {
        onUpdate: ignore,
        onPresence: ignore,
        onPeerConnected: ignore,
        onPeerDisconnected: ignore,
      },
      content: this.#content(),
    });
    this.#live();
  }

  #oneOf<T>(...items: readonly T[]): T {
    return items[Math.floor(items.length * this.#random())]!;
  }

  #live(): void {
    void this.#port.publishPresence(this.#presence());
    for (let left = this.#oneOf(0, 0, 1, 3); left > 0; left--) void this.#port.publishUpdate(this.#update());
    this.#swarm.clock.after(SPEAKS_EVERY_MS * (0.5 + this.#random()), () => this.#live());
  }

  /** Where the others are, near it, or anywhere. */
  #round(): number {
    const here = Math.max(0, ...this.#swarm.list.map(({ round }) => round));
    return this.#oneOf(
      here,
      here,
      here + 1,
      Math.max(0, here - 1),
      here + 2,
      here + 3,
      0,
      2 ** 20,
      MAX_ROUND,
    );
  }

  #root(): BodyRoot {
    const { root, closedRoot } = this.#honest().driver.status();
    const noise = hexSha256(Uint8Array.of(256 * this.#random()), sha256);
    return this.#oneOf(root, closedRoot, noise, NO_BODY, this.#snapshot().root);
  }

  #honest() {
    return this.#oneOf(...this.#swarm.list);
  }

  #presence() {
    const round = this.#round();
    return {
      runId: RUN_ID,
      author: this.id,
      name: this.id,
      sequence: this.#oneOf(++this.#sequence, this.#sequence, 0),
      phase: this.#oneOf(...PHASES),
      round,
      root: this.#root(),
      closedRound: this.#oneOf(round, Math.max(0, round - 1), this.#round()),
      closedRoot: this.#root(),
      openUpdates: this.#root(),
      step: this.#oneOf(0, 1, MAX_ROUND),
      steps: this.#oneOf(0, 4, MAX_ROUND),
      bitsPerByte: this.#oneOf(0, 1, Number.MAX_VALUE),
      leaving: this.#random() < 0.05,
      intervalMs: this.#oneOf(undefined, undefined, 2_001, 3_600_000),
    };
  }

  #update(): SignedUpdate {
    const { layout, codec } = this.#swarm;
    const value = this.#oneOf(0, 0.001, -4, 4);
    const payload = codec.encode(new Float32Array(layout.total).fill(value));
    if (this.#random() < 0.3)
      payload[Math.floor(payload.length * this.#random())]! ^= 1 << (8 * this.#random());
    const bytes = payload.subarray(0, this.#oneOf(payload.length, payload.length, payload.length - 1));
    const id = hexSha256(bytes, sha256);
    this.#payloads.set(id, bytes.slice());
    return signed({
      runId: this.#random() < 0.05 ? "cd".repeat(32) : RUN_ID,
      round: this.#round(),
      author: this.id,
      payload: this.#oneOf(id, id, id, this.#root()),
      payloadBytes: this.#oneOf(bytes.length, bytes.length, bytes.length, 1, MAX_ROUND),
      baseRoot: this.#root(),
      tokens: this.#oneOf(0, 400, MAX_COUNT),
      lossNatsPerToken: this.#oneOf(0, 1, Number.MAX_VALUE),
      bitsPerByte: this.#oneOf(0, 1, Number.MAX_VALUE),
      ...(this.#random() < 0.3 && { probation: this.#oneOf(1, 16, MAX_ROUND) }),
    });
  }

  #content(): ServedContent {
    return {
      payload: async (id) => this.#oneOf(this.#payloads.get(id), Uint8Array.of(1, 2, 3), undefined),
      inventory: (fromRound) => this.#inventory(fromRound),
      closedRoots: () => {
        const from = this.#round();
        const several = Array.from(
          { length: this.#oneOf(0, 1, 33) },
          (_, at) => [from + at, this.#root()] as const,
        );
        return new Map(several);
      },
      isOpposed: () => this.#random() < 0.5,
      snapshot: () => this.#oneOf(undefined, this.#snapshot(), this.#snapshot()),
      tile: (_, index) => this.#oneOf(tileBytes(this.#body(), index), new Uint8Array(7), undefined),
      offer: async () => this.#random() < 0.5,
    };
  }

  /** Of others, in order or not, again and again. */
  #inventory(fromRound: number): readonly SignedUpdate[] {
    const theirs = this.#honest().driver.content.inventory(this.#oneOf(0, fromRound));
    const own = Array.from({ length: this.#oneOf(0, 1, 40) }, () => this.#update());
    return this.#oneOf(theirs, theirs.toReversed(), [...theirs, ...own], [...own, ...theirs, ...theirs]);
  }

  #body(): Float32Array {
    return this.#swarm.genesis.toReversed();
  }

  #snapshot(): SnapshotManifest {
    const tiles = tileIds(this.#body(), sha256);
    const closedRound =
      this.#random() < 0.2 ? this.#oneOf(0, MAX_ROUND, MAX_ROUND - 1) : this.#oneOf(3, 2 ** 20);
    const given = this.#oneOf(tiles, [...tiles, ...tiles]);
    return { runId: RUN_ID, closedRound, root: rootOfTiles(tiles, sha256), tiles: given, updates: [] };
  }
}
