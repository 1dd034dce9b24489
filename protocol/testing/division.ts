// Divided networks, by seed: a swarm falls into two parts, once or twice, for longer than its rounds are open, while one of its
// peers may train against the others, so that what one part's round takes of its update the other's leaves out.
import { seededRandom, seedOf } from "../simulation/random.ts";
import { problemOf } from "./problems.ts";
import { Swarm } from "./swarm.ts";

export interface Division {
  readonly seed: number;
  readonly openRounds: number;
  readonly overlap: "off" | "on";
  readonly loss: number;
  /** One of the peers is opposed wherever four others are there to oppose it. */
  readonly opposed: boolean;
}

const NAMES = ["ada", "bea", "cleo", "dora", "emil", "fred", "gwen"];
const ROUNDS = 24;
const LIMIT_MS = 1_200_000;

/** What went wrong, in words; undefined where nothing did. */
export async function divide(
  { seed, openRounds, overlap, loss, opposed }: Division,
  watch: (swarm: Swarm) => void = () => {},
): Promise<string | undefined> {
  const random = seededRandom(seedOf("division", openRounds, overlap, seed));
  const within = (least: number, most: number) => least + (most - least) * random();
  const swarm = new Swarm({
    seed,
    conditions: { loss, duplication: 0.1 * (seed % 2), latencyMs: [5, within(50, 700)] },
    averaging: { minimumPeers: NAMES.length, openRounds, overlap },
  });
  watch(swarm);
  for (const [at, name] of NAMES.entries()) {
    const leaning = at === 0 ? -1 : 1;
    const stepMs = Math.floor(within(300, 550));
    await swarm.add(name, { rounds: ROUNDS, stepMs, ...(opposed ? { leaning } : {}) });
  }
  await swarm.reach(1 + Math.floor(within(0, 4)));
  for (let times = 1 + (seed & 1); times > 0; times--) {
    const cut = NAMES.filter(() => random() < 0.4);
    await swarm.clock.run(within(0, 3_000));
    swarm.network.partition(
      cut,
      NAMES.filter((name) => !cut.includes(name)),
    );
    await swarm.clock.run(within(1_000, 18_000));
    swarm.network.partition();
    await swarm.clock.run(within(2_000, 8_000));
  }
  const finished = await swarm.clock.run(LIMIT_MS, () => swarm.live().length === 0);
  return problemOf(swarm, swarm.list, finished);
}
