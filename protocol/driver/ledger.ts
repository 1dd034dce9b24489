// The ledger: the replicated body, the updates behind it, the residual, and what is served of them. All arithmetic over
// whole bodies that the driver needs happens here and nowhere else, so that it can move to a worker. Not reentrant:
// the driver runs one changing call at a time. Decides nothing: round.ts does.
import { ReplicatedBody } from "../core/averaging.ts";
import { codecFor } from "../core/codec/registry.ts";
import { compressUpdate } from "../core/error-feedback.ts";
import type { GridUpdate } from "../core/grid.ts";
import { type Hash, hexSha256 } from "../core/hash.ts";
import { ROUNDS_AHEAD } from "../core/intake.ts";
import type { ParameterLayout } from "../core/layout.ts";
import { rootOfTiles, tileBytes, tileIds } from "../core/merkle.ts";
import type { BodyRoots } from "../core/round-state.ts";
import { type RunConfig, updateWeight } from "../core/run-config.ts";
import type {
  BodyRoot,
  ContentId,
  Offence,
  PeerId,
  RunId,
  SignedUpdate,
  SnapshotManifest,
} from "../core/types.ts";
import { admitUpdate, type UpdateId, updateKey, updateSetDigest } from "../core/update-set.ts";
import type { ProtocolCheckpoint, StorePort } from "../ports.ts";
import { OwnUpdates, PENDING_OWN_ROUNDS } from "./own-updates.ts";
import { UpdateLog } from "./update-log.ts";

export interface LedgerOptions {
  readonly runId: RunId;
  readonly config: RunConfig;
  readonly layout: ParameterLayout;
  readonly hash: Hash;
  readonly self: PeerId;
  readonly store: StorePort;
}

/** `refused`: never counts. `untimely`: its round is closed here, or too far ahead. */
export type CountOutcome =
  | { readonly outcome: "counted"; readonly replaced: UpdateId | undefined }
  | { readonly outcome: "refused"; readonly offence: Offence | undefined; readonly detail: string };

export interface OwnUpdate {
  readonly payload: Uint8Array;
  readonly payloadId: ContentId;
  readonly residual: Float32Array;
  readonly residualNorm: number;
  readonly updateNorm: number;
}

/** A closed body with its tiles' ids, as it is served. */
interface ClosedBody {
  readonly round: number;
  readonly body: Float32Array;
  readonly tiles: readonly ContentId[];
  readonly root: BodyRoot;
}

/** Payloads of closed rounds are kept this long, for peers that are about to close them. */
const RETAINED_ROUNDS = 2;
export class Ledger {
  readonly #options: LedgerOptions;
  readonly #log = new UpdateLog();
  #body: ReplicatedBody;
  #round: number;
  readonly #own: OwnUpdates;
  #closed: ClosedBody;
  /** Served on until those who began to fetch it are done. */
  #previousClosed: ClosedBody | undefined;
  /** Root of the body at the start of #round; undefined once that body has changed. */
  #root: BodyRoot | undefined;

  constructor(
    options: LedgerOptions,
    start: Pick<ProtocolCheckpoint, "closedRound" | "closedBody" | "round" | "residual" | "pendingOwn">,
  ) {
    this.#options = options;
    this.#round = start.round;
    this.#own = new OwnUpdates(start.residual, start.pendingOwn);
    this.#body = this.#replicated(start.closedRound, start.closedBody);
    this.#closed = this.#describe(start.closedRound, start.closedBody);
  }

  get round(): number {
    return this.#round;
  }

  get closedRound(): number {
    return this.#closed.round;
  }

  /** The body at the start of the current round. Shared and read-only. */
  body(): Float32Array {
    return this.#body.bodyAt(this.#round);
  }

