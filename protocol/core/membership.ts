// Who is there: presences by receive time, and who counts for what. No peer's clock is ever trusted.
import type { LinearMap } from "./linear-map.ts";
import { type BodyRoot, NO_BODY, type PeerId, type Phase, type Presence } from "./types.ts";

export interface Member {
  readonly presence: Presence;
  readonly seenMs: number;
  /** When it last said that it had got on: another phase, round, step or body. */
  readonly movedMs: number;
  /** Said goodbye, or was silent too long and has been noted as gone. */
  readonly left: boolean;
  /** Closed roots by round that this peer has announced, the newest few. */
  readonly closedRoots: ReadonlyMap<number, BodyRoot>;
  /** Could not give the body it claimed: until then it is neither believed to be ahead nor asked. */
  readonly distrustedUntilMs: number;
  readonly distrusts: number;
}

/** Those heard last come last. */
export type Members = LinearMap<PeerId, Member>;

/** Of a peer that speaks at full rate. Others say how seldom they speak. */
export const PRESENCE_INTERVAL_MS = 2_000;
/** Five presences may be lost in a row before a peer counts as gone. */
export const MISSED_PRESENCES = 5;
export const ACTIVE_MS = MISSED_PRESENCES * PRESENCE_INTERVAL_MS;
/** As long as the last ones of a run wait for one another, and some more. */
const DEPARTED_MS = 120_000;
/** A vote looks back at most this many rounds. */
export const KEPT_CLOSED_ROOTS = 4;
/**
 * Identities are free: beyond this many, unknown ones are not remembered while all known ones are active. Only those that
 * speak seldom make room, first for those that are waited for.
 */
export const MAX_MEMBERS = 10_000;
/** First distrust; doubles each time, up to 64 times that, unless some time has passed without another. */
export const DISTRUST_MS = 10_000;
const FORGIVEN_AFTER_MS = 60_000;
const MAX_DISTRUST_DOUBLINGS = 6;

/** Peers that hold a body of their own and move through rounds: they are waited for, and they vote. */
const PARTICIPATING: ReadonlySet<Phase> = new Set<Phase>(["training", "collecting"]);
const VOTING: ReadonlySet<Phase> = new Set<Phase>(["training", "collecting", "settling"]);

/** There, as far as is known: it has not said goodbye, nor missed five of the presences that it wanted to send. */
export const isActive = (member: Member, nowMs: number): boolean =>
  !member.left && nowMs < activeUntilMs(member);

/** When it counts as gone, should it not be heard again. */
export const activeUntilMs = ({ seenMs, presence: { intervalMs } }: Member): number =>
  seenMs + MISSED_PRESENCES * (intervalMs ?? PRESENCE_INTERVAL_MS);

/** What it last said holds now. Of one that speaks seldom only for as long as of the others. */
export const isFresh = ({ left, seenMs }: Member, nowMs: number): boolean =>
  !left && nowMs - seenMs < ACTIVE_MS;

export const isParticipating = (member: Member, nowMs: number): boolean =>
  isFresh(member, nowMs) && PARTICIPATING.has(member.presence.phase);

export const isVoting = (member: Member, nowMs: number): boolean =>
  isFresh(member, nowMs) && VOTING.has(member.presence.phase) && member.distrustedUntilMs <= nowMs;

/** Said goodbye, and not long ago: what it held at the end is how the run has ended for it. */
export const hasDeparted = ({ presence, seenMs }: Member, nowMs: number): boolean =>
  presence.leaving && nowMs - seenMs < DEPARTED_MS;

/** The members after a presence; the same map where it is stale, repeated or beyond the bound. */
export function withPresence(
  members: Members,
  presence: Presence,
  nowMs: number,
  most: number = MAX_MEMBERS,
): Members {
  const known = members.get(presence.author);
  if (known !== undefined && presence.sequence <= known.presence.sequence) return members;
  let kept = members;
  if (known === undefined && members.size >= most) {
    const forgotten = leastMissed(members, nowMs);
    if (forgotten === undefined) return members;
    kept = members.with(forgotten, undefined);
  }
  return kept.withLast(presence.author, {
    presence,
    seenMs: nowMs,
    movedMs: known !== undefined && standsStill(known.presence, presence) ? known.movedMs : nowMs,
    left: presence.leaving,
    closedRoots: withClosedRoot(known?.closedRoots, presence.closedRound, presence.closedRoot),
    distrustedUntilMs: known?.distrustedUntilMs ?? 0,
    distrusts: known?.distrusts ?? 0,
  });
}

const MOVES = ["phase", "round", "step", "root", "openUpdates"] as const;

const standsStill = (before: Presence, now: Presence): boolean =>
  MOVES.every((field) => before[field] === now[field]);

