// Several updates of one author and round, of which a few are fetched at once: which of them gives its place to another. None is
// refused for that, since those with a place may prove to be nothing, and others count what had none.
import type { RoundState, Wanted } from "./round-state.ts";
import { PATIENT_ATTEMPTS } from "./surplus.ts";
import type { PeerId } from "./types.ts";
import type { UpdateId } from "./update-set.ts";

/** Pending updates of one author and round. */
export const rivalsOf = (state: RoundState, round: number, author: PeerId): Wanted[] =>
  [...state.wanted.values()].filter(({ id }) => id.round === round && id.author === author);

/** The one to be let go for another: what could not be had, of these or all the one with the highest statement. */
export const weakestOf = (rivals: readonly Wanted[]): Wanted =>
  rivals.reduce((a, b) => {
    if (isVain(a) !== isVain(b)) return isVain(a) ? a : b;
    return a.id.statement > b.id.statement ? a : b;
  });

export const isStronger = ({ statement }: UpdateId, weakest: Wanted): boolean =>
  isVain(weakest) || statement < weakest.id.statement;

const isVain = ({ attempts, isHere }: Wanted): boolean => attempts >= PATIENT_ATTEMPTS && !isHere;
