// The updates that count, by round: those of open rounds, which make the body, and those of the last closed rounds,
// which tell a peer that was away whether its update made it. With the roots of the closed bodies they have led to: a log
// says nothing of another body.
import type { Hash } from "../core/hash.ts";
import type { Restraint } from "../core/judging.ts";
import type { BodyRoot, SignedUpdate } from "../core/types.ts";
import { updateIdOf } from "../core/update-id.ts";
import { compareUpdateIds, type UpdateId, updateKey } from "../core/update-set.ts";
import type { LoggedUpdate } from "../ports.ts";

/** Some 400 bytes each: 32 rounds of 32 peers are 400 KB. */
export const LOGGED_ROUNDS = 32;
/** Somewhat fewer, so that whoever begins to fetch a body at the end of them still finds what leads on from it. */
export const REMEMBERED_ROUNDS = LOGGED_ROUNDS - 4;

/** What is known of an update beside what it says itself. */
export type UpdateFacts = Omit<LoggedUpdate, "update">;

const NO_FACTS: UpdateFacts = { late: false, heldRows: undefined };

interface LoggedRound {
  readonly keys: Set<string>;
  /** By update key. */
  readonly facts: Map<string, UpdateFacts>;
  /** By author and statement. Kept in order as they come: the order is asked for at every update. */
  readonly updates: SignedUpdate[];
}

export class UpdateLog {
  readonly #rounds = new Map<number, LoggedRound>();
  readonly #roots = new Map<number, BodyRoot>();
  readonly #hash: Hash;
  /** Keys of updates of open rounds that came late: known also when they are counted anew. */
  readonly #late: Set<string>;
  /** Keys of updates of closed rounds that the defence has left out of their round. */
  readonly #opposed: Set<string>;
  #version = 0;

  constructor(hash: Hash, late: readonly string[] = [], opposed: readonly string[] = []) {
    this.#hash = hash;
    this.#late = new Set(late);
    this.#opposed = new Set(opposed);
  }

  /** Keys of the updates of open rounds that came when this peer stood in a later round. */
  get late(): readonly string[] {
    return [...this.#late];
  }

  get opposed(): readonly string[] {
    return [...this.#opposed];
  }

  idOf({ announcement }: SignedUpdate): UpdateId {
    return updateIdOf(announcement, this.#hash);
  }

  keyOf(update: SignedUpdate): string {
    return updateKey(this.idOf(update));
  }

  /** Another number after each change. */
  get version(): number {
    return this.#version;
  }

  add(update: SignedUpdate, facts?: UpdateFacts): void {
    const { announcement } = update;
    const id = this.idOf(update);
    const key = updateKey(id);
    const logged = this.#rounds.get(announcement.round) ?? { keys: new Set(), facts: new Map(), updates: [] };
    this.#rounds.set(announcement.round, logged);
    const at = this.#placeOf(logged.updates, id);
    logged.updates.splice(at, logged.keys.has(key) ? 1 : 0, update);
    logged.keys.add(key);
    if (facts?.late === true) this.#late.add(key);
    if (facts !== undefined) logged.facts.set(key, { ...facts, late: this.#late.has(key) });
    this.#version++;
  }

  /** Adds what the defence took from updates of a round that is closed now. */
  restrain(round: number, restraints: readonly Restraint[]): void {
    const facts = this.#rounds.get(round)?.facts;
    for (const restraint of restraints) {
      if (restraint.why === "opposed") this.#opposed.add(restraint.key);
      facts?.set(restraint.key, { ...(facts.get(restraint.key) ?? NO_FACTS), restraint });
    }
  }

  /** Another peer's log says that these, of closed rounds, are opposed. */
  oppose(updates: readonly SignedUpdate[]): void {
    for (const update of updates) this.#opposed.add(this.keyOf(update));
  }

  isOpposed(key: string): boolean {
    return this.#opposed.has(key);
  }

  /** Whether the body has the update in it, or will once its round is closed. */
  carries(key: string): boolean {
    return this.has(key) && !this.isOpposed(key);
  }

  has(key: string): boolean {
    for (const { keys } of this.#rounds.values()) if (keys.has(key)) return true;
    return false;
  }

  remove(id: UpdateId): void {
    const logged = this.#rounds.get(id.round);
    if (logged === undefined || !logged.keys.delete(updateKey(id))) return;
    logged.updates.splice(this.#placeOf(logged.updates, id), 1);
    this.#version++;
  }

  /** The update of this name, where it is here. */
  find(id: UpdateId): SignedUpdate | undefined {
    const { updates = [] } = this.#rounds.get(id.round) ?? {};
    const found = updates[this.#placeOf(updates, id)];
    return found !== undefined && compareUpdateIds(this.idOf(found), id) === 0 ? found : undefined;
  }

  /** Updates of one round, by author and statement; a view that changes with the log. */
  of(round: number): readonly SignedUpdate[] {
    return this.#rounds.get(round)?.updates ?? [];
  }

  /** Updates of one round with what is known of them, by author. */
  entries(round: number): readonly LoggedUpdate[] {
    const facts = this.#rounds.get(round)?.facts;
    return this.of(round).map((update) => ({
      update,
      ...(facts?.get(this.keyOf(update)) ?? NO_FACTS),
    }));
  }

  /** Updates of rounds >= fromRound, by round, author and statement. */
  from(fromRound: number): readonly SignedUpdate[] {
    return [...this.#rounds.keys()]
      .filter((round) => round >= fromRound)
      .sort((a, b) => a - b)
      .flatMap((round) => this.of(round));
  }

  /** The rounds before `closedRound` have led to this body. */
  ledTo(closedRound: number, root: BodyRoot): void {
    this.#roots.set(closedRound, root);
  }

  /** Roots of the closed bodies of rounds >= fromRound, as far back as they are known. */
  roots(fromRound: number): ReadonlyMap<number, BodyRoot> {
    return new Map([...this.#roots].filter(([round]) => round >= fromRound));
  }

  /** Keeps the last rounds before `closedRound`. */
  forgetBefore(closedRound: number): void {
    for (const round of [...this.#rounds.keys()]) {
      if (round < closedRound - LOGGED_ROUNDS) this.#rounds.delete(round);
    }
    for (const key of this.#opposed) {
      if (Number.parseInt(key, 10) < closedRound - LOGGED_ROUNDS) this.#opposed.delete(key);
    }
    for (const key of this.#late) if (Number.parseInt(key, 10) < closedRound) this.#late.delete(key);
    for (const round of [...this.#roots.keys()]) {
      if (round < closedRound - LOGGED_ROUNDS) this.#roots.delete(round);
    }
  }

  clear(): void {
    this.#rounds.clear();
    this.#roots.clear();
    this.#opposed.clear();
    this.#version++;
  }

  /** The index of the first update that is not before `id`. */
  #placeOf(updates: readonly SignedUpdate[], id: UpdateId): number {
    let low = 0;
    let high = updates.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (compareUpdateIds(this.idOf(updates[middle]!), id) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** Whether an update's round lies before those that `log` reaches over. */
export function earlierThan(log: readonly SignedUpdate[]): (update: SignedUpdate) => boolean {
  const oldest = Math.min(...log.map(({ announcement }) => announcement.round));
  return ({ announcement: { round } }) => round < oldest;
}
