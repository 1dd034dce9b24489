// A swarm of production drivers on a virtual clock, from its first peer to its rest: starts peers, lets faults happen,
// watches, and stops when all have trained the wished rounds and hold one body. Deterministic by its plan.
import type { ProtocolEvent } from "../core/protocol-events.ts";
import type { PeerId } from "../core/types.ts";
import { sha256 } from "../net/hash.ts";
import { DISTORT, type Distortion } from "./distortions.ts";
import { Faults } from "./faults.ts";
import { Impostor, type Imposture } from "./impostors.ts";
import { Observation } from "./observation.ts";
import { PartitionWatch } from "./partition-watch.ts";
import { BEHAVIOURS, type Behaviour, type SimulationPlan } from "./plan.ts";
import { seededRandom, seedOf, shuffled } from "./random.ts";
import { SimulatedNetwork } from "./simulated-network.ts";
import { SimulatedPeer } from "./simulated-peer.ts";
import { standInLoss } from "./stand-in-trainer.ts";
import { CHANNELS } from "./traffic.ts";
import { VirtualClock } from "./virtual-clock.ts";

export interface SimulationHooks {
  readonly signal?: AbortSignal;
  /** Called for each second of the swarm's time, with the round that its first peer is in. */
  readonly onSecond?: (round: number, virtualMs: number) => void;
}

/** What a round cost and gave, seen at the moment when the first peer had closed it. */
export interface RoundSample {
  readonly round: number;
  readonly atMs: number;
  readonly present: number;
  /** Mean over honest peers, at the body each starts the next round from. */
  readonly loss: number;
  /** Time that honest peers had trained until then. */
  readonly computeMs: number;
  /** Bytes that all peers had sent until then. */
  readonly sentBytes: number;
}

const RUN_ID = "ab".repeat(32);
/** Peers start within this time, and three milliseconds for each. */
const START_SPREAD_MS = 2_000;
const START_GAP_MS = 3;
/** A large swarm gives up some exactness of the model for its speed: no message's moment is known to less than this. */
const LARGE = 256;
const GATHER_MS = 5;
/** Of a large swarm a peer remembers so many others, and a transfer goes in so few parts. */
const MOST_MEMBERS = 256;
const FEW_PARTS = 2;
/** The swarm is looked at this often once its rounds are over. */
const REST_LOOK_MS = 1_000;
/** A swarm in which no round has closed for so many of the longest rounds, and this long, is stuck. */
const STUCK_ROUNDS = 3;
const STUCK_MS = 600_000;
/** Optima differ from peer to peer by this share of the common one. */
const HETEROGENEITY = 0.3;

export class Simulation {
  readonly plan: SimulationPlan;
  readonly clock: VirtualClock;
  readonly network: SimulatedNetwork;
  readonly observation = new Observation();
  readonly faults: Faults;
  readonly partitions: PartitionWatch;
  readonly peers = new Map<PeerId, SimulatedPeer>();
  readonly liars = new Map<PeerId, Behaviour>();
  readonly samples: RoundSample[] = [];
  /** The common optimum: where the body would be at best. */
  readonly optimum: Float32Array;
  readonly startMs: number;
  readonly #hooks: SimulationHooks;
  readonly #genesis: Float32Array;
  readonly #speeds: readonly number[];
  #started = 0;
  #round = -1;
  #movedMs: number;
  #isOver = false;
  /** When the first peer had trained all rounds. */
  #endMs: number | undefined;
  /** All have trained all rounds and hold one body. */
  atRest = false;

  constructor(plan: SimulationPlan, hooks: SimulationHooks = {}) {
    this.plan = plan;
    this.clock = new VirtualClock(undefined, plan.peers > LARGE ? GATHER_MS : 0);
    this.#hooks = hooks;
    const { seed, layout } = plan;
    this.startMs = this.clock.nowMs();
    this.#movedMs = this.startMs;
    const random = seededRandom(seedOf(seed, "swarm"));
    this.optimum = Float32Array.from({ length: layout.total }, () => 2 * random() - 1);
    this.#genesis = new Float32Array(layout.total);
    this.#speeds = shuffled(speeds(plan), random);
    this.network = this.#makeNetwork();
    this.partitions = new PartitionWatch(this);
    this.faults = new Faults(plan, seededRandom(seedOf(seed, "faults")), {
      present: () => this.present().map(({ id }) => id),
      crash: (peer) => this.peers.get(peer)!.crash(),
      leave: (peer) => this.peers.get(peer)!.leave(),
      comeBack: (peer) => this.#boot(this.peers.get(peer)!),
      joinAnew: () => this.#boot(this.#newPeer(undefined)),
      cutOff: (peers) => this.partitions.cutOff(peers),
      later: (moment, action) => {
        this.clock.after(moment * plan.segmentMs * plan.config.training.localSteps, action);
      },
    });
  }

