// The ledger: the replicated body, the updates behind it, the residual, and what is served of them. All arithmetic over
// whole bodies that the driver needs happens here and nowhere else, so that it can move to a worker. Not reentrant:
// the driver runs one changing call at a time. Decides nothing: round.ts does. Where the run starts from a given body, a
// peer that lacks it has a ledger without a body until it adopts one: it counts, serves and saves nothing.

import { ReplicatedBody } from "../core/averaging.ts";
import { compressUpdate } from "../core/error-feedback.ts";
import { type GridUpdate, MAX_UPDATES_PER_ROUND } from "../core/grid.ts";
import { type Hash, hexSha256 } from "../core/hash.ts";
import { ROUNDS_AHEAD } from "../core/intake.ts";
import type { ParameterLayout } from "../core/layout.ts";
import { rootOfTiles, tileBytes, tileIds } from "../core/merkle.ts";
import type { BodyRoots } from "../core/round-state.ts";
import { type RunConfig, updateWeight } from "../core/run-config.ts";
import {
  type BodyRoot,
  type ContentId,
  NO_BODY,
  type Offence,
  type PeerId,
  type RunId,
  type SignedUpdate,
  type SnapshotManifest,
} from "../core/types.ts";
import { type UpdateCodec, updateCodec } from "../core/update-codec.ts";
import { admitUpdate, type UpdateId, updateKey, updateSetDigest } from "../core/update-set.ts";
import { BodyNotHeldError } from "../errors.ts";
import type { LogOrigin, ProtocolCheckpoint, StorePort, UpdateLogPort } from "../ports.ts";
import { OwnUpdates, PENDING_OWN_ROUNDS } from "./own-updates.ts";
import { UpdateLog } from "./update-log.ts";

export interface LedgerOptions {
  readonly runId: RunId;
  readonly config: RunConfig;
  readonly layout: ParameterLayout;
  readonly hash: Hash;
  readonly self: PeerId;
  readonly store: StorePort;
  readonly updateLog?: UpdateLogPort | undefined;
  /** Rows of the embedding that this peer holds: needed in variant trim, undefined in the others. */
  readonly heldRows?: Int32Array | undefined;
}

/** `closedBody`: undefined where this peer has to fetch one. */
export type LedgerStart = Pick<ProtocolCheckpoint, "closedRound" | "round" | "residual" | "pendingOwn"> & {
  readonly closedBody: Float32Array | undefined;
};

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
const NONE: ReadonlySet<string> = new Set();

export class Ledger {
  readonly #options: LedgerOptions;
  readonly #codec: UpdateCodec;
  readonly #log = new UpdateLog();
  #body: ReplicatedBody | undefined;
  #round: number;
  readonly #own: OwnUpdates;
  #closed: ClosedBody | undefined;
  /** Served on until those who began to fetch it are done. */
  #previousClosed: ClosedBody | undefined;
  /** Root of the body at the start of #round; undefined once that body has changed. */
  #root: BodyRoot | undefined;
  /** Digests by first round: every presence heard asks for one, and between two updates the answer is the same. */
  readonly #digests = new Map<number, { readonly version: number; readonly digest: ContentId }>();

  constructor(options: LedgerOptions, start: LedgerStart) {
    this.#options = options;
    this.#codec = updateCodec(options.config, options.layout);
    this.#round = start.round;
    this.#own = new OwnUpdates(start.residual, start.pendingOwn);
    if (start.closedBody === undefined) return;
    this.#body = this.#replicated(start.closedRound, start.closedBody);
    this.#closed = this.#describe(start.closedRound, start.closedBody);
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
    return this.#held().body.bodyAt(this.#round);
  }

