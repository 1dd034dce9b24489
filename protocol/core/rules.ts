// What a run and its operator fix for the round logic, and what follows from that alone.
import type { Cohort } from "./cohort.ts";
import type { BodyRoot } from "./types.ts";

/** What the run's configuration and the operator fix for the round logic. */
export interface RoundRules {
  readonly localSteps: number;
  readonly embeddingWarmupSteps: number;
  /** Rounds that accept updates: the current one and those before it. */
  readonly openRounds: number;
  readonly minimumPeers: number;
  /** Updates over which a newcomer's weight grows. */
  readonly newcomerRounds: number;
  /** Share of the participating peers whose updates a deadline needs. */
  readonly quorum: number;
  /** From a round's start to its close at the latest, quorum or not. */
  readonly maxRoundMs: number;
  readonly maxPayloadBytes: number;
  /** Whose updates a round counts. */
  readonly cohort: Cohort;
  /** Peers that are remembered at once, where fewer than MAX_MEMBERS are. */
  readonly mostMembers?: number | undefined;
  /** Root of the body that the run starts from, where it does not follow from the seed. */
  readonly initialBody?: BodyRoot | undefined;
  /** Training goes on with the next round while this one is collected. */
  readonly overlap: boolean;
  /** A peer that is slower than most publishes the steps it has. */
  readonly pacing: boolean;
  /** Leave once this many rounds are applied; undefined: stay until told. */
  readonly rounds: number | undefined;
}

/**
 * How many rounds apart two peers can be and still work on from the same updates. One at least: a peer that is about to
 * close the round that others have just closed needs no snapshot for it.
 */
export const reachOf = ({ openRounds }: RoundRules): number => Math.max(1, openRounds - 1);

/** The first open round while the peer stands in `round`. */
export const closedRoundAt = (round: number, rules: RoundRules): number =>
  Math.max(0, round - rules.openRounds + 1);

/** Whether steps of `round` are taken while the one before is collected; none of a round that nobody here wishes for. */
export const goesAhead = ({ overlap, rounds }: RoundRules, round: number): boolean =>
  overlap && (rounds === undefined || round < rounds);
