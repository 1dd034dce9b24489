// Announcements and payloads: what is fetched, when again, and what is not worth fetching. Everything a peer can send
// is bounded here: by round, by author, by number and by size. Nothing a peer does throws.

import { withArrival, withTransfer } from "./deadline.ts";
import { holdsLastBody } from "./ending.ts";
import { LinearMap } from "./linear-map.ts";
import { isStronger, rivalsOf, weakestOf } from "./rivals.ts";
import type { EventOf } from "./round-events.ts";
import { holdsBody, type RoundState, type Wanted } from "./round-state.ts";
import { isOutdrawn, isSurplus } from "./surplus.ts";
import { ask, change, note, type Turn } from "./turn.ts";
import type { ContentId, PeerId } from "./types.ts";
import { type UpdateId, updateKey } from "./update-set.ts";

/** A fast peer may be one round ahead and announce its next: two rounds past ours cover it with room. */
export const ROUNDS_AHEAD = 2;
/** Distinct updates of one author and round that are fetched at once; honest peers make one. */
const MAX_WANTED_PER_AUTHOR = 2;
/** All pending announcements, some 300 bytes each. */
const MAX_WANTED = 4_096;
const MAX_HOLDERS = 8;
/** Payloads are large: more at once would only share the same link. */
const CONCURRENT_FETCHES = 4;
const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 8_000;

export function onAnnounced(turn: Turn, event: EventOf<"announced">) {
  const { id, payloadBytes, from } = event;
  const { state } = turn;
  const key = updateKey(id);
  if (state.refused.has(key)) return;
  if (id.round < state.roots.closedRound) return ask(turn, { type: "drop", id, why: "expired" });
  if (id.round > state.round + ROUNDS_AHEAD) return ask(turn, { type: "drop", id, why: "too-early" });
  if (payloadBytes > state.rules.maxPayloadBytes) {
    const detail = `${payloadBytes} bytes announced, at most ${state.rules.maxPayloadBytes} are possible`;
    return refuse(turn, id, () =>
      ask(turn, { type: "penalise", peer: id.author, offence: "oversized", detail }),
    );
  }
  const counted = state.counted.get(id.round)?.get(id.author);
  if (counted === id.statement || holdsLastBody(state, turn.nowMs)) return;
  const known = state.wanted.get(key);
  if (known !== undefined) return addHolder(turn, key, known, from);
  const rivals = rivalsOf(state, id.round, id.author);
  const mayCount = counted === undefined || counted > id.statement;
  const weakest = rivals.length >= MAX_WANTED_PER_AUTHOR ? weakestOf(rivals) : undefined;
  // Not for good: the others may prove to be nothing, and then others count this one.
  if (mayCount && weakest !== undefined && !isStronger(id, weakest)) return;
  if (counted !== undefined || rivals.length > 0) penaliseEquivocation(turn, id);
  // The lower statement counts, whichever comes first: a higher one needs no fetching.
  if (!mayCount) return refuse(turn, id);
  if (weakest !== undefined) change(turn, { wanted: without(turn.state.wanted, weakest.id) });
  if (isOutdrawn(state, id)) return refuse(turn, id);
  if (state.wanted.size >= MAX_WANTED) return ask(turn, { type: "drop", id, why: "overflow" });
  const holders = from === id.author ? [from] : [id.author, from];
  const { nowMs } = turn;
  const wanted: Wanted = {
    id,
    holders,
    announcedMs: nowMs,
    fetching: false,
    isHere: false,
    attempts: 0,
    notBeforeMs: nowMs,
  };
  change(turn, { wanted: turn.state.wanted.with(key, wanted) });
  note(turn, { type: "update-received", round: id.round, author: id.author, payloadBytes });
  // A peer that lost its state but not its identity must not make a second update for a round.
  if (id.author === state.self && id.round > state.publishedRound) change(turn, { publishedRound: id.round });
}

/** Asks for the payloads that are due, oldest round first. */
export function fetchDue(turn: Turn) {
  // Without a body there is nothing to count them in; they are wanted until there is one.
  if (!holdsBody(turn.state)) return;
  let free = CONCURRENT_FETCHES;
  let isDue = false;
  for (const { fetching, notBeforeMs } of turn.state.wanted.values()) {
    if (fetching && --free <= 0) return;
    isDue ||= !fetching && notBeforeMs <= turn.nowMs;
  }
  if (!isDue) return;
  const due = [...turn.state.wanted]
    .filter(([, { fetching, notBeforeMs }]) => !fetching && notBeforeMs <= turn.nowMs)
    .filter(([, { id }]) => !isSurplus(turn.state, id))
    .sort(([, a], [, b]) => a.id.round - b.id.round || a.attempts - b.attempts)
    .slice(0, free);
  if (due.length === 0) return;
  let { wanted } = turn.state;
  for (const [key, entry] of due) {
    wanted = wanted.with(key, { ...entry, fetching: true, isHere: false });
    ask(turn, { type: "fetch", key, holders: entry.holders });
  }
  change(turn, { wanted });
}

