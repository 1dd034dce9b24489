// A swarm of production drivers on one virtual clock and one simulated network. Peers can be added, crashed, restarted,
// cut off and asked what they have seen. A test instrument.

import { GRID_UNITS, type GridUpdate, gridValues } from "../core/grid.ts";
import { type ParameterLayout, parameterLayout } from "../core/layout.ts";
import { bodyRoot } from "../core/merkle.ts";
import type { ProtocolEvent } from "../core/protocol-events.ts";
import {
  parseRunConfig,
  type RunConfig,
  type RunConfigInput,
  sharesEmbedding,
  type Variant,
} from "../core/run-config.ts";
import { type BodyRoot, NO_BODY, type PeerId, type UpdateAnnouncement } from "../core/types.ts";
import { type UpdateCodec, updateCodec } from "../core/update-codec.ts";
import { createDriver, type Driver, type Outcome } from "../driver.ts";
import { sha256 } from "../net/hash.ts";
import type { UpdateLogPort } from "../ports.ts";
import { MemoryDisk, memoryStore } from "../simulation/memory-store.ts";
import { Power } from "../simulation/power.ts";
import { seededRandom, seedOf } from "../simulation/random.ts";
import { type Conditions, SimulatedNetwork } from "../simulation/simulated-network.ts";
import { VirtualClock } from "../simulation/virtual-clock.ts";
import { type DistantArithmetic, distantArithmetic } from "./distant-arithmetic.ts";
import {
  blankTrainerDisk,
  PseudoTrainer,
  type PseudoTrainerOptions,
  type TrainerDisk,
} from "./pseudo-trainer.ts";

export const RUN_ID = "ab".repeat(32);

const WIDTH = 16;
/** Rows of the embedding in variants that share it. */
export const SWARM_ROWS = 30;
const EMBEDDING = { name: "transformer.wte.weight", shape: [SWARM_ROWS, WIDTH] };
/** Makes the body one of several tiles. */
const BALLAST = { name: "ballast.weight", shape: [200, 1024] };
/** Two matrices and a vector: blocks that end early, a tensor the codec keeps dense. */
const TENSORS = [
  { name: "first.weight", shape: [24, 16] },
  { name: "norm.weight", shape: [16] },
  { name: "second.weight", shape: [16, 20] },
];

export interface SwarmOptions {
  readonly seed?: number;
  readonly conditions?: Partial<Conditions>;
  readonly averaging?: NonNullable<RunConfigInput["averaging"]>;
  readonly localSteps?: number;
  readonly embeddingWarmupSteps?: number;
  readonly variant?: Variant;
  /** The run names its initial body; peers with `lacksModel` have to fetch it. */
  readonly startsFromModel?: boolean;
  /** A body of four tiles instead of one. */
  readonly severalTiles?: boolean;
  /** Virtual milliseconds, from and to, that a call of the arithmetic takes once a peer has started; at once without. */
  readonly arithmeticMs?: readonly [number, number];
}

export interface PeerOptions {
  readonly rounds?: number;
  /** Virtual milliseconds of a local step. */
  readonly stepMs?: number;
  /** Rows that the peer holds in variant trim; all where it is left out. */
  readonly rows?: readonly number[];
  readonly lacksModel?: boolean;
  /** Where its training goes (pseudo-trainer.ts). */
  readonly leaning?: 1 | -1;
  /** Virtual milliseconds, from and to, that a call of its arithmetic takes; the swarm's where it is left out. */
  readonly arithmeticMs?: readonly [number, number];
  /** Is told how the peer's body comes to be, in all its lives. */
  readonly updateLog?: UpdateLogPort;
}

/** One peer through all its lives. */
export class SwarmPeer {
  readonly id: PeerId;
  readonly disk = new MemoryDisk();
  readonly trainerDisk: TrainerDisk;
  readonly events: ProtocolEvent[] = [];
  /** Closed roots by round as this peer held them, the last word on each. */
  readonly closedRoots = new Map<number, BodyRoot>();
  readonly trainerOptions: PseudoTrainerOptions;
  readonly options: PeerOptions;
  /** In variant trim. What is put here counts from the next start. */
  heldRows: Int32Array | undefined;
  driver: Driver;
  power = new Power();
  arithmetic: DistantArithmetic | undefined;
  hasStarted = false;
  outcome: Outcome | undefined;
  failure: unknown;

  constructor(id: PeerId, options: PeerOptions, values: number, localSteps: number, driver: Driver) {
    this.id = id;
    this.options = options;
    this.driver = driver;
    this.trainerDisk = blankTrainerDisk(values);
    this.trainerOptions = { name: id, localSteps, stepMs: options.stepMs ?? 500, scale: 0.002 };
    this.trainerOptions.leaning = options.leaning;
  }

  get round(): number {
    return this.driver.status().round;
  }

