// The ledger: the replicated body, the updates behind it, the residual, and what is served of them. All arithmetic over
// whole bodies that the driver needs happens here and nowhere else, so that it can move to a worker. Not reentrant:
// the driver runs one changing call at a time. Decides nothing: round.ts does.
import { ReplicatedBody } from "../core/averaging.ts";
import { codecs } from "../core/codec/registry.ts";
import { compressUpdate, returnToResidual } from "../core/error-feedback.ts";
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
/** A peer that was alone cannot know what a plurality closes: so many own updates can still go back when it learns. */
const MAX_PENDING_OWN = 16;

export class Ledger {
  readonly #options: LedgerOptions;
  readonly #log = new UpdateLog();
  #body: ReplicatedBody;
  #round: number;
  #residual: Float32Array;
  #pendingOwn: readonly SignedUpdate[] = [];
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
    this.#residual = start.residual;
    this.#pendingOwn = start.pendingOwn;
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
    const { store } = this.#options;
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
    await store.putPayload(id.payload, id.round, payload);
    const replaced = admission.replaces;
    if (replaced !== undefined) await this.#uncount(replaced);
    const added = this.#body.add(id.round, updateKey(id), decoded.update, this.#weight(update));
    if (added !== "added") return untimely(id.round);
    this.#log.add(update);
    if (id.round < this.#round) this.#root = undefined;
    return { outcome: "counted", replaced };
  }

  /** Compresses local progress together with the residual. Nothing changes until adoptOwn. */
  compress(delta: Float32Array): OwnUpdate {
    const { config, layout, hash } = this.#options;
    const { codec, errorFeedbackDecay } = config.averaging;
    const compressed = compressUpdate(delta, this.#residual, codecs[codec], layout, errorFeedbackDecay);
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
    const outcome = await this.count(update, own.payload);
    if (outcome.outcome === "counted") {
      this.#residual = own.residual;
      this.#pendingOwn = [...this.#pendingOwn, update].slice(-MAX_PENDING_OWN);
    }
    return outcome;
  }

  /** Own updates of rounds below `round` are in the plurality's closed body: they need not come back. */
  settleOwn(round: number): void {
    this.#pendingOwn = this.#pendingOwn.filter(({ announcement }) => announcement.round >= round);
  }

  /** Moves to `round` and closes the rounds below `closedRound`. */
  async open(round: number, closedRound: number): Promise<BodyRoots> {
    this.#round = round;
    this.#root = undefined;
    if (closedRound > this.#closed.round) {
      this.#body.closeThrough(closedRound - 1);
      this.#close(closedRound);
    }
    return this.roots();
  }

  /** Own updates whose fate a snapshot at `closedRound` decides, oldest first. */
  ownBelow(closedRound: number): readonly SignedUpdate[] {
    return this.#pendingOwn.filter(({ announcement }) => announcement.round < closedRound);
  }

  /**
   * Takes a closed body from elsewhere. Updates known here or named by the manifest that are still open there count
   * on; own updates of rounds closed there that the donor's log (`theirs`) lacks go back into the residual. Returns
   * how many did. Throws where the body is not the one its manifest names.
   */
  async adopt(
    manifest: SnapshotManifest,
    body: Float32Array,
    round: number,
    theirs: readonly SignedUpdate[],
  ): Promise<number> {
    const closed = this.#describe(manifest.closedRound, body);
    if (closed.root !== manifest.root) throw new RangeError(`the body's root is not ${manifest.root}`);
    const contained = new Set(theirs.map(({ announcement }) => updateKey(announcement)));
    const lost = this.ownBelow(manifest.closedRound).filter(
      ({ announcement }) => !contained.has(updateKey(announcement)),
    );
    for (const { announcement } of lost) await this.#returnOwn(announcement.payload);
    const known = [...this.#log.from(0), ...this.#pendingOwn, ...manifest.updates];
    this.#pendingOwn = this.#pendingOwn.filter(
      ({ announcement }) => announcement.round >= manifest.closedRound,
    );
    this.#round = round;
    this.#body = this.#replicated(manifest.closedRound, body);
    this.#closed = closed;
    this.#previousClosed = undefined;
    this.#log.clear();
    for (const update of theirs) if (update.announcement.round < closed.round) this.#log.add(update);
    this.#root = undefined;
    await this.recount(known);
    return lost.length;
  }

  /** Counts those of `updates` whose payload is stored and whose round is open. */
  async recount(updates: readonly SignedUpdate[]): Promise<void> {
    for (const update of updates) {
      const { round, payload: id } = update.announcement;
      if (round < this.closedRound || round > this.#round + ROUNDS_AHEAD) continue;
      const payload = await this.#options.store.payload(id);
      if (payload !== undefined) await this.count(update, payload);
    }
  }

  /** Forgets what nobody will ask for any more. */
  async prune(): Promise<void> {
    const oldestOwn = this.#pendingOwn[0]?.announcement.round ?? Number.POSITIVE_INFINITY;
    await this.#options.store.prunePayloads(Math.min(this.closedRound - RETAINED_ROUNDS, oldestOwn));
  }

  /** Everything to resume from, except what the round logic knows. */
  checkpoint(): Omit<ProtocolCheckpoint, "publishedRound" | "presenceSequence"> {
    return {
      closedRound: this.closedRound,
      closedBody: this.#closed.body,
      round: this.#round,
      updates: this.#log.from(this.closedRound),
      residual: this.#residual,
      pendingOwn: this.#pendingOwn,
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

  /** L2 norm of what error feedback holds back. */
  residualNorm(): number {
    return norm(this.#residual);
  }

  #openIds(): UpdateId[] {
    return this.#log.from(this.#closed.round).map(({ announcement }) => announcement);
  }

  #weight({ announcement }: SignedUpdate): number {
    return updateWeight(this.#options.config, announcement.tokens);
  }

  #decode(payload: Uint8Array) {
    const { config, layout } = this.#options;
    return codecs[config.averaging.codec].decode(payload, layout);
  }

  async #stored(payload: ContentId): Promise<GridUpdate> {
    const bytes = await this.#options.store.payload(payload);
    const decoded = bytes === undefined ? undefined : this.#decode(bytes);
    if (decoded?.ok !== true)
      throw new TypeError(`the store has lost the payload ${payload} of a live update`);
    return decoded.update;
  }

  async #uncount(id: UpdateId): Promise<void> {
    this.#body.remove(id.round, updateKey(id), await this.#stored(id.payload));
    this.#log.remove(id);
    if (id.round < this.#round) this.#root = undefined;
  }

  async #returnOwn(payload: ContentId): Promise<void> {
    const residual = this.#residual.slice();
    returnToResidual(residual, await this.#stored(payload));
    this.#residual = residual;
  }

  #close(closedRound: number): void {
    this.#previousClosed = this.#closed;
    this.#closed = this.#describe(closedRound, this.#body.closedBody);
    this.#log.forgetBefore(closedRound);
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
