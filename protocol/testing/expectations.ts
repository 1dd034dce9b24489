// What the tests of simulated swarms demand again and again, said once.
import { expect } from "vitest";
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

/**
 * Everything a peer's training has moved is in the others' body, in its residual, or still unpublished:
 * moved = carried + residual + (start - theta).
 */
export function expectNothingLost(swarm: Swarm, peer: SwarmPeer, witness: SwarmPeer): void {
  const carried = swarm.carried(peer.id, witness);
  const { residual, publishedRound } = peer.disk.checkpoint!;
  const { moved, start, theta, round } = peer.trainerDisk;
  const unpublished = round > publishedRound;
  let largest = 0;
  for (let at = 0; at < moved.length; at++) {
    const local = unpublished ? start[at]! - theta[at]! : 0;
    largest = Math.max(largest, Math.abs(moved[at]! - carried[at]! - residual[at]! - local));
  }
  // float32 rounding of some dozens of additions of values below 1; a lost step would be near 1e-3.
  expect(largest).toBeLessThan(5e-6);
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