  count(type: ProtocolEvent["type"]): number {
    return this.events.filter((event) => event.type === type).length;
  }
}

/** Authors whose update of the round that was just closed is left out of it: what was said since the change of body before. */
function opposedIn(events: readonly ProtocolEvent[], round: number): ReadonlySet<PeerId> {
  const authors = new Set<PeerId>();
  for (const event of events.slice(0, -1).reverse()) {
    if (event.type === "round-applied" || event.type === "healed" || event.type === "synced") break;
    if (event.type === "update-restrained" && event.round === round && event.why === "opposed")
      authors.add(event.author);
  }
  return authors;
}

export class Swarm {
  readonly clock = new VirtualClock();
  readonly layout: ParameterLayout;
  readonly config: RunConfig;
  readonly codec: UpdateCodec;
  readonly network: SimulatedNetwork;
  readonly peers = new Map<PeerId, SwarmPeer>();
  readonly genesis: Float32Array;
  readonly #arithmeticMs: readonly [number, number];
  readonly #paces: () => number;
  /** By closed root: the closed root before it and the updates between the two that were not opposed. */
  readonly #lineage = new Map<BodyRoot, { parent: BodyRoot; updates: UpdateAnnouncement[] }>();

  constructor(options: SwarmOptions = {}) {
    const { seed = 1, conditions, averaging, embeddingWarmupSteps = 2, variant = "spec-opt" } = options;
    const shares = sharesEmbedding({ variant });
    const tensors = options.severalTiles ? [BALLAST, ...TENSORS] : TENSORS;
    this.layout = parameterLayout(shares ? [...tensors, EMBEDDING] : tensors, sha256);
    const random = seededRandom(seed);
    this.genesis = Float32Array.from({ length: this.layout.total }, () => random() - 0.5);
    this.config = parseRunConfig({
      variant,
      ...(variant === "spec-opt" ? {} : { vocabulary: { tokenizer: RUN_ID, size: SWARM_ROWS } }),
      ...(options.startsFromModel ? { initialBody: bodyRoot(this.genesis, sha256) } : {}),
      model: { width: WIDTH },
      training: { localSteps: options.localSteps ?? 4, embeddingWarmupSteps },
      averaging: { maxRoundMs: 30_000, overlap: "off", ...averaging },
    });
    this.#arithmeticMs = options.arithmeticMs ?? [0, 0];
    this.#paces = seededRandom(seedOf("arithmetic", seed));
    const good = { latencyMs: [5, 40], loss: 0, duplication: 0 } as const;
    this.codec = updateCodec(this.config, this.layout);
    this.network = new SimulatedNetwork(this.clock, seed, this.layout.total, { ...good, ...conditions });
  }

  get list(): readonly SwarmPeer[] {
    return [...this.peers.values()];
  }

  peer(id: PeerId): SwarmPeer {
    const peer = this.peers.get(id);
    if (peer === undefined) throw new RangeError(`no peer ${id}`);
    return peer;
  }

  async add(id: PeerId, options: PeerOptions = {}): Promise<SwarmPeer> {
    const { total } = this.layout;
    const peer = new SwarmPeer(id, options, total, this.config.training.localSteps, {} as Driver);
    if (this.config.variant === "trim") {
      peer.heldRows = Int32Array.from(options.rows ?? Array.from({ length: SWARM_ROWS }, (_, row) => row));
    }
    this.peers.set(id, peer);
    await this.#boot(peer);
    return peer;
  }

  /** kill -9: memory is gone, the disk stays. */
  crash(peer: SwarmPeer): void {
    peer.power.cut();
    this.network.unplug(peer.id);
  }

  async restart(peer: SwarmPeer): Promise<void> {
    peer.power = new Power();
    await this.#boot(peer);
  }

  /** Lets time pass until all live peers stand in `round` or beyond; says whether they do. */
  reach(round: number, limitMs = 600_000): Promise<boolean> {
    return this.clock.run(limitMs, () => this.live().every((peer) => peer.round >= round));
  }

  live(): readonly SwarmPeer[] {
    return this.list.filter((peer) => peer.power.on && peer.outcome === undefined);
  }

  /** Closed rounds at which two or more peers hold a root, and the roots that they hold. */
  closedRoots(peers: readonly SwarmPeer[] = this.list): Map<number, Set<BodyRoot>> {
    const rounds = new Map<number, { holders: number; roots: Set<BodyRoot> }>();
    for (const peer of peers) {
      for (const [round, root] of peer.closedRoots) {
        const known = rounds.get(round) ?? { holders: 0, roots: new Set() };
        rounds.set(round, { holders: known.holders + 1, roots: known.roots.add(root) });
      }
    }
    return new Map(
      [...rounds].filter(([, { holders }]) => holders > 1).map(([at, { roots }]) => [at, roots]),
    );
  }

