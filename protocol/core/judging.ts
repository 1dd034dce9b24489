// What a run's defence makes of the updates of a round: remembers of each what the rule needs, and applies it to the set
// (defence.ts). Owns which update stands for its copies, and which ones the others are compared with.
import { clipFactors, type Defence, opposing, wholeRms } from "./defence.ts";
import type { GridUpdate } from "./grid.ts";
import { type Hash, hexSha256, utf8 } from "./hash.ts";
import type { ParameterLayout, TensorSlot } from "./layout.ts";
import { agreement, signsOf, type UpdateSigns } from "./update-signs.ts";
import { traitsOf, type UpdateTraits } from "./update-traits.ts";

/** A run's defence, and the hash that draws a jury. */
export interface DefenceChoice {
  readonly rule: Defence;
  readonly hash: Hash;
}

/** What of an update counts: nothing, all, or each tensor times its factor. */
export type Share = "nothing" | "whole" | Float64Array;

/**
 * What a defence takes from an update that does not count whole. `kept`: of its norm. `copied`: another author sent the same
 * and it counts once; who was first is in no set.
 */
export interface Restraint {
  readonly key: string;
  readonly why: "clipped" | "opposed" | "copied";
  readonly kept: number;
}

export interface JudgedUpdate {
  readonly key: string;
  /** Its id: what is the same in copies. */
  readonly payload: string;
  readonly weight: number;
  readonly traits: UpdateTraits;
  readonly signs: UpdateSigns | undefined;
  /** Known so far; two updates never agree otherwise later. */
  readonly agreements: Map<JudgedUpdate, number>;
}

export interface Judgement {
  readonly share: Share;
  readonly why: Restraint["why"] | undefined;
}

const WHOLE: Judgement = { share: "whole", why: undefined };

/** Updates are compared with so many others at most: with 1,024 there would be half a million pairs. */
const LARGEST_JURY = 64;

export function judgedUpdate(
  update: GridUpdate,
  facts: Pick<JudgedUpdate, "key" | "payload" | "weight">,
  layout: ParameterLayout,
  rowsOf: TensorSlot | undefined,
  { rule }: DefenceChoice,
): JudgedUpdate {
  const traits = traitsOf(update, layout, rowsOf);
  const signs = rule === "majority" ? signsOf(update, layout, traits) : undefined;
  return { ...facts, traits, signs, agreements: new Map() };
}

/** A function of the set: whatever the order, the same of each. */
export function judge(
  updates: readonly JudgedUpdate[],
  { rule, hash }: DefenceChoice,
): ReadonlyMap<JudgedUpdate, Judgement> {
  const judgements = new Map<JudgedUpdate, Judgement>();
  for (const update of updates) judgements.set(update, { share: "nothing", why: "copied" });
  const distinct = withoutCopies(updates);
  const out = rule === "majority" ? opposing(distinct, juryOf(distinct, hash), agreementOf) : [];
  for (const [at, update] of distinct.entries()) {
    if (out[at] === true) judgements.set(update, { share: "nothing", why: "opposed" });
  }
  const counting = distinct.filter((_, at) => out[at] !== true);
  const factors = clipFactors(counting.map(({ traits }) => traits));
  for (const [at, update] of counting.entries()) {
    const own = factors[at];
    judgements.set(update, own === undefined ? WHOLE : { share: own, why: "clipped" });
  }
  return judgements;
}

/** Undefined where the update counts whole. */
export function restraintOf({ key, traits }: JudgedUpdate, { share, why }: Judgement): Restraint | undefined {
  if (why === undefined) return undefined;
  if (typeof share === "string") return { key, why, kept: 0 };
  const unscaled = new Float64Array(share.length).fill(1);
  return { key, why, kept: wholeRms(traits, share) / wholeRms(traits, unscaled) };
}

export function sameShare(a: Share, b: Share): boolean {
  if (typeof a === "string" || typeof b === "string") return a === b;
  return a.every((factor, tensor) => factor === b[tensor]);
}

/** By payload: of those with one payload the update with the greatest weight, of these the one with the lowest key. */
function withoutCopies(updates: readonly JudgedUpdate[]): JudgedUpdate[] {
  const byPayload = new Map<string, JudgedUpdate>();
  for (const update of updates) {
    const other = byPayload.get(update.payload);
    const isFirst =
      other === undefined ||
      update.weight > other.weight ||
      (update.weight === other.weight && update.key < other.key);
    if (isFirst) byPayload.set(update.payload, update);
  }
  return [...byPayload.values()].sort((a, b) => (a.payload < b.payload ? -1 : 1));
}

/**
 * Drawn by a hash of the whole set: whoever makes an update does not know the jury yet, and who makes the last one can only
 * try again.
 */
function juryOf(updates: readonly JudgedUpdate[], hash: Hash): readonly JudgedUpdate[] {
  if (updates.length <= LARGEST_JURY) return updates;
  const digest = (text: string) => hexSha256(utf8(text), hash);
  const set = digest(updates.map(({ payload }) => `${payload}\n`).join(""));
  const drawn = updates.map((update) => ({ update, lot: digest(`${set}/${update.payload}`) }));
  drawn.sort((a, b) => (a.lot < b.lot ? -1 : 1));
  return drawn.slice(0, LARGEST_JURY).map(({ update }) => update);
}

function agreementOf(a: JudgedUpdate, b: JudgedUpdate): number {
  let known = a.agreements.get(b);
  if (known === undefined) {
    known = agreement(a.signs!, b.signs!);
    a.agreements.set(b, known);
    b.agreements.set(a, known);
  }
  return known;
}
