// The ledger: the updates behind the body, the body as it stands, the residual, and what is served of them. The arithmetic
// over whole bodies is done elsewhere (arithmetic.ts), so that what the network asks for is answered meanwhile, from what
// the last change has left. Not reentrant: the driver runs one changing call at a time. Decides nothing: round.ts does.
// A peer that lacks the run's initial body has a ledger without one until it adopts it: it counts, serves and saves nothing.

import { type Cohort, cohortOf } from "../core/cohort.ts";
import { ROUNDS_AHEAD } from "../core/intake.ts";
import { tileBytes } from "../core/merkle.ts";
import type { BodyRoots } from "../core/round-state.ts";
import { updateWeight } from "../core/run-config.ts";
import {
  type BodyRoot,
  type ContentId,
  type Inventory,
  NO_BODY,
  type PeerId,
  type SignedUpdate,
  type SnapshotManifest,
} from "../core/types.ts";
import { admitUpdate, type UpdateId, updateKey, updateSetDigest } from "../core/update-set.ts";
import { BodyNotHeldError } from "../errors.ts";
import type { LoggedUpdate, LogOrigin, ProtocolCheckpoint } from "../ports.ts";
import type { BodyArithmetic, CompressedDelta, DecodedUpdate, DescribedBody } from "./arithmetic.ts";
import { type CountOutcome, refused, UNTIMELY } from "./count-outcome.ts";
import type { LedgerModules, LedgerOptions, LedgerStart } from "./ledger-options.ts";
import { OwnUpdates, PENDING_OWN_ROUNDS } from "./own-updates.ts";
import { type ClosedBody, ServedBodies } from "./served-bodies.ts";
import { earlierThan, UpdateLog } from "./update-log.ts";

/** Payloads of closed rounds are kept this long, for peers that are about to close them. */
const RETAINED_ROUNDS = 2;

export class Ledger {
  readonly #options: LedgerOptions;
  readonly #arithmetic: BodyArithmetic;
  readonly #modules: LedgerModules;
  readonly #cohort: Cohort;
  readonly #log: UpdateLog;
  #round: number;
  readonly #own: OwnUpdates;
  #closed: ClosedBody | undefined;
  readonly #served: ServedBodies;
  /** The body at the start of #round, as the last change left it. */
  #current: DescribedBody | undefined;
  /** That body has changed since: what is to be made good before the change is over. */
  #isStale = false;
  readonly #restrained: LoggedUpdate[] = [];
  /** The own update that no checkpoint has yet: a kill may undo it, so nobody may have it from here. */
  #untold: SignedUpdate | undefined;
  /** Digests by first round: every presence heard asks for one, and between two updates the answer is the same. */
  readonly #digests = new Map<number, { readonly version: number; readonly digest: ContentId }>();

  private constructor(options: LedgerOptions, modules: LedgerModules, start: LedgerStart) {
    this.#options = options;
    this.#arithmetic = modules.arithmetic;
    this.#modules = modules;
    this.#cohort = cohortOf(options.runId, options.config.averaging.cohort, options.hash);
    this.#round = start.round;
    this.#served = new ServedBodies(modules.nowMs);
    this.#log = new UpdateLog(options.hash, start.late, start.opposed);
    this.#own = new OwnUpdates(start.residual, start.pendingOwn, (update) => this.#log.keyOf(update));
  }

  /** `updates`: what counts or is logged from the start, as far as stored. */
  static async open(
    options: LedgerOptions,
    modules: LedgerModules,
    start: LedgerStart,
    updates: readonly SignedUpdate[],
  ): Promise<Ledger> {
    const ledger = new Ledger(options, modules, start);
    if (start.closedBody !== undefined) {
      const closed = await modules.arithmetic.describe(start.closedBody);
      await ledger.#begin(start.closedRound, closed);
      ledger.#log.ledTo(start.closedRound, closed.root);
    }
    await ledger.#restore(updates);
    await ledger.#refresh();
    return ledger;
  }

  get holdsBody(): boolean {
    return this.#closed !== undefined;
  }

  get round(): number {
    return this.#round;
  }

  get closedRound(): number {
    return this.#closed?.round ?? 0;
  }

