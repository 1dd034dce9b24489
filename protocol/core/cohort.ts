// Which peers' updates a round counts, where there are more peers than a round can carry: as in DEPT's algorithm 1 every
// round draws a subset of the sources. A peer's rank in a round is a hash that nobody chooses; the lowest ranks count. So the
// draw needs no leader, no message and no agreement on who is there. Decides by content alone; sends nothing.
import { MAX_UPDATES_PER_ROUND } from "./grid.ts";
import { type Hash, utf8 } from "./hash.ts";
import type { PeerId, RunId } from "./types.ts";

export interface Cohort {
  /** Updates that a round counts at most. */
  readonly size: number;
  /** A peer's rank in a round, 0 to RANKS - 1: the lower the sooner it is drawn. */
  readonly rank: (round: number, author: PeerId) => number;
}

/** Ranks are the first 6 bytes of a hash: integers that float64 holds, and ties are a matter of theory. */
export const RANKS = 2 ** 48;

/**
 * Peers that make themselves heard beside those that will be drawn: enough that a few wrong guesses of the swarm's size,
 * and a few that go, leave the cohort full. It costs heartbeats, never payloads.
 */
export const marginOf = ({ size }: Pick<Cohort, "size">): number => Math.max(4, size / 4);

/** Rounds whose ranks are remembered, and authors of one: strangers may name any. */
const KEPT_ROUNDS = 32;
const KEPT_AUTHORS = 65_536;

type Ranks = Map<number, Map<PeerId, number>>;
/** Of each run: a rank is asked for at every announcement and presence. */
const KNOWN = new WeakMap<Hash, Map<RunId, Ranks>>();

/** The draw of a run: rank = first 6 bytes of SHA-256( "glossa/cohort/1\n" || run id || "/" || round || "/" || author ). */
export function cohortOf(runId: RunId, size: number, hash: Hash): Cohort {
  const runs = KNOWN.get(hash) ?? new Map<RunId, Ranks>();
  KNOWN.set(hash, runs);
  const ranks: Ranks = runs.get(runId) ?? new Map();
  runs.set(runId, ranks);
  return {
    size,
    rank: (round, author) => {
      const known = ranks.get(round)?.get(author);
      if (known !== undefined) return known;
      const rank = rankIn(hash(utf8(`glossa/cohort/1\n${runId}/${round}/${author}`)));
      remember(ranks, round, author, rank);
      return rank;
    },
  };
}

function rankIn(digest: Uint8Array): number {
  let rank = 0;
  for (let at = 0; at < 6; at++) rank = rank * 256 + digest[at]!;
  return rank;
}

function remember(ranks: Ranks, round: number, author: PeerId, rank: number): void {
  const known = ranks.get(round) ?? new Map<PeerId, number>();
  if (known.size >= KEPT_AUTHORS) known.clear();
  ranks.set(round, known.set(author, rank));
  while (ranks.size > KEPT_ROUNDS) ranks.delete(ranks.keys().next().value!);
}

/** Counts everybody, up to what the grid can add: the cohort of a run that draws none. */
export const EVERYBODY: Cohort = { size: MAX_UPDATES_PER_ROUND, rank: () => 0 };

/** Whether `a` is drawn before `b` in a round. */
export function drawnBefore({ rank }: Cohort, round: number, a: PeerId, b: PeerId): boolean {
  const [ofA, ofB] = [rank(round, a), rank(round, b)];
  return ofA < ofB || (ofA === ofB && a < b);
}

/** Those of `authors` that a round counts, were they all there is. */
export function drawnOf(cohort: Cohort, round: number, authors: Iterable<PeerId>): ReadonlySet<PeerId> {
  const all = [...new Set(authors)];
  if (all.length <= cohort.size) return new Set(all);
  all.sort((a, b) => (drawnBefore(cohort, round, a, b) ? -1 : 1));
  return new Set(all.slice(0, cohort.size));
}

/** How many of `others` are drawn before `self`. */
export function placeOf(cohort: Cohort, round: number, self: PeerId, others: Iterable<PeerId>): number {
  let before = 0;
  for (const other of others) if (drawnBefore(cohort, round, other, self)) before++;
  return before;
}
