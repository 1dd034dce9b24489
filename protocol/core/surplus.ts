// Which announced updates a round needs, where more are announced than it counts: those that are drawn first, as many as its
// cohort has, and others in the place of any that cannot be had. Reads state, changes none.
import { drawnOf, placeOf } from "./cohort.ts";
import type { RoundState } from "./round-state.ts";
import type { ContentId, PeerId } from "./types.ts";
import type { UpdateId } from "./update-set.ts";

/** Failed fetches after which a round no longer waits for an announced update (it is still tried). */
export const PATIENT_ATTEMPTS = 3;

/** Whether a round counts as many updates as it can, all of them drawn before this one: it never will count. */
export function isOutdrawn({ counted, rules: { cohort } }: RoundState, { round, author }: UpdateId): boolean {
  const authors = counted.get(round);
  if (authors === undefined || authors.size < cohort.size || authors.has(author)) return false;
  return placeOf(cohort, round, author, authors.keys()) >= cohort.size;
}

/** Whether enough that are drawn before this one count or are on their way: it is fetched should one of them not come. */
export function isSurplus(state: RoundState, { round, author }: UpdateId): boolean {
  const { counted, wanted, rules } = state;
  if (wanted.size + (counted.get(round)?.size ?? 0) <= rules.cohort.size) return false;
  return !enoughIn(state, round).has(author);
}

/** Authors that a round counts or waits for, as far as its cohort goes, and all that have failed before. */
function enoughIn({ counted, wanted, rules: { cohort } }: RoundState, round: number): ReadonlySet<PeerId> {
  const authors = counted.get(round);
  const known = ENOUGH.get(wanted);
  if (known?.authors === authors && known?.round === round) return known.enough;
  const all = new Set(authors?.keys());
  const failed: PeerId[] = [];
  for (const { id, attempts } of wanted.values()) {
    if (id.round !== round) continue;
    if (attempts < PATIENT_ATTEMPTS) all.add(id.author);
    else failed.push(id.author);
  }
  const enough = new Set(drawnOf(cohort, round, all));
  for (const author of failed) enough.add(author);
  ENOUGH.set(wanted, { authors, round, enough });
  return enough;
}

/** Asked for each announcement that waits, at every event, and the same until one comes or goes. */
const ENOUGH = new WeakMap<
  RoundState["wanted"],
  {
    readonly authors: ReadonlyMap<PeerId, ContentId> | undefined;
    readonly round: number;
    readonly enough: ReadonlySet<PeerId>;
  }
>();

/** Whether announced updates of `round` are still worth waiting for. */
export function isPendingIn(state: RoundState, round: number): boolean {
  for (const { id, attempts } of state.wanted.values()) {
    if (id.round === round && attempts < PATIENT_ATTEMPTS && !isSurplus(state, id)) return true;
  }
  return false;
}

/** Whether payloads that count before `round` ends wait for the arithmetic. `byMs`: announced until then. */
export function isCounting({ wanted }: RoundState, round: number, byMs = Number.POSITIVE_INFINITY): boolean {
  for (const { id, isHere, announcedMs } of wanted.values()) {
    if (isHere && id.round <= round && announcedMs <= byMs) return true;
  }
  return false;
}