  /** Honest peers that run. */
  up(): readonly SimulatedPeer[] {
    return [...this.peers.values()].filter((peer) => peer.isUp && peer.isHonest);
  }

  /** Those of them that are in a round. */
  present(): readonly SimulatedPeer[] {
    return this.up().filter(({ phase }) => phase === "training" || phase === "collecting");
  }

  /** Runs to the end, or until the signal. */
  async run(): Promise<void> {
    this.#startAll();
    this.#everySecond();
    while (!this.#isOver) {
      const maxRoundMs = Math.max(this.plan.config.averaging.maxRoundMs, this.#roundMs());
      const limitMs = STUCK_ROUNDS * maxRoundMs + STUCK_MS;
      const movedMs = this.#movedMs;
      await this.clock.run(limitMs, () => this.#isOver || this.#hooks.signal?.aborted === true);
      this.#hooks.signal?.throwIfAborted();
      if (this.#movedMs === movedMs) break;
    }
  }

  #everySecond(): void {
    this.#hooks.onSecond?.(Math.max(0, this.#round), this.clock.nowMs() - this.startMs);
    this.clock.afterQuietly(1_000, () => this.#everySecond());
  }

  #roundMs(): number {
    return this.plan.segmentMs * this.plan.config.training.localSteps;
  }

  #makeNetwork(): SimulatedNetwork {
    const { network, seed, layout, payloadBytes, bodyBytes } = this.plan;
    const { latencyMs, jitterMs, gossipLoss, duplication, connections, packetLoss, lossLimitsRate } = network;
    const access = { up: network.upMbits * 125, down: network.downMbits * 125 };
    const { peers, joiners } = this.plan;
    const ofJoiners = { ...access, down: (joiners.downMbits ?? network.downMbits) * 125 };
    const founders = new Set(Array.from({ length: peers }, (_, index) => this.#idOf(index)));
    return new SimulatedNetwork(
      this.clock,
      seedOf(seed, "network"),
      layout.total,
      {
        latencyMs: [Math.max(0, latencyMs - jitterMs), latencyMs + jitterMs],
        loss: gossipLoss,
        duplication,
      },
      {
        connections,
        links: {
          access: (peer) => (founders.has(peer) ? access : ofJoiners),
          packetLoss,
          lossLimitsRate,
          parts: this.plan.peers > LARGE ? FEW_PARTS : undefined,
        },
        payloadBytes: () => payloadBytes,
        bodyBytes: () => bodyBytes,
        bans: true,
        thinHeartbeats: true,
      },
    );
  }

  /** Liars are drawn among the peers of the start; those without a driver follow an honest one. */
  #startAll(): void {
    const { peers, seed, byzantine } = this.plan;
    const random = seededRandom(seedOf(seed, "liars"));
    const count = Math.min(peers - 1, Math.round(byzantine.share * peers));
    const liars = new Set(shuffled([...Array(peers).keys()], random).slice(0, count));
    const honest = [...Array(peers).keys()].filter((index) => !liars.has(index));
    let told = 0;
    for (let index = 0; index < peers; index++) {
      const behaviours = byzantine.behaviours.length > 0 ? byzantine.behaviours : BEHAVIOURS;
      const behaviour = liars.has(index) ? behaviours[told++ % behaviours.length]! : undefined;
      const startsMs = (Math.max(START_SPREAD_MS, START_GAP_MS * peers) * index) / peers;
      if (behaviour !== undefined && !(behaviour in DISTORT)) {
        const victim = this.#idOf(honest[index % honest.length]!);
        this.#started++;
        this.liars.set(this.#idOf(index), behaviour);
        const impostor = new Impostor(
          this.network,
          this.clock,
          this.#idOf(index),
          behaviour as Imposture,
          victim,
        );
        this.clock.after(startsMs, () => impostor.plug());
      } else {
        const peer = this.#newPeer(behaviour as Distortion | undefined);
        this.clock.after(startsMs, () => this.#boot(peer));
      }
    }
  }

  #idOf(index: number): PeerId {
    return `peer-${String(index + 1).padStart(4, "0")}`;
  }

  #newPeer(distortion: Distortion | undefined): SimulatedPeer {
    const { plan, clock, network } = this;
    const { config, layout, seed, segmentMs, rounds, tokensPerSegment, costs } = plan;
    const index = this.#started++;
    const id = this.#idOf(index);
    const random = seededRandom(seedOf(seed, id, "optimum"));
    const peer = new SimulatedPeer(
      {
        id,
        driver: {
          ...{ runId: RUN_ID, config, layout, hash: sha256, name: id, genesisBody: this.#genesis },
          ...(plan.peers > LARGE ? { mostMembers: MOST_MEMBERS } : {}),
        },
        trainer: {
          name: id,
          seed,
          segments: config.training.localSteps,
          segmentMs: segmentMs * this.#speeds[index % this.#speeds.length]!,
          optimum: this.optimum.map((value) => value + HETEROGENEITY * (2 * random() - 1)),
          endRound: rounds,
          tokensPerSegment,
          distort: distortion && DISTORT[distortion],
        },
        costs,
        onEvent: (from, event) => this.#hear(from, event),
      },
      network,
      clock,
    );
    this.peers.set(id, peer);
    if (distortion !== undefined) this.liars.set(id, distortion);
    return peer;
  }

  #boot(peer: SimulatedPeer): void {
    if (peer.isUp) return;
    if (this.#round >= 0) this.observation.starts(peer, this.clock.nowMs());
    this.partitions.starts(peer.id);
    peer.boot().catch((error) => {
      peer.failure = error;
    });
  }

  #hear(peer: SimulatedPeer, event: ProtocolEvent): void {
    const nowMs = this.clock.nowMs();
    this.observation.hear(peer, event, nowMs);
    if (!peer.isHonest) return;
    if (event.type === "round-applied" || event.type === "synced" || event.type === "healed") {
      this.#movedMs = nowMs;
      this.partitions.look(nowMs);
    }
    if (event.type === "round-started" && event.round > this.#round) {
      this.#round = event.round;
      // Not within the event: a peer that is taken away must not be in the middle of a transition.
      this.clock.after(0, () => this.#onRound(event.round, nowMs));
    }
  }

  #onRound(round: number, nowMs: number): void {
    if (round > 0) this.samples.push(this.#sample(round - 1, nowMs));
    this.faults.onRound(round);
    if (round >= this.plan.rounds) this.#awaitRest();
  }

  #sample(round: number, nowMs: number): RoundSample {
    const present = this.present();
    let loss = 0;
    for (const { driver } of present) loss += standInLoss(driver!.body(), this.optimum) / present.length;
    let sentBytes = 0;
    for (const [, traffic] of this.network.traffic.entries()) {
      for (const channel of CHANNELS) sentBytes += traffic[channel].sent;
    }
    let computeMs = 0;
    for (const peer of this.peers.values()) if (peer.isHonest) computeMs += peer.computeMs;
    return { round, atMs: nowMs - this.startMs, present: present.length, loss, computeMs, sentBytes };
  }

  /** Rest: every honest peer that runs stands at the end, holds the same body, and nothing is on its way. */
  #awaitRest(): void {
    const nowMs = this.clock.nowMs();
    this.#endMs ??= nowMs;
    const up = this.up();
    const done = up.length > 0 && up.every(({ round }) => round >= this.plan.rounds);
    if (done) {
      const standings = up.map(({ driver }) => driver!.content.snapshot()!);
      const roots = new Set(standings.map(({ closedRound, root }) => `${closedRound}/${root}`));
      if (roots.size === 1) {
        const statuses = up.map(({ driver }) => driver!.status().root);
        this.atRest = new Set(statuses).size === 1;
      }
    }
    const restless = nowMs - this.#endMs > STUCK_ROUNDS * this.#roundMs() + STUCK_MS;
    if (this.atRest || restless) this.#isOver = true;
    else this.clock.after(REST_LOOK_MS, () => this.#awaitRest());
  }
}

/** Factors of a segment's time, evenly spaced as ratios, whose geometric mean is 1. */
function speeds({ peers, speedSpread }: SimulationPlan): readonly number[] {
  return Array.from({ length: peers }, (_, index) =>
    peers === 1 ? 1 : speedSpread ** (index / (peers - 1) - 0.5),
  );
}