/**
 * Keeps the newest rounds. A body that went back to an earlier round forgets the later ones; one that was exchanged
 * forgets all that came before. A peer without a body has no vote.
 */
export function withClosedRoot(
  roots: ReadonlyMap<number, BodyRoot> | undefined,
  round: number,
  root: BodyRoot,
): ReadonlyMap<number, BodyRoot> {
  if (root === NO_BODY) return roots ?? NO_ROOTS;
  // What is said again, a thousand times a round.
  if (roots?.get(round) === root && lastRound(roots) === round) return roots;
  const followed = FOLLOWED_BY.get(roots ?? NO_ROOTS);
  if (followed?.get(round) === root && lastRound(followed) === round) return followed;
  const exchanged = roots?.has(round) === true && roots.get(round) !== root;
  const kept = [...(exchanged ? [] : (roots ?? []))].filter(
    ([known]) => known < round && known > round - KEPT_CLOSED_ROOTS,
  );
  const next = new Map([...kept, [round, root]]);
  FOLLOWED_BY.set(roots ?? NO_ROOTS, next);
  return next;
}

const NO_ROOTS: ReadonlyMap<number, BodyRoot> = new Map();

/** What a history led to last: those who agree share one map, and it is seen at a glance that they do. */
const FOLLOWED_BY = new WeakMap<ReadonlyMap<number, BodyRoot>, ReadonlyMap<number, BodyRoot>>();

function lastRound(roots: ReadonlyMap<number, BodyRoot>): number | undefined {
  let last: number | undefined;
  for (const round of roots.keys()) last = round;
  return last;
}

export function distrust(members: Members, peer: PeerId, nowMs: number, firstMs = DISTRUST_MS): Members {
  const member = members.get(peer);
  if (member === undefined) return members;
  const before = nowMs - member.distrustedUntilMs < FORGIVEN_AFTER_MS ? member.distrusts : 0;
  const doublings = Math.min(before, MAX_DISTRUST_DOUBLINGS);
  return members.with(peer, {
    ...member,
    distrusts: before + 1,
    distrustedUntilMs: nowMs + firstMs * 2 ** doublings,
  });
}

/** It has given what it claimed: what went wrong before was the way to it. */
export function trust(members: Members, peer: PeerId): Members {
  const member = members.get(peer);
  if (member === undefined || member.distrusts === 0) return members;
  return members.with(peer, { ...member, distrusts: 0, distrustedUntilMs: 0 });
}

export const active = (members: Members, nowMs: number): Member[] =>
  [...members.values()].filter((member) => isActive(member, nowMs));

/**
 * Whose updates round `round` waits for if it draws them: participating peers that have not passed it and are within reach; at
 * round 0 also those that are about to start. Who speaks seldom knows that it is not drawn. Peers that sync or warm up join when they are ready. `newestUpdate` gives the
 * newest round of which an author's update is here: where rounds are short it says more than the last presence.
 */
export function expectedAuthors(
  members: Members,
  round: number,
  reach: number,
  newestUpdate: (author: PeerId) => number | undefined,
  nowMs: number,
): PeerId[] {
  return [...members.values()]
    .filter((member) => {
      const { presence } = member;
      if (presence.intervalMs !== undefined) return false;
      const stands = Math.max(presence.round, newestUpdate(presence.author) ?? 0);
      if (stands > round || stands < round - reach) return false;
      const waits = presence.phase === "waiting" && presence.closedRoot !== NO_BODY;
      const starts = round === 0 && waits && isFresh(member, nowMs);
      return starts || isParticipating(member, nowMs);
    })
    .map(({ presence }) => presence.author);
}

/**
 * Updates that a deadline needs, this peer's own included. `oldestRound`: peers behind it are out of reach. A round
 * counts no more than its cohort.
 */
export function quorumOf(
  members: Members,
  oldestRound: number,
  { quorum, cohort }: { readonly quorum: number; readonly cohort: { readonly size: number } },
  nowMs: number,
): number {
  let participating = 1;
  for (const member of members.values()) {
    if (member.presence.intervalMs !== undefined) continue;
    if (isParticipating(member, nowMs) && member.presence.round >= oldestRound) participating++;
  }
  return Math.max(1, Math.ceil(quorum * Math.min(participating, cohort.size)));
}

/**
 * Whom to forget for a newcomer: of those that are gone or speak seldom the one heard longest ago. Members come in the order in
 * which they were heard, so that it is among the first.
 */
function leastMissed(members: Members, nowMs: number): PeerId | undefined {
  for (const member of members.values()) {
    if (member.presence.intervalMs !== undefined || !isActive(member, nowMs)) return member.presence.author;
  }
  return undefined;
}