  /** The body at the start of the current round. Shared and read-only. Throws BodyNotHeldError where there is none. */
  body(): Float32Array {
    if (this.#current === undefined) throw new BodyNotHeldError();
    return this.#current.body;
  }

  roots(): BodyRoots {
    const { closedRound } = this;
    const digest = () => this.digest(closedRound);
    return {
      root: this.#current?.root ?? NO_BODY,
      closedRound,
      closedRoot: this.#closed?.root ?? NO_BODY,
      // Asked for by a presence, not by each of the hundred updates that are counted between two.
      get openUpdates() {
        return digest();
      },
    };
  }

  /** Digest over the counted updates of rounds >= fromRound. */
  digest(fromRound: number): ContentId {
    // All rounds beyond the updates have the digest of nothing, whichever a stranger claims to have closed.
    const from = Math.min(fromRound, this.#round + ROUNDS_AHEAD + 1);
    const { version } = this.#log;
    const known = this.#digests.get(from);
    if (known !== undefined && known.version === version) return known.digest;
    const ids = this.#log.from(from).map((update) => this.#log.idOf(update));
    const digest = updateSetDigest(ids, from, this.#options.hash);
    for (const round of [...this.#digests.keys()]) if (round < this.closedRound) this.#digests.delete(round);
    this.#digests.set(from, { version, digest });
    return digest;
  }

  /** Ids of the updates that count in open rounds. */
  counted(): readonly UpdateId[] {
    return this.#log.from(this.closedRound).map((update) => this.#log.idOf(update));
  }

  /** Checks a payload, stores it and counts it in its round. */
  async count(update: SignedUpdate, payload: Uint8Array): Promise<CountOutcome> {
    // An own update may lose its place, or be brought back by others when it has gone to the residual.
    const before = this.#own.keysIn(this.#log);
    const outcome = await this.#countPayload(update, payload, update.announcement.round);
    if (outcome.outcome === "counted") await this.#balance(before);
    await this.#refresh();
    return outcome;
  }

  /** `keptRound`: the payload stays on disk as long as those of this round. Undefined: it is there already. */
  async #countPayload(
    update: SignedUpdate,
    payload: Uint8Array,
    keptRound: number | undefined,
  ): Promise<CountOutcome> {
    // The same bytes announced with another length: nobody is to depend on where it got them from.
    if (payload.length !== update.announcement.payloadBytes) return refused("its payload has another length");
    const decoded = await this.#arithmetic.decode(payload);
    if (!decoded.ok) return { outcome: "refused", ...decoded.rejection };
    return this.#releasing(decoded.update, () => this.#admit(update, decoded.update, payload, keptRound));
  }

  async #admit(
    update: SignedUpdate,
    decoded: DecodedUpdate,
    payload: Uint8Array,
    keptRound: number | undefined,
  ): Promise<CountOutcome> {
    const id = this.#log.idOf(update);
    const rivals = this.#log.of(id.round).map((rival) => this.#log.idOf(rival));
    const admission = admitUpdate(id, rivals, this.#cohort);
    if (admission.outcome !== "counts") return refused("another update of this round counts");
    const closed = this.#heldClosed();
    if (id.round < closed.round || id.round > this.#round + ROUNDS_AHEAD) return UNTIMELY;
    if (keptRound !== undefined)
      await this.#modules.store.putPayload(update.announcement.payload, keptRound, payload);
    const replaced = admission.replaces;
    if (replaced !== undefined && !(await this.#uncount(replaced))) {
      return refused("the update that it replaces is lost");
    }
    const weight = updateWeight(this.#options.config, update.announcement);
    const added = await this.#arithmetic.add(id.round, updateKey(id), decoded, weight);
    // Together, so that nobody who asks meanwhile is told of a round without either.
    if (replaced !== undefined) this.#log.remove(replaced);
    if (added !== "added") return UNTIMELY;
    // What is counted again is on disk already; whether it came late is known from the first time.
    const late = keptRound !== undefined && id.round < this.#round;
    this.#log.add(update, { late, heldRows: decoded.heldRows });
    if (id.round < this.#round) this.#isStale = true;
    return { outcome: "counted", replaced };
  }

  /** Compresses local progress, which is given away, together with the residual. Nothing changes until adoptOwn. */
  compress(delta: Float32Array): Promise<CompressedDelta> {
    return this.#arithmetic.compress(delta, this.#own.residual);
  }

  /** Counts the own update and makes what compression dropped the new residual. Nobody is told of it before `ownSaved`. */
  async adoptOwn(update: SignedUpdate, own: CompressedDelta): Promise<CountOutcome> {
    const { round } = update.announcement;
    this.#untold = update;
    const outcome = await this.#releasing(own.decoded, () =>
      this.#admit(update, own.decoded, own.payload, round + PENDING_OWN_ROUNDS),
    );
    if (outcome.outcome === "counted") this.#own.add(update, own.residual);
    await this.#refresh();
    return outcome;
  }

  /** The own update is on disk with its residual. */
  ownSaved(): void {
    this.#untold = undefined;
  }

  /** Moves to `round` and closes the rounds below `closedRound`. */
  async open(round: number, closedRound: number): Promise<BodyRoots> {
    for (let at = this.closedRound; at < closedRound; at++) await this.#closeRound(at);
    this.#round = round;
    this.#isStale = true;
    // A peer that went back to the plurality's body has updates for rounds that only now come within reach.
    const before = this.#own.keysIn(this.#log);
    await this.#restore(
      this.#own.pending.filter((own) => this.#isOpen(own) && !before.has(this.#log.keyOf(own))),
    );
    await this.#balance(before);
    await this.#refresh();
    return this.roots();
  }

  /**
   * Takes a closed body from elsewhere, with the donor's log of what is in it. Updates that are still open
   * there count on. Own updates that the new body lacks go back into the residual; returns how many did. Throws,
   * with nothing changed, where the body is not the one its manifest names.
   */
  async adopt(
    manifest: SnapshotManifest,
    body: Float32Array,
    round: number,
    { updates: theirs, opposed = [] }: Pick<Inventory, "updates" | "opposed">,
  ): Promise<number> {
    const closed = { ...(await this.#arithmetic.describe(body)), round: manifest.closedRound };
    if (closed.root !== manifest.root) throw new RangeError(`the body's root is not ${manifest.root}`);
    const before = this.#own.keysIn(this.#log);
    // Where the donor's log does not reach, what this peer believed of its own updates stays as it was.
    const earlier = this.#own.pending.filter(earlierThan(theirs));
    const believed = earlier.filter((own) => before.has(this.#log.keyOf(own)));
    const open = [...this.#log.from(manifest.closedRound), ...this.#own.pending].filter(
      ({ announcement }) => announcement.round >= manifest.closedRound,
    );
    await this.#begin(manifest.closedRound, closed);
    this.#round = round;
    this.#log.clear();
    await this.#restore([...open, ...believed, ...manifest.updates, ...theirs]);
    this.#log.oppose(opposed.filter(({ announcement }) => announcement.round < closed.round));
    const returned = await this.#balance(before);
    await this.#refresh();
    // From here on others may take it over: half of a log would have them count twice what the other half has.
    this.#log.ledTo(closed.round, closed.root);
    return returned;
  }

  /** Counts those of `updates` whose round is open and whose payload is stored; logs those of closed rounds. */
  async #restore(updates: readonly SignedUpdate[]): Promise<void> {
    for (const update of updates) {
      this.#modules.onAdvanced?.();
      const { round, payload: id } = update.announcement;
      if (round < this.closedRound) {
        this.#log.add(update);
        continue;
      }
      if (!this.#isOpen(update)) continue;
      const payload = await this.#modules.store.payload(id);
      if (payload !== undefined) await this.#countPayload(update, payload, undefined);
    }
  }

  /** The updates of rounds closed since this was last asked that do not count whole. */
  takeRestrained(): readonly LoggedUpdate[] {
    return this.#restrained.splice(0);
  }

  /** Forgets what nobody will ask for any more. */
  async prune(): Promise<void> {
    const { oldestRound } = this.#served;
    await this.#modules.store.prunePayloads(Math.min(this.closedRound - RETAINED_ROUNDS, oldestRound));
  }

  /** The closed body as the log of updates may begin from it, undefined where there is none. */
  origin(cause: LogOrigin["cause"], donor?: PeerId): LogOrigin | undefined {
    if (this.#closed === undefined) return undefined;
    const { round: closedRound, body, root } = this.#closed;
    return { cause, donor, closedRound, body, root };
  }

  /** Everything to resume from but what the round logic knows. */
  checkpoint(): Omit<ProtocolCheckpoint, "publishedRound" | "presenceSequence" | "probation"> {
    const { round: closedRound, body: closedBody } = this.#heldClosed();
    return {
      closedRound,
      closedBody,
      round: this.#round,
      updates: this.#log.from(0),
      residual: this.#own.residual,
      pendingOwn: this.#own.pending,
      late: this.#log.late,
      opposed: this.#log.opposed,
    };
  }

  /** Updates counted here in rounds >= fromRound, closed ones too as far back as the log goes; oldest first. */
  inventory = (fromRound: number): readonly SignedUpdate[] =>
    this.#log.from(fromRound).filter((update) => update !== this.#untold);

  /** Roots of the closed bodies of rounds >= fromRound that the inventory has led to. */
  closedRoots(fromRound: number): ReadonlyMap<number, BodyRoot> {
    return this.#log.roots(fromRound);
  }

  isOpposed = (update: SignedUpdate): boolean => this.#log.isOpposed(this.#log.keyOf(update));

  snapshot(): SnapshotManifest | undefined {
    if (this.#closed === undefined) return undefined;
    const { round: closedRound, root, tiles } = this.#closed;
    if (this.#log.roots(closedRound).get(closedRound) !== root) return undefined;
    return { runId: this.#options.runId, closedRound, root, tiles, updates: this.inventory(closedRound) };
  }

  tile(root: BodyRoot, index: number): Uint8Array | undefined {
    const lent = this.#served.lend(root);
    return lent && tileBytes(lent.body, index);
  }

  /** Works on a stored update; undefined where the disk has lost it (a power cut may undo the last writes of payloads). */
  async #withStored<Result>(
    payload: ContentId,
    work: (update: DecodedUpdate) => Promise<Result>,
  ): Promise<Result | undefined> {
    const bytes = await this.#modules.store.payload(payload);
    const decoded = bytes && (await this.#arithmetic.decode(bytes));
    return decoded?.ok ? this.#releasing(decoded.update, () => work(decoded.update)) : undefined;
  }

  async #releasing<Result>(update: DecodedUpdate, work: () => Promise<Result>): Promise<Result> {
    try {
      return await work();
    } finally {
      await this.#arithmetic.release(update);
    }
  }

  /** Takes an update out of the sums; the log is the caller's. */
  async #uncount(id: UpdateId): Promise<boolean> {
    const counted = this.#log.find(id);
    if (counted === undefined) return false;
    const removed = await this.#withStored(counted.announcement.payload, (update) =>
      this.#arithmetic.remove(id.round, updateKey(id), update),
    );
    if (removed !== undefined && id.round < this.#round) this.#isStale = true;
    return removed !== undefined;
  }

  #isOpen({ announcement: { round } }: SignedUpdate): boolean {
    return round >= this.closedRound && round <= this.#round + ROUNDS_AHEAD;
  }

  #balance(before: ReadonlySet<string>): Promise<number> {
    return this.#own.balance(before, this.#own.keysIn(this.#log), (residual, payload, move) =>
      this.#withStored(payload, (update) => this.#arithmetic.moveResidual(residual, update, move)),
    );
  }

  #heldClosed(): ClosedBody {
    if (this.#closed === undefined) throw new BodyNotHeldError();
    return this.#closed;
  }

  async #begin(closedRound: number, closed: DescribedBody): Promise<void> {
    await this.#arithmetic.begin(closedRound, closed);
    this.#closed = { ...closed, round: closedRound };
    this.#served.clear();
    this.#served.add(this.#closed);
    this.#isStale = true;
  }

  /** Ends each change: from here on everybody sees the body as it is now. */
  async #refresh(): Promise<void> {
    if (!this.#isStale || this.#closed === undefined) return;
    this.#current =
      this.#round === this.#closed.round ? this.#closed : await this.#arithmetic.bodyAt(this.#round);
    this.#isStale = false;
  }

  async #closeRound(round: number): Promise<void> {
    const { restraints, ...closed } = await this.#arithmetic.closeThrough(round);
    const before = this.#own.keysIn(this.#log);
    this.#log.restrain(round, restraints);
    this.#restrained.push(...this.#log.entries(round).filter(({ restraint }) => restraint !== undefined));
    await this.#balance(before);
    this.#closed = { ...closed, round: round + 1 };
    this.#served.add(this.#closed);
    const { body, root } = closed;
    this.#log.ledTo(round + 1, root);
    await this.#modules.updateLog?.closed({ round, updates: this.#log.entries(round), body, root });
    this.#log.forgetBefore(round + 1);
    this.#own.forgetBefore(round + 1 - PENDING_OWN_ROUNDS);
  }
}
