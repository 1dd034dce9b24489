// A division of the network and how it heals: who was cut off, when all hold one body again, and what became of the
// updates that each side made meanwhile.
import type { PeerId } from "../core/types.ts";
import type { Simulation } from "./simulation.ts";

export interface DividedTime {
  readonly cutOff: ReadonlySet<PeerId>;
  readonly fromMs: number;
  readonly fromRound: number;
  untilMs: number | undefined;
  untilRound: number | undefined;
  /** When all held one closed body from there on. */
  healedMs: number | undefined;
  healedRound: number | undefined;
}

export class PartitionWatch {
  readonly #simulation: Simulation;
  divided: DividedTime | undefined;

  constructor(simulation: Simulation) {
    this.#simulation = simulation;
  }

  get #isDivided(): boolean {
    return this.divided !== undefined && this.divided.untilMs === undefined;
  }

  /** Divides the network; nobody cut off makes it whole. */
  cutOff(peers: readonly PeerId[]): void {
    const { clock, network } = this.#simulation;
    const nowMs = clock.nowMs();
    if (peers.length === 0) {
      if (this.divided === undefined) return;
      this.divided.untilMs = nowMs;
      this.divided.untilRound = this.#newestRound();
      network.partition();
      return;
    }
    this.divided = {
      cutOff: new Set(peers),
      fromMs: nowMs,
      fromRound: this.#newestRound(),
      untilMs: undefined,
      untilRound: undefined,
      healedMs: undefined,
      healedRound: undefined,
    };
    this.#divide();
  }

  /** A peer that starts while the network is divided is on the larger side. */
  starts(peer: PeerId): void {
    if (this.#isDivided && !this.divided!.cutOff.has(peer)) this.#divide(peer);
  }

  /** Called whenever a peer's closed body has changed. */
  look(nowMs: number): void {
    const { divided } = this;
    if (divided?.untilRound === undefined || divided.healedMs !== undefined) return;
    const { observation } = this.#simulation;
    const up = this.#simulation.present();
    const held = up.map(({ id }) => observation.heldBy(id));
    // The newest closed round that all of them have reached must lie behind the division.
    const newest = Math.min(...held.map((roots) => Math.max(...roots.keys())));
    const { openRounds } = this.#simulation.plan.config.averaging;
    if (newest < divided.untilRound - openRounds + 1) return;
    if (new Set(held.map((roots) => roots.get(newest))).size > 1) return;
    divided.healedMs = nowMs;
    divided.healedRound = this.#newestRound();
  }

  #divide(...newcomers: readonly PeerId[]): void {
    const { network } = this.#simulation;
    const cutOff = [...this.divided!.cutOff];
    const others = [...network.topology.peers, ...newcomers].filter(
      (peer) => !this.divided!.cutOff.has(peer),
    );
    network.partition(cutOff, others);
  }

  #newestRound(): number {
    return Math.max(0, ...this.#simulation.up().map(({ round }) => round));
  }
}