  roots(): BodyRoots {
    this.#root ??=
      this.#round === this.#closed.round
        ? this.#closed.root
        : rootOfTiles(tileIds(this.body(), this.#options.hash), this.#options.hash);
    return {
      root: this.#root,
      closedRound: this.#closed.round,
      closedRoot: this.#closed.root,
      openUpdates: this.digest(this.#closed.round),
    };
  }

  /** Digest over the counted updates of rounds >= fromRound. */
  digest(fromRound: number): ContentId {
    return updateSetDigest(this.#openIds(), fromRound, this.#options.hash);
  }

  /** Ids of the updates that count in open rounds. */
  counted(): readonly UpdateId[] {
    return this.#openIds();
  }

  /** Checks a payload, stores it and counts it in its round. */
  async count(update: SignedUpdate, payload: Uint8Array): Promise<CountOutcome> {
    const before = this.#own.keysIn(this.#log);
    const outcome = await this.#count(update, payload, update.announcement.round);
    if (outcome.outcome === "counted" && outcome.replaced !== undefined) await this.#balance(before);
    return outcome;
  }

  /** `keptRound`: the payload stays on disk as long as those of this round. Undefined: it is there already. */
  async #count(
    update: SignedUpdate,
    payload: Uint8Array,
    keptRound: number | undefined,
  ): Promise<CountOutcome> {
    const { announcement: id } = update;
    const decoded = this.#decode(payload);
    if (!decoded.ok) return { outcome: "refused", ...decoded.rejection };
    const rivals = this.#openIds().filter(({ round }) => round === id.round);
    const admission = admitUpdate(id, rivals);
    if (admission.outcome !== "counts") {
      return { outcome: "refused", offence: undefined, detail: "another update of this round counts" };
    }
    const { closedRound } = this.#body;
    if (id.round < closedRound || id.round > this.#round + ROUNDS_AHEAD) return untimely(id.round);
    if (keptRound !== undefined) await this.#options.store.putPayload(id.payload, keptRound, payload);
    const replaced = admission.replaces;
    if (replaced !== undefined && !(await this.#uncount(replaced))) {
      return { outcome: "refused", offence: undefined, detail: "the update that it replaces is lost" };
    }
    const added = this.#body.add(id.round, updateKey(id), decoded.update, this.#weight(update));
    if (added !== "added") return untimely(id.round);
    this.#log.add(update);
    if (id.round < this.#round) this.#root = undefined;
    return { outcome: "counted", replaced };
  }

  /** Compresses local progress together with the residual. Nothing changes until adoptOwn. */
  compress(delta: Float32Array): OwnUpdate {
    const { config, layout, hash } = this.#options;
    const { averaging } = config;
    const compressed = compressUpdate(
      delta,
      this.#own.residual,
      codecFor(averaging),
      layout,
      averaging.errorFeedbackDecay,
    );
    return {
      payload: compressed.payload,
      payloadId: hexSha256(compressed.payload, hash),
      residual: compressed.residual,
      residualNorm: norm(compressed.residual),
      updateNorm: gridNorm(compressed.update),
    };
  }

  /** Counts this peer's own update and makes what compression dropped the new residual. */
  async adoptOwn(update: SignedUpdate, own: OwnUpdate): Promise<CountOutcome> {
    const { round } = update.announcement;
    const outcome = await this.#count(update, own.payload, round + PENDING_OWN_ROUNDS);
    if (outcome.outcome === "counted") this.#own.add(update, own.residual);
    return outcome;
  }

  /** Moves to `round` and closes the rounds below `closedRound`. */
  async open(round: number, closedRound: number): Promise<BodyRoots> {
    this.#round = round;
    this.#root = undefined;
    if (closedRound > this.#closed.round) {
      this.#body.closeThrough(closedRound - 1);
      this.#close(closedRound);
    }
    // A peer that went back to the plurality's body has updates for rounds that only now come within reach.
    const before = this.#own.keysIn(this.#log);
    await this.restore(this.#own.pending.filter((own) => this.#isOpen(own) && !before.has(keyOf(own))));
    await this.#balance(before);
    return this.roots();
  }

  /**
   * Takes a closed body from elsewhere, with the donor's log of what is in it (`theirs`). Updates that are still open
   * there count on. Own updates that the new body lacks go back into the residual; returns how many did. Throws,
   * with nothing changed, where the body is not the one its manifest names.
   */
  async adopt(
    manifest: SnapshotManifest,
    body: Float32Array,
    round: number,
    theirs: readonly SignedUpdate[],
  ): Promise<number> {
    const closed = this.#describe(manifest.closedRound, body);
    if (closed.root !== manifest.root) throw new RangeError(`the body's root is not ${manifest.root}`);
    const before = this.#own.keysIn(this.#log);
    // Where the donor's log does not reach, what this peer believed of its own updates stays as it was.
    const beyond = outside(theirs);
    const believed = this.#own.pending.filter((own) => before.has(keyOf(own)) && beyond(own));
    const open = [...this.#log.from(manifest.closedRound), ...this.#own.pending].filter(
      ({ announcement }) => announcement.round >= manifest.closedRound,
    );
    this.#round = round;
    this.#body = this.#replicated(manifest.closedRound, body);
    this.#closed = closed;
    this.#previousClosed = undefined;
    this.#log.clear();
    this.#root = undefined;
    await this.restore([...open, ...believed, ...manifest.updates, ...theirs]);
    return this.#balance(before);
  }

  /** Counts those of `updates` whose round is open and whose payload is stored; logs those of closed rounds. */
  async restore(updates: readonly SignedUpdate[]): Promise<void> {
    for (const update of updates) {
      const { round, payload: id } = update.announcement;
      if (round < this.closedRound) {
        this.#log.add(update);
        continue;
      }
      if (!this.#isOpen(update)) continue;
      const payload = await this.#options.store.payload(id);
      if (payload !== undefined) await this.#count(update, payload, undefined);
    }
  }

  /** Forgets what nobody will ask for any more. */
  async prune(): Promise<void> {
    await this.#options.store.prunePayloads(this.closedRound - RETAINED_ROUNDS);
  }

  /** Everything to resume from, except what the round logic knows. */
  checkpoint(): Omit<ProtocolCheckpoint, "publishedRound" | "presenceSequence"> {
    return {
      closedRound: this.closedRound,
      closedBody: this.#closed.body,
      round: this.#round,
      updates: this.#log.from(0),
      residual: this.#own.residual,
      pendingOwn: this.#own.pending,
    };
  }

  /** Updates counted here in rounds >= fromRound, closed ones too as far back as the log goes; oldest first. */
  inventory(fromRound: number): readonly SignedUpdate[] {
    return this.#log.from(fromRound);
  }

  snapshot(): SnapshotManifest {
    const { round: closedRound, root, tiles } = this.#closed;
    return { runId: this.#options.runId, closedRound, root, tiles, updates: this.#log.from(closedRound) };
  }

  tile(root: BodyRoot, index: number): Uint8Array | undefined {
    const closed = [this.#closed, this.#previousClosed].find((served) => served?.root === root);
    return closed === undefined ? undefined : tileBytes(closed.body, index);
  }

  #openIds(): UpdateId[] {
    return this.#log.from(this.#closed.round).map(({ announcement }) => announcement);
  }

  #weight({ announcement }: SignedUpdate): number {
    return updateWeight(this.#options.config, announcement.tokens);
  }

  #decode(payload: Uint8Array) {
    const { config, layout } = this.#options;
    return codecFor(config.averaging).decode(payload, layout);
  }

  /** Undefined where the disk has lost it (a power cut may undo the last writes of payloads). */
  async #stored(payload: ContentId): Promise<GridUpdate | undefined> {
    const bytes = await this.#options.store.payload(payload);
    const decoded = bytes === undefined ? undefined : this.#decode(bytes);
    return decoded?.ok === true ? decoded.update : undefined;
  }

  async #uncount(id: UpdateId): Promise<boolean> {
    const update = await this.#stored(id.payload);
    if (update === undefined) return false;
    this.#body.remove(id.round, updateKey(id), update);
    this.#log.remove(id);
    if (id.round < this.#round) this.#root = undefined;
    return true;
  }

  #isOpen({ announcement: { round } }: SignedUpdate): boolean {
    return round >= this.closedRound && round <= this.#round + ROUNDS_AHEAD;
  }

  #balance(before: ReadonlySet<string>): Promise<number> {
    return this.#own.balance(before, this.#own.keysIn(this.#log), (payload) => this.#stored(payload));
  }

  #close(closedRound: number): void {
    this.#previousClosed = this.#closed;
    this.#closed = this.#describe(closedRound, this.#body.closedBody);
    this.#log.forgetBefore(closedRound);
    this.#own.forgetBefore(closedRound - PENDING_OWN_ROUNDS);
  }

  #replicated(closedRound: number, closedBody: Float32Array): ReplicatedBody {
    const { layout, config } = this.#options;
    const maxOpenRounds = config.averaging.openRounds + ROUNDS_AHEAD;
    return new ReplicatedBody({ closedRound, closedBody, layout, maxOpenRounds });
  }

  #describe(round: number, body: Float32Array): ClosedBody {
    const tiles = tileIds(body, this.#options.hash);
    return { round, body, tiles, root: rootOfTiles(tiles, this.#options.hash) };
  }
}

const keyOf = ({ announcement }: SignedUpdate): string => updateKey(announcement);

/** Whether an update's round lies outside those that `log` reaches over. */
function outside(log: readonly SignedUpdate[]): (update: SignedUpdate) => boolean {
  const rounds = log.map(({ announcement }) => announcement.round);
  const [oldest, newest] = [Math.min(...rounds), Math.max(...rounds)];
  return ({ announcement: { round } }) => round < oldest || round > newest;
}

const untimely = (round: number): CountOutcome => ({
  outcome: "refused",
  offence: undefined,
  detail: `round ${round} is not open here`,
});

function norm(values: Float32Array): number {
  let sum = 0;
  for (let at = 0; at < values.length; at++) sum += values[at]! ** 2;
  return Math.sqrt(sum);
}

function gridNorm(update: GridUpdate): number {
  let sum = 0;
  update.forEachChunk((_, grid) => {
    for (let at = 0; at < grid.length; at++) sum += (grid[at]! * 2 ** -30) ** 2;
  });
  return Math.sqrt(sum);
}