  /** Sum over all updates of `author` that made the body that `witness` holds now, as float64, by value. */
  carried(author: PeerId, witness: SwarmPeer): Float64Array {
    const sum = new Float64Array(this.layout.total);
    for (const update of this.history(witness)) {
      if (update.author !== author) continue;
      gridValues(this.decoded(update)).forEach((value, at) => {
        sum[at] = sum[at]! + value / GRID_UNITS;
      });
    }
    return sum;
  }

  /**
   * Every update in the body that `witness` holds: those of its open rounds, then root by root back to genesis. Without those
   * that the defence has left out of a closed round.
   */
  history({ driver }: SwarmPeer): UpdateAnnouncement[] {
    const { closedRound, closedRoot, round } = driver.status();
    const open = driver.content.inventory(closedRound).map(({ announcement }) => announcement);
    const updates = open.filter((update) => update.round < round);
    for (let at = this.#lineage.get(closedRoot); at !== undefined; at = this.#lineage.get(at.parent)) {
      updates.push(...at.updates);
    }
    return updates;
  }

  /** The update that was announced, from the disk of whoever made it. */
  decoded(update: UpdateAnnouncement): GridUpdate {
    const decoded = this.codec.decode(this.#payload(update));
    if (!decoded.ok) throw new TypeError(decoded.rejection.detail);
    return decoded.update;
  }

  #payload({ author, payload }: UpdateAnnouncement): Uint8Array {
    const bytes = this.peer(author).disk.archive.get(payload);
    if (bytes === undefined) throw new RangeError(`nobody has ever had the payload ${payload}`);
    return bytes;
  }

  /** A driver on the peer's disk and power, not started. */
  driverOf(peer: SwarmPeer, genesisBody = peer.options.lacksModel ? undefined : this.genesis): Driver {
    const { power, id } = peer;
    const clock = power.clock(this.clock);
    const { rounds } = peer.options;
    peer.trainerOptions.moves = this.#movesOf(peer);
    return createDriver(
      {
        runId: RUN_ID,
        config: this.config,
        layout: this.layout,
        hash: sha256,
        name: id,
        genesisBody,
        ...(rounds === undefined ? {} : { rounds }),
      },
      {
        network: this.network.port(id, power),
        trainer: new PseudoTrainer(peer.trainerOptions, peer.trainerDisk, clock, power),
        store: memoryStore(peer.disk, power),
        updateLog: peer.options.updateLog,
        clock,
        arithmetic: (options) => {
          // Nobody lets time pass for a peer that is being started.
          const [least, most] = peer.options.arithmeticMs ?? this.#arithmeticMs;
          const nextMs = () => (peer.hasStarted ? Math.round(least + (most - least) * this.#paces()) : 0);
          peer.arithmetic = distantArithmetic(options, { nextMs, clock });
          return peer.arithmetic;
        },
        observer: { onEvent: (event) => this.#observe(peer, event) },
      },
    );
  }

  async #boot(peer: SwarmPeer): Promise<void> {
    const { id } = peer;
    peer.hasStarted = false;
    peer.driver = this.driverOf(peer);
    const { driver } = peer;
    driver.done.then(
      (outcome) => {
        peer.outcome = outcome;
        this.network.unplug(id);
      },
      (error) => {
        peer.failure = error;
        this.network.unplug(id);
      },
    );
    await driver.start(new AbortController().signal, { heldRows: peer.heldRows });
    const { closedRound, closedRoot } = driver.status();
    if (closedRoot !== NO_BODY) peer.closedRoots.set(closedRound, closedRoot);
    this.network.plug(id, driver);
    peer.hasStarted = true;
  }

  #movesOf({ heldRows }: SwarmPeer): ((index: number) => boolean) | undefined {
    if (heldRows === undefined) return undefined;
    const { offset } = this.layout.tensors.at(-1)!;
    const held = new Set(heldRows);
    return (index) => index < offset || held.has(Math.floor((index - offset) / WIDTH));
  }

  #observe(peer: SwarmPeer, event: ProtocolEvent): void {
    peer.events.push(event);
    if (event.type !== "round-applied" && event.type !== "healed" && event.type !== "synced") return;
    const { closedRound, closedRoot } = peer.driver.status();
    const parent = peer.closedRoots.get(closedRound - 1);
    if (event.type === "round-applied" && parent !== undefined && !this.#lineage.has(closedRoot)) {
      const log = peer.driver.content.inventory(closedRound - 1).map(({ announcement }) => announcement);
      const opposed = opposedIn(peer.events, closedRound - 1);
      const updates = log.filter(({ round, author }) => round === closedRound - 1 && !opposed.has(author));
      this.#lineage.set(closedRoot, { parent, updates });
    }
    if (event.type === "healed") {
      for (const round of [...peer.closedRoots.keys()])
        if (round >= closedRound) peer.closedRoots.delete(round);
    }
    peer.closedRoots.set(closedRound, closedRoot);
  }
}
