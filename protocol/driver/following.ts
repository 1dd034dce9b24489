// The log of the rounds that close while a body is on its way, and their payloads, kept as they come: peers remember some
// dozens of rounds, and a slow link takes longer for a body than these last. Beside the ledger, which stays as it is.
import type { BodyRoot, Inventory, PeerId, SignedUpdate } from "../core/types.ts";
import { updateIdOf } from "../core/update-id.ts";
import { updateKey } from "../core/update-set.ts";
import type { DriverContext } from "./context.ts";
import { earlierThan } from "./update-log.ts";

/** So many rounds at once: few, or their payloads would hold the tiles up for as long as a chunk may take. */
const EVERY_ROUNDS = 2;
const LOOK_MS = 2_000;

export class Following {
  readonly #context: DriverContext;
  readonly #donor: PeerId;
  readonly #signal: AbortSignal;
  readonly #updates = new Map<string, SignedUpdate>();
  readonly #opposed = new Set<SignedUpdate>();
  readonly #roots = new Map<number, BodyRoot>();
  /** Payloads yet to be fetched, oldest first. */
  readonly #owed: SignedUpdate[] = [];
  #newest = 0;
  #isLooking = false;
  #cancel: () => void = () => {};

  constructor(context: DriverContext, donor: PeerId, signal: AbortSignal) {
    this.#context = context;
    this.#donor = donor;
    this.#signal = signal;
  }

  /** From the body at the start of `closedRound` on, until it is stopped. */
  begin(closedRound: number, root: BodyRoot): void {
    this.stop();
    this.#newest = closedRound;
    this.#roots.set(closedRound, root);
    this.#wait();
  }

  stop(): void {
    this.#cancel();
  }

  /** The donor's log, continued backwards by what was kept, where the two are of one lineage. */
  continued(log: Inventory): Inventory {
    const { updates, closedRoots, opposed = [] } = log;
    const oldest = Math.min(...closedRoots.keys());
    if (!this.#roots.has(oldest) || this.#roots.get(oldest) !== closedRoots.get(oldest)) return log;
    // A donor that took its body over has updates of rounds whose roots it has never held.
    const isMissing = earlierThan(updates);
    const before = [...this.#updates.values()].filter(
      (update) => update.announcement.round < oldest && isMissing(update),
    );
    return {
      updates: [...before, ...updates],
      closedRoots: new Map([...this.#roots, ...closedRoots]),
      opposed: [...before.filter((update) => this.#opposed.has(update)), ...opposed],
    };
  }

  #wait(): void {
    this.#cancel = this.#context.modules.clock.after(LOOK_MS, () => {
      this.#wait();
      if (this.#isLooking || !this.#isDue()) return;
      this.#isLooking = true;
      // What fails now is asked for again at the next look.
      void this.#look()
        .catch(() => {})
        .finally(() => {
          this.#isLooking = false;
        });
    });
  }

  #isDue(): boolean {
    if (this.#signal.aborted) return false;
    const { presence } = this.#context.state().members.get(this.#donor) ?? {};
    return this.#owed.length > 0 || (presence?.closedRound ?? 0) >= this.#newest + EVERY_ROUNDS;
  }

  async #look(): Promise<void> {
    const { modules, options } = this.#context;
    const from = this.#newest;
    const log = await modules.network.fetchInventory(this.#donor, from, this.#signal);
    if (log.closedRoots.get(from) === this.#roots.get(from)) {
      const newest = Math.max(...log.closedRoots.keys());
      const opposed = new Set(log.opposed);
      for (const update of log.updates) {
        if (update.announcement.round < from || update.announcement.round >= newest) continue;
        this.#updates.set(updateKey(updateIdOf(update.announcement, options.hash)), update);
        if (opposed.has(update)) this.#opposed.add(update);
        this.#owed.push(update);
      }
      for (const [round, root] of log.closedRoots) this.#roots.set(round, root);
      this.#newest = newest;
    }
    for (let update = this.#owed[0]; update !== undefined; update = this.#owed[0]) {
      await this.#keep(update);
      this.#owed.shift();
    }
  }

  async #keep(update: SignedUpdate): Promise<void> {
    const { network, store } = this.#context.modules;
    const { payload: id, round } = update.announcement;
    if ((await store.payload(id)) !== undefined) return;
    await store.putPayload(id, round, await network.fetchPayload(update, [this.#donor], this.#signal));
  }
}
