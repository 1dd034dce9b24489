// Every fault at every phase of a round, by seed: a swarm of four is disturbed around one of its peers at the moment when
// that peer enters the phase, and must end with one body, everybody through, and nothing lost. A table to run, not a test
// framework: the unit test takes some seeds of it, the benchmark many.
import type { Phase } from "../core/types.ts";
import { seededRandom, seedOf } from "../simulation/random.ts";
import { Liar, type Lie } from "./liar.ts";
import { problemOf } from "./problems.ts";
import { Swarm, type SwarmPeer } from "./swarm.ts";

/** What happens. Messages are those from and to the victim. */
export const FAULTS = [
  "drop",
  "delay",
  "duplicate",
  "corrupt",
  "reorder",
  "crash",
  "partition",
  "lie",
] as const;
export type Fault = (typeof FAULTS)[number];

/**
 * When: as the victim enters a phase; `publishing` and `opening` are its writes to disk between two of them, of its
 * own update and of the next round's body.
 */
export const MOMENTS = [
  "waiting",
  "warming",
  "syncing",
  "training",
  "publishing",
  "collecting",
  "opening",
  "settling",
] as const;
export type Moment = (typeof MOMENTS)[number];

export interface MatrixCase {
  readonly fault: Fault;
  readonly moment: Moment;
  readonly seed: number;
  /** Whether training goes on while rounds are collected. */
  readonly overlap: "off" | "on";
}

/** All faults at all moments, with overlap and without it, once for each seed. */
export const matrixCases = (seeds: readonly number[]): MatrixCase[] =>
  seeds.flatMap((seed) =>
    (["off", "on"] as const).flatMap((overlap) =>
      FAULTS.flatMap((fault) => MOMENTS.map((moment) => ({ fault, moment, seed, overlap }))),
    ),
  );

const NAMES = ["ada", "bea", "cleo", "dora"];
const ROUNDS = 9;
/** A fault that is not over is taken away after some seconds, at most this many. */
const LONGEST_FAULT_MS = 9_000;
/** Peers that are about to leave do not wait for those who have been silent for ten seconds: at the end it must be shorter. */
const LONGEST_LAST_FAULT_MS = 5_000;
const LIMIT_MS = 900_000;
/** With even seeds the arithmetic is done elsewhere, and a call takes up to a tenth of a round. */
const SLOW_ARITHMETIC_MS = [1, 200] as const;
const LIES: readonly Lie[] = [
  "garbage-payload",
  "wrong-hash",
  "not-a-number",
  "oversized",
  "equivocation",
  "two-weights",
];

/** What went wrong, in words; undefined where nothing did. */
export async function runCase({ fault, moment, seed, overlap }: MatrixCase): Promise<string | undefined> {
  const random = seededRandom(seedOf(fault, moment, seed));
  const openRounds = 1 + Math.floor(3 * random());
  // Where there are liars, they may lie about the weight of an update too.
  const weighting = fault === "lie" ? "tokens" : "uniform";
  const averaging = { minimumPeers: NAMES.length, openRounds, overlap, weighting } as const;
  const swarm = new Swarm({
    seed,
    averaging,
    ...(seed % 2 === 0 ? { arithmeticMs: SLOW_ARITHMETIC_MS } : {}),
  });
  const victimAt = Math.floor(NAMES.length * random());
  const victim = await startAll(swarm, victimAt, moment, random);
  if (!(await swarm.clock.run(LIMIT_MS, victim.isDue))) {
    return `${victim.peer.id} never came to ${moment}`;
  }
  const longestMs = moment === "settling" ? LONGEST_LAST_FAULT_MS : LONGEST_FAULT_MS;
  await strike(swarm, victim.peer, fault, 500 + (longestMs - 500) * random(), random);
  const finished = await swarm.clock.run(LIMIT_MS, () => swarm.live().length === 0);
  return problemOf(
    swarm,
    swarm.list.filter(({ id }) => id !== "eve"),
    finished,
  );
}

