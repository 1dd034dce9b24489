// Everything at once, by seed: loss, a crash, a partition and a newcomer, so close together that each meets the others'
// consequences. A table to run like fault-matrix.ts, whose faults come one at a time.
import { seededRandom, seedOf } from "../simulation/random.ts";
import { problemOf } from "./problems.ts";
import { Swarm } from "./swarm.ts";

export interface Storm {
  readonly seed: number;
  readonly openRounds: number;
  /** Share of messages and requests that vanish. */
  readonly loss: number;
}

const NAMES = ["ada", "bea", "cleo", "dora"];
const NEWCOMER = "eve";
const ROUNDS = 24;
const LIMIT_MS = 900_000;

/** What went wrong, in words; undefined where nothing did. */
export async function weather({ seed, openRounds, loss }: Storm): Promise<string | undefined> {
  const random = seededRandom(seedOf("storm", openRounds, seed));
  const within = (least: number, most: number) => least + (most - least) * random();
  const oneOf = <T>(items: readonly T[]): T => items[Math.floor(items.length * random())]!;
  const swarm = new Swarm({
    seed,
    conditions: { loss, duplication: 0.1 * (seed % 3), latencyMs: [5, within(50, 400)] },
    averaging: { minimumPeers: NAMES.length, openRounds },
  });
  const add = (name: string) => swarm.add(name, { rounds: ROUNDS, stepMs: Math.floor(within(300, 550)) });
  for (const name of NAMES) await add(name);
  await swarm.reach(1 + Math.floor(within(0, 4)));
  const victim = swarm.peer(oneOf(NAMES));
  const others = NAMES.filter((name) => name !== victim.id);
  const cut = [oneOf(others), ...(random() < 0.5 ? [victim.id] : []), ...(random() < 0.5 ? [NEWCOMER] : [])];
  const rest = [...NAMES, NEWCOMER].filter((name) => !cut.includes(name));
  // Each for a while that begins and ends anywhere within half a minute.
  const during = async (start: () => unknown, end: () => unknown) => {
    await swarm.clock.sleep(within(0, 12_000));
    await start();
    await swarm.clock.sleep(within(500, 20_000));
    await end();
  };
  let ongoing = 3;
  const over = () => ongoing--;
  void during(
    () => swarm.crash(victim),
    () => swarm.restart(victim),
  ).then(over);
  void during(
    () => swarm.network.partition(cut, rest),
    () => swarm.network.partition(),
  ).then(over);
  void during(
    () => add(NEWCOMER),
    () => {},
  ).then(over);
  const finished = await swarm.clock.run(LIMIT_MS, () => ongoing === 0 && swarm.live().length === 0);
  return problemOf(swarm, swarm.list, finished);
}