export function onFetched(turn: Turn, { key }: EventOf<"fetched">) {
  const entry = turn.state.wanted.get(key);
  if (entry !== undefined) change(turn, { wanted: turn.state.wanted.with(key, { ...entry, isHere: true }) });
}

export function onFetchFailed(turn: Turn, { key }: EventOf<"fetch-failed">) {
  const entry = turn.state.wanted.get(key);
  if (entry === undefined) return;
  const delayMs = Math.min(FIRST_RETRY_MS * 2 ** entry.attempts, LAST_RETRY_MS);
  const next = { ...entry, fetching: false, attempts: entry.attempts + 1, notBeforeMs: turn.nowMs + delayMs };
  change(turn, { wanted: turn.state.wanted.with(key, next) });
}

export function onCounted(turn: Turn, event: EventOf<"counted">) {
  const { id, replaced, roots } = event;
  const { state, nowMs } = turn;
  const announcedMs = state.wanted.get(updateKey(id))?.announcedMs;
  if (announcedMs !== undefined && id.author !== state.self) {
    change(turn, { pace: withTransfer(state.pace, nowMs - announcedMs) });
  }
  change(turn, {
    roots,
    counted: withCounted(state.counted, id, replaced),
    wanted: without(state.wanted, id),
  });
  if (replaced !== undefined) refuse(turn, replaced);
  note(turn, { type: "update-applied", round: id.round, author: id.author });
  if (id.round < state.round) {
    note(turn, { type: "late-update", round: id.round, author: id.author, root: roots.root });
  }
  const startedMs = state.roundStartsMs.get(id.round);
  if (startedMs !== undefined && id.author !== state.self) {
    change(turn, { pace: withArrival(turn.state.pace, nowMs - startedMs) });
  }
}

export function onRefused(turn: Turn, event: EventOf<"refused">) {
  const { id, offence, detail } = event;
  refuse(turn, id, () => {
    if (offence !== undefined) ask(turn, { type: "penalise", peer: id.author, offence, detail });
  });
}

export function onUntimely(turn: Turn, { id }: EventOf<"untimely">) {
  change(turn, { wanted: without(turn.state.wanted, id) });
}

/** Forgets what belongs to rounds that are closed now. */
export function forgetClosed(turn: Turn) {
  const { roots, counted, wanted, refused, roundStartsMs } = turn.state;
  const open = (round: number) => round >= roots.closedRound;
  change(turn, {
    counted: new Map([...counted].filter(([round]) => open(round))),
    wanted: new LinearMap([...wanted].filter(([, { id }]) => open(id.round))),
    refused: new Map([...refused].filter(([, round]) => open(round))),
    roundStartsMs: new Map([...roundStartsMs].filter(([round]) => open(round))),
  });
}

export function withCounted(
  counted: RoundState["counted"],
  id: UpdateId,
  replaced: UpdateId | undefined,
): RoundState["counted"] {
  const authors = new Map<PeerId, ContentId>(counted.get(id.round));
  if (replaced !== undefined) authors.delete(replaced.author);
  return new Map(counted).set(id.round, authors.set(id.author, id.statement));
}

function refuse(turn: Turn, id: UpdateId, firstTime: () => void = () => {}) {
  const { refused, wanted } = turn.state;
  const key = updateKey(id);
  if (!refused.has(key)) firstTime();
  // Bounded like `wanted`; an update forgotten here is fetched and refused once more, no worse.
  const kept = refused.size < MAX_WANTED ? refused : new Map([...refused].slice(MAX_WANTED / 2));
  change(turn, { refused: new Map(kept).set(key, id.round), wanted: without(wanted, id) });
}

function penaliseEquivocation(turn: Turn, id: UpdateId) {
  if (id.author === turn.state.self) return;
  const detail = `more than one update announced for round ${id.round}`;
  ask(turn, { type: "penalise", peer: id.author, offence: "equivocation", detail });
}

function addHolder(turn: Turn, key: string, known: Wanted, holder: PeerId) {
  if (known.holders.includes(holder) || known.holders.length >= MAX_HOLDERS) return;
  // A holder not asked yet is a reason to try again at once.
  const notBeforeMs = Math.min(known.notBeforeMs, turn.nowMs);
  const next = { ...known, holders: [...known.holders, holder], notBeforeMs };
  change(turn, { wanted: turn.state.wanted.with(key, next) });
}

const without = (wanted: RoundState["wanted"], id: UpdateId): RoundState["wanted"] =>
  wanted.with(updateKey(id), undefined);