interface Victim {
  readonly peer: SwarmPeer;
  /** Whether the moment has come. */
  readonly isDue: () => boolean;
}

/** Starts the swarm and watches the victim. What it has to go through for `moment` is seen to. */
async function startAll(
  swarm: Swarm,
  victimAt: number,
  moment: Moment,
  random: () => number,
): Promise<Victim> {
  // Phases of a newcomer are those of one that comes late.
  const comesLate = moment === "waiting" || moment === "warming" || moment === "syncing";
  const name = NAMES[victimAt]!;
  const stepMs = () => 300 + Math.floor(200 * random());
  for (const other of NAMES) {
    if (other === name && comesLate) continue;
    await swarm.add(other, { rounds: ROUNDS, stepMs: stepMs() });
  }
  if (comesLate) {
    // The others wait for the minimum of peers: a stranger completes it and leaves.
    const stranger = await swarm.add("eve", { rounds: 1, stepMs: stepMs() });
    await swarm.clock.run(LIMIT_MS, () => stranger.outcome !== undefined);
    await swarm.add(name, { rounds: ROUNDS, stepMs: stepMs() });
  }
  const peer = swarm.peer(name);
  return { peer, isDue: watch(peer, moment, 1 + Math.floor(4 * random())) };
}

/** Says whether the peer has come to the moment, in round `from` or later where rounds pass. */
function watch(peer: SwarmPeer, moment: Moment, from: number): () => boolean {
  let reached = false;
  let round = 0;
  let seen = 0;
  const isPhase = moment !== "publishing" && moment !== "opening";
  if (!isPhase) {
    peer.disk.onWritten = (operation) => {
      if (round < from) return;
      if (moment === "publishing" ? operation === "putPayload" : operation === "save") reached = true;
    };
  }
  const look = () => {
    for (; seen < peer.events.length; seen++) {
      const event = peer.events[seen]!;
      if (event.type === "round-started") round = event.round;
      if (event.type === "phase-changed" && event.phase === (moment as Phase)) {
        const passesRounds = moment === "training" || moment === "collecting";
        if (isPhase && (!passesRounds || event.round >= from)) reached = true;
      }
    }
  };
  // A peer begins in `waiting` without a word of it.
  if (moment === "waiting") reached = true;
  return () => {
    look();
    return reached;
  };
}

async function strike(
  swarm: Swarm,
  peer: SwarmPeer,
  fault: Fault,
  lastsMs: number,
  random: () => number,
): Promise<void> {
  const others = NAMES.filter((name) => name !== peer.id);
  const disturb = async (disturbance: Parameters<typeof swarm.network.disturb>[1]) => {
    swarm.network.disturb(peer.id, disturbance);
    await swarm.clock.run(lastsMs);
    swarm.network.disturb(peer.id);
  };
  switch (fault) {
    case "drop":
      return disturb({ loss: 0.3 + 0.6 * random() });
    case "delay":
      return disturb({ delayMs: 200 + 1_800 * random() });
    case "duplicate":
      return disturb({ duplication: 0.5 + 0.5 * random() });
    case "corrupt":
      return disturb({ corruption: 0.3 + 0.6 * random() });
    case "reorder":
      return disturb({ reordering: 0.3 + 0.6 * random() });
    case "crash":
      swarm.crash(peer);
      await swarm.clock.run(lastsMs);
      return swarm.restart(peer);
    case "partition": {
      const beside = random() < 0.5 ? [others[0]!] : [];
      swarm.network.partition(
        [peer.id, ...beside],
        [...others, "eve"].filter((name) => !beside.includes(name)),
      );
      await swarm.clock.run(lastsMs);
      return swarm.network.partition();
    }
    case "lie":
      new Liar(swarm, "mallory", LIES[Math.floor(LIES.length * random())]!, peer);
  }
}
