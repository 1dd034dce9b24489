// The updates that count, by round: those of open rounds, which make the body, and those of the last closed rounds,
// which tell a peer that was away whether its update made it.
import type { SignedUpdate } from "../core/types.ts";
import { compareUpdateIds, type UpdateId, updateKey } from "../core/update-set.ts";

/** Some 400 bytes each: 32 rounds of 32 peers are 400 KB. */
export const LOGGED_ROUNDS = 32;

export class UpdateLog {
  readonly #rounds = new Map<number, Map<string, SignedUpdate>>();

  add(update: SignedUpdate): void {
    const { round } = update.announcement;
    const updates = this.#rounds.get(round) ?? new Map<string, SignedUpdate>();
    this.#rounds.set(round, updates.set(updateKey(update.announcement), update));
  }

  has(key: string): boolean {
    return [...this.#rounds.values()].some((updates) => updates.has(key));
  }

  remove(id: UpdateId): void {
    this.#rounds.get(id.round)?.delete(updateKey(id));
  }

  /** Updates of rounds >= fromRound, by round, author and payload. */
  from(fromRound: number): readonly SignedUpdate[] {
    return [...this.#rounds]
      .filter(([round]) => round >= fromRound)
      .flatMap(([, updates]) => [...updates.values()])
      .sort((a, b) => compareUpdateIds(a.announcement, b.announcement));
  }

  /** Keeps the last rounds before `closedRound`. */
  forgetBefore(closedRound: number): void {
    for (const round of [...this.#rounds.keys()]) {
      if (round < closedRound - LOGGED_ROUNDS) this.#rounds.delete(round);
    }
  }

  clear(): void {
    this.#rounds.clear();
  }
}
