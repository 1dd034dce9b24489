// Do the closed bodies agree, and if not, whose counts? The rule: at the newest closed round where enough have spoken the
// plurality counts, a tie goes to the lower root. Everyone applies it to what they see, so that two peers that see the
// same presences never swap bodies.
import { hasDeparted, isVoting, type Member, type Members } from "./membership.ts";
import type { RoundState } from "./round-state.ts";
import { reachOf } from "./rules.ts";
import type { BodyRoot, PeerId } from "./types.ts";

export type Verdict =
  /** Nobody to compare with, or too few have spoken. */
  | { readonly outcome: "undecided" }
  /** This peer's closed body at the start of `closedRound` is the plurality's. */
  | { readonly outcome: "agreed"; readonly closedRound: number }
  | {
      readonly outcome: "outvoted";
      readonly closedRound: number;
      readonly root: BodyRoot;
      readonly donors: readonly PeerId[];
    };

export const votingMembers = (members: Members, nowMs: number): Member[] =>
  [...members.values()].filter((member) => isVoting(member, nowMs));

export function closedBodyVerdict(state: RoundState, nowMs: number): Verdict {
  // Where the run is over, those who have left are not forgotten: the last to go must not follow the last but one.
  const counts =
    state.phase === "settling"
      ? (member: Member) => isVoting(member, nowMs) || hasDeparted(member, nowMs)
      : (member: Member) => isVoting(member, nowMs);
  const unanimous = unanimousRound(state, counts);
  if (unanimous === NO_VOTES) return { outcome: "undecided" };
  if (unanimous !== undefined) return { outcome: "agreed", closedRound: unanimous };
  const { voters, isVoter } = electorate([...state.members.values()].filter(counts), state);
  const newestFirst = [...state.closedRoots].sort(([a], [b]) => b - a);
  for (const [closedRound, own] of newestFirst) {
    const ballots = voters.flatMap((voter) => {
      const root = voter.closedRoots.get(closedRound);
      return root === undefined ? [] : [{ root, peer: voter.presence.author }];
    });
    if (ballots.length === 0) continue;
    const votes = tally([...(isVoter ? [own] : []), ...ballots.map(({ root }) => root)]);
    const most = Math.max(...votes.values());
    const winner = [...votes.keys()].filter((root) => votes.get(root) === most).sort()[0]!;
    if (winner === own) return { outcome: "agreed", closedRound };
    // No body is given up that those who have not spoken could still bring level. Who has left will not speak.
    const silent = voters.filter(
      (voter) => !voter.closedRoots.has(closedRound) && isVoting(voter, nowMs),
    ).length;
    if ((votes.get(own) ?? 0) + silent >= most && silent > 0) continue;
    const donors = ballots
      .filter(({ root, peer }) => root === winner && isVoting(state.members.get(peer)!, nowMs))
      .map(({ peer }) => peer);
    if (donors.length === 0) break;
    return { outcome: "outvoted", closedRound, root: winner, donors };
  }
  return { outcome: "undecided" };
}

/**
 * Whose votes count, and whether this peer's does. In a swarm beyond its cohort only of those that speak at full rate, whom all
 * hear alike: with everyone's own vote added two halves would each see themselves ahead, and stay apart.
 */
function electorate(
  voters: readonly Member[],
  { cadence }: RoundState,
): { readonly voters: readonly Member[]; readonly isVoter: boolean } {
  const often = voters.filter(({ presence }) => presence.intervalMs === undefined);
  if (often.length === 0) return { voters, isVoter: true };
  return { voters: often, isVoter: cadence.intervalMs === undefined };
}

const NO_VOTES = -1;

/**
 * The newest closed round on which anyone votes, if all who do name this peer's root, or NO_VOTES: the usual cases, in one
 * pass.
 */
function unanimousRound(
  { members, closedRoots }: RoundState,
  counts: (member: Member) => boolean,
): number | undefined {
  for (const round of [...closedRoots.keys()].sort((a, b) => b - a)) {
    const own = closedRoots.get(round);
    let votes = 0;
    for (const member of members.values()) {
      if (votes > 0 && member.closedRoots === closedRoots) continue;
      const root = member.closedRoots.get(round);
      if (root === undefined || !counts(member)) continue;
      if (root !== own) return undefined;
      votes++;
    }
    if (votes > 0) return round;
  }
  return NO_VOTES;
}

/** Where the others stand: within reach of their updates (`near`), or so far that only a snapshot helps. */
export interface Distances {
  readonly near: readonly Member[];
  readonly ahead: readonly Member[];
  readonly lagging: readonly Member[];
}

export function distances(state: RoundState, nowMs: number): Distances {
  const near: Member[] = [];
  const ahead: Member[] = [];
  const lagging: Member[] = [];
  const reach = reachOf(state.rules);
  for (const member of votingMembers(state.members, nowMs)) {
    const distance = member.presence.round - state.round;
    if (distance > reach) ahead.push(member);
    else if (distance < -reach) lagging.push(member);
    else near.push(member);
  }
  return { near, ahead, lagging };
}

/**
 * The camp to move to, or undefined to stay: forward when at least as many are ahead as are not (this peer counted),
 * back when more lag than do not. The two conditions exclude each other, so that camps never swap places; a single
 * fast or lying peer cannot pull a majority away.
 */
export function campToJoin(state: RoundState, nowMs: number): readonly Member[] | undefined {
  if (allAreNear(state, nowMs)) return undefined;
  const { near, ahead, lagging } = distances(state, nowMs);
  if (ahead.length > 0 && ahead.length >= 1 + near.length + lagging.length) return ahead;
  if (lagging.length > 1 + near.length + ahead.length) return lagging;
  return undefined;
}

/** The usual case of `campToJoin`, asked at every event. */
function allAreNear({ members, round, rules }: RoundState, nowMs: number): boolean {
  const reach = reachOf(rules);
  for (const member of members.values()) {
    if (Math.abs(member.presence.round - round) > reach && isVoting(member, nowMs)) return false;
  }
  return true;
}

/** Donors of a camp, best first: those with its most common closed body, the newest body first, then by peer id. */
export function donorsOf(camp: readonly Member[]): PeerId[] {
  const name = ({ presence }: Member) => `${presence.closedRound}/${presence.closedRoot}`;
  const votes = tally(camp.map(name));
  return [...camp]
    .sort(
      (a, b) =>
        votes.get(name(b))! - votes.get(name(a))! ||
        b.presence.closedRound - a.presence.closedRound ||
        (a.presence.author < b.presence.author ? -1 : 1),
    )
    .map(({ presence }) => presence.author);
}

/** The plurality's closed root by round among `members`: what a snapshot must not contradict. */
export function pluralityRoots(members: readonly Member[]): ReadonlyMap<number, BodyRoot> {
  const byRound = new Map<number, BodyRoot[]>();
  for (const { closedRoots } of members) {
    for (const [round, root] of closedRoots) byRound.set(round, [...(byRound.get(round) ?? []), root]);
  }
  return new Map([...byRound].map(([round, roots]) => [round, mostCommon(roots)]));
}

function mostCommon(roots: readonly BodyRoot[]): BodyRoot {
  const votes = tally(roots);
  return [...votes].reduce((best, next) =>
    next[1] > best[1] || (next[1] === best[1] && next[0] < best[0]) ? next : best,
  )[0];
}

function tally(names: readonly string[]): Map<string, number> {
  const votes = new Map<string, number>();
  for (const name of names) votes.set(name, (votes.get(name) ?? 0) + 1);
  return votes;
}
