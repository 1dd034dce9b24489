// Sets of updates by id: the digest that two peers compare, what one lacks of the other, and which of several updates
// of one author counts. Pure set arithmetic; updates themselves live elsewhere.

import { type Cohort, drawnBefore } from "./cohort.ts";
import type { Hash } from "./hash.ts";
import { hexSha256, utf8 } from "./hash.ts";
import type { ContentId, PeerId } from "./types.ts";

/** An update's name; update-id.ts gives it. */
export interface UpdateId {
  readonly round: number;
  readonly author: PeerId;
  /** Hash of all that the author has signed. */
  readonly statement: ContentId;
}

/** The id as one string: `round/author/statement`. Peer ids and hex have no slash, so it is unambiguous. */
export const updateKey = ({ round, author, statement }: UpdateId): string =>
  `${round}/${author}/${statement}`;

/** By round, then author, then statement, the latter two by code units. */
export function compareUpdateIds(a: UpdateId, b: UpdateId): number {
  return a.round - b.round || compareText(a.author, b.author) || compareText(a.statement, b.statement);
}

/**
 * SHA-256 over "glossa/update-set/1\n" and the sorted keys of the updates in rounds >= fromRound, each ended by "\n".
 * Equal digests mean equal sets. A key that occurs twice counts once.
 */
export function updateSetDigest(ids: Iterable<UpdateId>, fromRound: number, hash: Hash): ContentId {
  const byKey = new Map<string, UpdateId>();
  for (const id of ids) if (id.round >= fromRound) byKey.set(updateKey(id), id);
  const keys = [...byKey].sort(([, a], [, b]) => compareUpdateIds(a, b)).map(([key]) => `${key}\n`);
  return hexSha256(utf8(`glossa/update-set/1\n${keys.join("")}`), hash);
}

/** `missing`: they have it and we do not; `extra`: we have it and they do not. Both in order. */
export function updateSetDifference<Id extends UpdateId>(
  own: Iterable<Id>,
  theirs: Iterable<Id>,
): { missing: Id[]; extra: Id[] } {
  const ownByKey = new Map<string, Id>();
  for (const id of own) ownByKey.set(updateKey(id), id);
  const theirsByKey = new Map<string, Id>();
  for (const id of theirs) theirsByKey.set(updateKey(id), id);
  const without = (all: Map<string, Id>, known: Map<string, Id>): Id[] =>
    [...all]
      .filter(([key]) => !known.has(key))
      .map(([, id]) => id)
      .sort(compareUpdateIds);
  return { missing: without(theirsByKey, ownByKey), extra: without(ownByKey, theirsByKey) };
}

/**
 * What a valid (decoded) update means for the ones already counted in its round.
 * `counts`: add it; where `replaces` is set, remove that one first. `equivocation`: the author's other update in this
 * round, whichever of the two counts; both announcements are the evidence.
 */
export type Admission<Id extends UpdateId> =
  | { readonly outcome: "counts"; readonly replaces?: Id; readonly equivocation?: Id }
  | { readonly outcome: "known" }
  | { readonly outcome: "loses"; readonly to: Id; readonly equivocation?: Id };

/**
 * Decides by content alone, never by arrival: of an author's updates in a round the one with the lowest statement counts,
 * and of more authors than the cohort has places those that are drawn first. `counted` are the round's counted updates.
 */
export function admitUpdate<Id extends UpdateId>(
  candidate: Id,
  counted: Iterable<Id>,
  cohort: Cohort,
): Admission<Id> {
  const precedes = (a: UpdateId, b: UpdateId) => drawnBefore(cohort, candidate.round, a.author, b.author);
  let sibling: Id | undefined;
  let last: Id | undefined;
  let size = 0;
  for (const id of counted) {
    if (id.author === candidate.author) sibling = id;
    if (last === undefined || precedes(last, id)) last = id;
    size++;
  }
  if (sibling !== undefined) {
    if (sibling.statement === candidate.statement) return { outcome: "known" };
    return candidate.statement < sibling.statement
      ? { outcome: "counts", replaces: sibling, equivocation: sibling }
      : { outcome: "loses", to: sibling, equivocation: sibling };
  }
  if (last === undefined || size < cohort.size) return { outcome: "counts" };
  return precedes(candidate, last) ? { outcome: "counts", replaces: last } : { outcome: "loses", to: last };
}

const compareText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
