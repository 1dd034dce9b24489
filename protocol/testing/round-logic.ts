// The round logic on a bench: one peer's state, events put in by hand, effects read off. For tests of single rules.

import { EVERYBODY } from "../core/cohort.ts";
import { transition } from "../core/round.ts";
import type { Effect, EffectOf, RoundEvent } from "../core/round-events.ts";
import { type BodyRoots, initialRoundState, type RoundState } from "../core/round-state.ts";
import type { RoundRules } from "../core/rules.ts";
import type { BodyRoot, PeerId, Presence } from "../core/types.ts";
import type { UpdateId } from "../core/update-set.ts";

export const SELF = "self";

export const RULES: RoundRules = {
  localSteps: 4,
  embeddingWarmupSteps: 2,
  openRounds: 2,
  minimumPeers: 1,
  newcomerRounds: 4,
  quorum: 0.5,
  maxRoundMs: 60_000,
  maxPayloadBytes: 1_000,
  cohort: EVERYBODY,
  overlap: false,
  pacing: false,
  rounds: undefined,
};

/** A root that says what it stands for; padded to the length of one. */
export const rootNamed = (name: string): BodyRoot => name.padEnd(64, "0");

export const updateOf = (author: PeerId, round: number, statement = `${author}${round}`): UpdateId => ({
  author,
  round,
  statement: rootNamed(statement),
});

export class Bench {
  state: RoundState;
  nowMs = 0;
  #effects: Effect[] = [];
  #sequence = 0;

  constructor(rules: Partial<RoundRules> = {}, start: { round?: number; publishedRound?: number } = {}) {
    const round = start.round ?? 0;
    this.state = initialRoundState(
      {
        rules: { ...RULES, ...rules },
        self: SELF,
        roots: this.rootsAt(round),
        round,
        publishedRound: start.publishedRound ?? round - 1,
        experienced: round > 0,
        counted: [],
      },
      this.nowMs,
    );
  }

  /** The bodies of a swarm in which all agree: the body at the start of round 3 has the root "body3". */
  rootsAt(round: number, lineage = "body"): BodyRoots {
    const closedRound = Math.max(0, round - 1);
    return {
      root: rootNamed(`${lineage}${round}`),
      closedRound,
      closedRoot: rootNamed(`${lineage}${closedRound}`),
      openUpdates: rootNamed("updates"),
    };
  }

  put(event: RoundEvent): this {
    const { state, effects } = transition(this.state, event, this.nowMs);
    this.state = state;
    this.#effects.push(...effects);
    return this;
  }

  /** Time passes in ticks of a quarter of a second. */
  wait(ms: number): this {
    for (const end = this.nowMs + ms; this.nowMs < end; ) {
      this.nowMs = Math.min(end, this.nowMs + 250);
      this.put({ type: "tick" });
    }
    return this;
  }

  /** Another peer says where it stands; by default it trains the same round from the same body. */
  hear(author: PeerId, said: Partial<Presence> & { lineage?: string; sameUpdates?: boolean } = {}): this {
    const { lineage, sameUpdates = true, ...fields } = said;
    const round = fields.round ?? this.state.round;
    const presence: Presence = {
      runId: rootNamed("run"),
      author,
      name: author,
      sequence: ++this.#sequence,
      phase: "training",
      round,
      ...this.rootsAt(round, lineage),
      step: 0,
      steps: 4,
      bitsPerByte: 0,
      leaving: false,
      ...fields,
    };
    return this.put({ type: "presence", presence, sameUpdates });
  }

  announce(id: UpdateId, from = id.author, payloadBytes = 100): this {
    return this.put({ type: "announced", id, from, payloadBytes });
  }

  /** An update arrives, payload and all. */
  deliver(id: UpdateId): this {
    return this.announce(id).put({ type: "counted", id, replaced: undefined, roots: this.state.roots });
  }

  /** Listens, begins the current round, trains it and publishes. */
  trainAndPublish(): this {
    const { round } = this.state;
    if (this.state.phase === "waiting") this.wait(15_000);
    this.put({ type: "trained", round });
    return this.put({ type: "published", id: updateOf(SELF, round), roots: this.state.roots });
  }

  /** The driver has done what `open-round` asked. */
  opened(lineage?: string): this {
    const round = this.state.round + 1;
    return this.put({ type: "opened", round, roots: this.rootsAt(round, lineage) });
  }

  /** The effects of this kind since they were last taken. */
  take<Type extends Effect["type"]>(type: Type): readonly EffectOf<Type>[] {
    const taken = this.#effects.filter((effect): effect is EffectOf<Type> => effect.type === type);
    this.#effects = this.#effects.filter((effect) => effect.type !== type);
    return taken;
  }
}
