// When peers go, come back, are replaced or cut off, and when new ones join: by the swarm's round, drawn by seed. Asks for
// it through `Actions`; owns no peer.
import type { PeerId } from "../core/types.ts";
import type { SimulationPlan } from "./plan.ts";
import { shuffled } from "./random.ts";

export interface Actions {
  /** Honest peers that take part now. */
  present(): readonly PeerId[];
  crash(peer: PeerId): void;
  leave(peer: PeerId): void;
  comeBack(peer: PeerId): void;
  joinAnew(): void;
  /** Cuts these peers off from all others; without any, everyone reaches everyone again. */
  cutOff(peers: readonly PeerId[]): void;
  /** Within the round that has just begun, at a moment between its start (0) and its usual end (1). */
  later(moment: number, action: () => void): void;
}

/** A swarm is not thinned out below this many. */
const LEAST_PRESENT = 2;

export class Faults {
  readonly #plan: SimulationPlan;
  readonly #actions: Actions;
  readonly #random: () => number;
  /** Peers due so far, with fractions: 0.3 a round is three in ten rounds. */
  #due = 0;
  readonly #away: { readonly peer: PeerId; readonly untilRound: number }[] = [];
  #joined = 0;
  #partition: "before" | "during" | "over" = "before";
  readonly counts = { crashed: 0, left: 0, cameBack: 0, replaced: 0 };

  constructor(plan: SimulationPlan, random: () => number, actions: Actions) {
    this.#plan = plan;
    this.#random = random;
    this.#actions = actions;
  }

  /** The first peer of the swarm has begun `round`. */
  onRound(round: number): void {
    const { rounds } = this.#plan;
    if (round >= rounds) return;
    this.#bringBack(round);
    this.#divide(round);
    this.#join(round);
    // A run that is about to end tells nothing of who goes now.
    if (round > 0 && round < rounds - 1) this.#take(round);
  }

  #take(round: number): void {
    const { churn, peers } = this.#plan;
    this.#due += churn.share * peers;
    for (; this.#due >= 1; this.#due--) {
      this.#actions.later(this.#random(), () => {
        const present = this.#actions.present();
        if (present.length <= LEAST_PRESENT) return;
        const peer = present[Math.floor(this.#random() * present.length)]!;
        if (churn.kind === "leave") this.counts.left++;
        else this.counts.crashed++;
        if (churn.kind === "leave") this.#actions.leave(peer);
        else this.#actions.crash(peer);
        this.#away.push({ peer, untilRound: round + churn.awayRounds });
      });
    }
  }

  #bringBack(round: number): void {
    const back = this.#away.filter(({ untilRound }) => untilRound <= round);
    for (const entry of back) {
      this.#away.splice(this.#away.indexOf(entry), 1);
      this.#actions.later(this.#random(), () => {
        if (this.#plan.churn.kind === "replace") {
          this.counts.replaced++;
          this.#actions.joinAnew();
        } else {
          this.counts.cameBack++;
          this.#actions.comeBack(entry.peer);
        }
      });
    }
  }

  #divide(round: number): void {
    const { partition } = this.#plan;
    if (partition === undefined) return;
    if (this.#partition === "before" && round >= partition.round) {
      this.#partition = "during";
      const present = this.#actions.present();
      const count = Math.max(1, Math.round(partition.share * present.length));
      this.#actions.cutOff(shuffled(present, this.#random).slice(0, count));
    } else if (this.#partition === "during" && round >= partition.round + partition.rounds) {
      this.#partition = "over";
      this.#actions.cutOff([]);
    }
  }

  #join(round: number): void {
    const { joiners } = this.#plan;
    while (this.#joined < joiners.count && round >= joiners.round + this.#joined) {
      this.#joined++;
      this.#actions.later(this.#random(), () => this.#actions.joinAnew());
    }
  }
}
