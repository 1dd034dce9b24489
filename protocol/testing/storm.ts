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
  /** Whether training goes on while rounds are collected. */
  readonly overlap?: "off" | "on";
  /** Virtual milliseconds, from and to, that a call of the arithmetic takes: of everybody, or of one peer. */
  readonly arithmeticMs?: readonly [number, number];
  readonly slow?: "all" | "one";
  /** What happens beside loss; all of it where it is left out. */
  readonly faults?: readonly StormFault[];
}

export const STORM_FAULTS = ["crash", "partition", "newcomer"] as const;
export type StormFault = (typeof STORM_FAULTS)[number];

/** How long a call of the arithmetic takes, from a tenth of a round's training to several of them. */
const PACES_MS = [
  [1, 200],
  [1, 900],
  [500, 2_500],
  [2_000, 6_000],
] as const;

/** Storms over peers whose arithmetic is slow, of all or of one: every pace, with faults of every kind and without, by seed. */
export const slowStorms = (seeds: readonly number[]): Storm[] =>
  seeds.flatMap((seed) =>
    PACES_MS.flatMap((arithmeticMs) =>
      (["all", "one"] as const).flatMap((slow) =>
        [1, 2, 3].flatMap((openRounds) =>
          (["off", "on"] as const).map((overlap): Storm => {
            const kinds = 7 * seed + 3 * openRounds + (overlap === "on" ? 1 : 0) + arithmeticMs[1];
            const faults = STORM_FAULTS.filter((_, at) => (kinds >> at) & 1);
            const loss = [0, 0.1, 0.25][seed % 3]!;
            return { seed, openRounds, loss, overlap, arithmeticMs, slow, faults };
          }),
        ),
      ),
    ),
  );

const NAMES = ["ada", "bea", "cleo", "dora"];
const NEWCOMER = "eve";
const ROUNDS = 24;
/** A round's steps take 1.2 to 2.2 s, its end 30 s at most. */
const LIMIT_MS = 2_400_000;

/** What went wrong, in words; undefined where nothing did. */
export async function weather(
  storm: Storm,
  watch: (swarm: Swarm) => void = () => {},
): Promise<string | undefined> {
  const {
    seed,
    openRounds,
    loss,
    overlap = "off",
    arithmeticMs,
    slow = "all",
    faults = STORM_FAULTS,
  } = storm;
  const random = seededRandom(seedOf("storm", openRounds, seed));
  const within = (least: number, most: number) => least + (most - least) * random();
  const oneOf = <T>(items: readonly T[]): T => items[Math.floor(items.length * random())]!;
  const swarm = new Swarm({
    seed,
    conditions: { loss, duplication: 0.1 * (seed % 3), latencyMs: [5, within(50, 400)] },
    averaging: { minimumPeers: NAMES.length, openRounds, overlap },
    ...(slow === "all" && arithmeticMs !== undefined ? { arithmeticMs } : {}),
  });
  watch(swarm);
  const isSlow = (name: string) => slow === "one" && name === NAMES[seed % NAMES.length];
  const add = (name: string) => {
    const stepMs = Math.floor(within(300, 550));
    const options = isSlow(name) && arithmeticMs !== undefined ? { arithmeticMs } : {};
    return swarm.add(name, { rounds: ROUNDS, stepMs, ...options });
  };
  for (const name of NAMES) await add(name);
  const from = 1 + Math.floor(within(0, 4));
  // One that is left behind must not see the faults begin when the others are about to leave.
  if (slow === "one") await swarm.clock.run(LIMIT_MS, () => swarm.live().some(({ round }) => round >= from));
  else await swarm.reach(from);
  const victim = swarm.peer(oneOf(NAMES));
  const others = NAMES.filter((name) => name !== victim.id);
  const cut = [oneOf(others), ...(random() < 0.5 ? [victim.id] : []), ...(random() < 0.5 ? [NEWCOMER] : [])];
  const rest = [...NAMES, NEWCOMER].filter((name) => !cut.includes(name));
  // Each for a while that begins and ends anywhere within half a minute.
  const during = async (fault: StormFault, start: () => unknown, end: () => unknown) => {
    const beforeMs = within(0, 12_000);
    if (!faults.includes(fault)) return;
    await swarm.clock.sleep(beforeMs);
    await start();
    await swarm.clock.sleep(within(500, 20_000));
    await end();
  };
  let ongoing: number = STORM_FAULTS.length;
  const over = () => ongoing--;
  void during(
    "crash",
    () => swarm.crash(victim),
    () => swarm.restart(victim),
  ).then(over);
  void during(
    "partition",
    () => swarm.network.partition(cut, rest),
    () => swarm.network.partition(),
  ).then(over);
  void during(
    "newcomer",
    () => add(NEWCOMER),
    () => {},
  ).then(over);
  const finished = await swarm.clock.run(LIMIT_MS, () => ongoing === 0 && swarm.live().length === 0);
  return problemOf(swarm, swarm.list, finished);
}
