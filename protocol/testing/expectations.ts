// What the tests of simulated swarms demand again and again, said once.
import { expect } from "vitest";
import { GRID_UNITS, gridValues } from "../core/grid.ts";
import { bodyRoot } from "../core/merkle.ts";
import { updateWeight } from "../core/run-config.ts";
import { sha256 } from "../net/hash.ts";
import { imbalance, ROUNDING } from "./balance.ts";
import { Swarm, type SwarmOptions, type SwarmPeer } from "./swarm.ts";

/** No closed round at which two of the peers hold different bodies, and at least `rounds` that could be compared. */
export function expectAgreement(
  swarm: Swarm,
  rounds: number,
  peers: readonly SwarmPeer[] = swarm.list,
): void {
  const roots = swarm.closedRoots(peers);
  for (const [round, held] of roots) expect([round, held.size]).toEqual([round, 1]);
  expect(roots.size).toBeGreaterThanOrEqual(rounds);
}

/** Everything a peer's training has moved is in the others' body, in its residual, or still unpublished. */
export function expectNothingLost(swarm: Swarm, peer: SwarmPeer, witness: SwarmPeer): void {
  expect(imbalance(swarm, peer, witness)).toBeLessThan(ROUNDING);
}

/**
 * The witness' body, made again from the updates in it: round by round, each value less the mean over the updates that
 * hold it. To the bit.
 */
export function expectMeansOverHolders(swarm: Swarm, witness: SwarmPeer): void {
  const { offset, shape } = swarm.codec.rowsOf ?? { offset: swarm.layout.total, shape: [0, 1] };
  const byRound = Map.groupBy(swarm.history(witness), ({ round }) => round);
  let body = swarm.genesis;
  for (const round of [...byRound.keys()].sort((a, b) => a - b)) {
    const announced = byRound.get(round)!;
    const weights = announced.map((update) => updateWeight(swarm.config, update));
    const updates = announced.map((update) => swarm.decoded(update));
    const grids = updates.map((update) => gridValues(update));
    const held = updates.map(({ heldRows }) => heldRows && new Set(heldRows));
    body = body.map((value, index) => {
      const row = Math.floor((index - offset) / shape[1]!);
      let sum = 0;
      let weight = 0;
      grids.forEach((grid, at) => {
        if (row >= 0 && held[at]?.has(row) === false) return;
        sum += weights[at]! * grid[index]!;
        weight += weights[at]!;
      });
      return weight === 0 ? value : value - Math.floor(sum / weight + 0.5) / GRID_UNITS;
    });
  }
  expect(bodyRoot(body, sha256)).toBe(witness.driver.status().root);
}

export async function swarmOf(names: readonly string[], options: SwarmOptions = {}) {
  const { averaging, ...others } = options;
  const swarm = new Swarm({ ...others, averaging: { minimumPeers: names.length, ...averaging } });
  for (const name of names) await swarm.add(name);
  return swarm;
}

/** Lets every peer finish: nobody trains any more, all updates are in. */
export async function finish(swarm: Swarm, limitMs = 300_000): Promise<void> {
  expect(await swarm.clock.run(limitMs, () => swarm.live().length === 0)).toBe(true);
  expect(swarm.list.map(({ failure }) => failure)).toEqual(swarm.list.map(() => undefined));
}