  roots(): BodyRoots {
    const { closedRound } = this;
    if (this.#closed !== undefined) {
      this.#root ??=
        this.#round === closedRound
          ? this.#closed.root
          : rootOfTiles(tileIds(this.body(), this.#options.hash), this.#options.hash);
    }
    const digest = () => this.digest(closedRound);
    return {
      root: this.#root ?? NO_BODY,
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
    const ids = this.#log.from(from).map(({ announcement }) => announcement);
    const digest = updateSetDigest(ids, from, this.#options.hash);
    for (const round of [...this.#digests.keys()]) if (round < this.closedRound) this.#digests.delete(round);
    this.#digests.set(from, { version, digest });
    return digest;
  }

  /** Ids of the updates that count in open rounds. */
  counted(): readonly UpdateId[] {
    return this.#openIds();
  }

  /** Checks a payload, stores it and counts it in its round. */
  async count(update: SignedUpdate, payload: Uint8Array): Promise<CountOutcome> {
    const { round, author } = update.announcement;
    const rivals = this.#log.of(round);
    const mayReplace =
      rivals.length >= MAX_UPDATES_PER_ROUND ||
      rivals.some(({ announcement }) => announcement.author === author);
    const before = mayReplace ? this.#own.keysIn(this.#log) : NONE;
    const outcome = await this.#count(update, payload, round);
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
    const decoded = this.#codec.decode(payload);
    if (!decoded.ok) return { outcome: "refused", ...decoded.rejection };
    const rivals = this.#log.of(id.round).map(({ announcement }) => announcement);
    const admission = admitUpdate(id, rivals);
    if (admission.outcome !== "counts") {
      return { outcome: "refused", offence: undefined, detail: "another update of this round counts" };
    }
    const { body, closed } = this.#held();
    if (id.round < closed.round || id.round > this.#round + ROUNDS_AHEAD) return untimely(id.round);
    if (keptRound !== undefined) await this.#options.store.putPayload(id.payload, keptRound, payload);
    const replaced = admission.replaces;
    if (replaced !== undefined && !(await this.#uncount(replaced))) {
      return { outcome: "refused", offence: undefined, detail: "the update that it replaces is lost" };
    }
    const added = body.add(id.round, updateKey(id), decoded.update, this.#weight(update));
    if (added !== "added") return untimely(id.round);
    // What is counted again after a start is on disk already, and its time of arrival forgotten.
    const late = keptRound !== undefined && id.round < this.#round;
    this.#log.add(update, { late, heldRows: decoded.update.heldRows?.length });
    if (id.round < this.#round) this.#root = undefined;
    return { outcome: "counted", replaced };
  }

  /** Compresses local progress together with the residual. Nothing changes until adoptOwn. */
  compress(delta: Float32Array): OwnUpdate {
    const { config, hash, heldRows } = this.#options;
    const decay = config.averaging.errorFeedbackDecay;
    const compressed = compressUpdate(delta, this.#own.residual, this.#codec, { decay, heldRows });
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
    for (let at = this.closedRound; at < closedRound; at++) await this.#closeRound(at);
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

  /** The closed body as the log of updates may begin from it, undefined where there is none. */
  origin(cause: LogOrigin["cause"], donor?: PeerId): LogOrigin | undefined {
    if (this.#closed === undefined) return undefined;
    const { round: closedRound, body, root } = this.#closed;
    return { cause, donor, closedRound, body, root };
  }

  /** Everything to resume from, except what the round logic knows. */
  checkpoint(): Omit<ProtocolCheckpoint, "publishedRound" | "presenceSequence"> {
    const { round: closedRound, body: closedBody } = this.#held().closed;
    return {
      closedRound,
      closedBody,
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

  snapshot(): SnapshotManifest | undefined {
    if (this.#closed === undefined) return undefined;
    const { round: closedRound, root, tiles } = this.#closed;
    return { runId: this.#options.runId, closedRound, root, tiles, updates: this.#log.from(closedRound) };
  }

  tile(root: BodyRoot, index: number): Uint8Array | undefined {
    const closed = [this.#closed, this.#previousClosed].find((served) => served?.root === root);
    return closed === undefined ? undefined : tileBytes(closed.body, index);
  }

  #openIds(): UpdateId[] {
    return this.#log.from(this.closedRound).map(({ announcement }) => announcement);
  }

  #weight({ announcement }: SignedUpdate): number {
    return updateWeight(this.#options.config, announcement.tokens);
  }

  /** Undefined where the disk has lost it (a power cut may undo the last writes of payloads). */
  async #stored(payload: ContentId): Promise<GridUpdate | undefined> {
    const bytes = await this.#options.store.payload(payload);
    const decoded = bytes === undefined ? undefined : this.#codec.decode(bytes);
    return decoded?.ok === true ? decoded.update : undefined;
  }

  async #uncount(id: UpdateId): Promise<boolean> {
    const update = await this.#stored(id.payload);
    if (update === undefined) return false;
    this.#held().body.remove(id.round, updateKey(id), update);
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

  #held(): { readonly body: ReplicatedBody; readonly closed: ClosedBody } {
    if (this.#body === undefined || this.#closed === undefined) throw new BodyNotHeldError();
    return { body: this.#body, closed: this.#closed };
  }

  async #closeRound(round: number): Promise<void> {
    const { body, closed } = this.#held();
    body.closeThrough(round);
    this.#previousClosed = closed;
    this.#closed = this.#describe(round + 1, body.closedBody);
    const { root } = this.#closed;
    const updates = this.#log.entries(round);
    await this.#options.updateLog?.closed({ round, updates, body: body.closedBody, root });
    this.#log.forgetBefore(round + 1);
    this.#own.forgetBefore(round + 1 - PENDING_OWN_ROUNDS);
  }

  #replicated(closedRound: number, closedBody: Float32Array): ReplicatedBody {
    const { layout, config } = this.#options;
    const maxOpenRounds = config.averaging.openRounds + ROUNDS_AHEAD;
    const { rowsOf } = this.#codec;
    return new ReplicatedBody({ closedRound, closedBody, layout, rowsOf, maxOpenRounds });
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
