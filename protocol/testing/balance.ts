// The books of a simulated peer: what its training has moved, against where that is now.
import type { Swarm, SwarmPeer } from "./swarm.ts";

/** float32 rounding of some dozens of additions of values below 1; a lost step would be near 1e-3. */
export const ROUNDING = 5e-6;

/**
 * The largest value by which a peer's books do not balance. Everything its training has moved is in the witness' body, in
 * its residual, or still unpublished: moved = carried + residual + (start - theta). What is taken ahead is unpublished
 * always, what it follows on only until the protocol's checkpoint says otherwise.
 */
export function imbalance(swarm: Swarm, peer: SwarmPeer, witness: SwarmPeer): number {
  const carried = swarm.carried(peer.id, witness);
  const { residual, publishedRound } = peer.disk.checkpoint!;
  const { moved, theta, round, handed } = peer.trainerDisk;
  const start = handed !== undefined && handed.round > publishedRound ? handed.start : peer.trainerDisk.start;
  const unpublished = round > publishedRound;
  let largest = 0;
  for (let at = 0; at < moved.length; at++) {
    const local = unpublished ? start[at]! - theta[at]! : 0;
    largest = Math.max(largest, Math.abs(moved[at]! - carried[at]! - residual[at]! - local));
  }
  return largest;
}
