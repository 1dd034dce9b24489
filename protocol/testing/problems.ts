// What may not be wrong when a simulated swarm has come to its end, in words. For tables of faults.
import { imbalance, ROUNDING } from "./balance.ts";
import type { Swarm, SwarmPeer } from "./swarm.ts";

/** Undefined where all of `peers` are through, hold one body, and nothing of theirs is lost or doubled. */
export function problemOf(swarm: Swarm, peers: readonly SwarmPeer[], finished: boolean): string | undefined {
  const failed = peers.find(({ failure }) => failure !== undefined);
  if (failed !== undefined) return `${failed.id} failed: ${String(failed.failure)}`;
  if (!finished) {
    const standing = swarm.live().map(({ id, driver }) => {
      const { phase, round } = driver.status();
      return `${id} ${phase} in round ${round}`;
    });
    return `not finished: ${standing.join(", ")}`;
  }
  const roots = new Set(peers.map(({ outcome }) => outcome?.root));
  if (roots.size !== 1) return `${roots.size} bodies at the end`;
  for (const peer of peers) {
    const lost = imbalance(swarm, peer, peers[0]!);
    if (lost >= ROUNDING) return `${peer.id} has lost ${lost} of a value`;
  }
  return undefined;
}
