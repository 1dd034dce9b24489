// The arithmetic over whole bodies, done where it is called: a call of seconds at 85M parameters. Simulations and tests run
// it as it is; a peer runs it in a thread of its own.
import { type AddOutcome, ReplicatedBody } from "../core/averaging.ts";
import { compressUpdate, returnToResidual, withdrawFromResidual } from "../core/error-feedback.ts";
import type { GridUpdate } from "../core/grid.ts";
import { hexSha256 } from "../core/hash.ts";
import { ROUNDS_AHEAD } from "../core/intake.ts";
import { rootOfTiles, tileIds } from "../core/merkle.ts";
import type { ContentId } from "../core/types.ts";
import { type UpdateCodec, updateCodec } from "../core/update-codec.ts";
import { BodyNotHeldError } from "../errors.ts";
import type {
  ArithmeticOptions,
  BodyArithmetic,
  ClosingBody,
  CompressedDelta,
  DecodedUpdate,
  Decoding,
  DescribedBody,
  ResidualMove,
} from "./arithmetic.ts";

export interface LocalArithmeticOptions extends ArithmeticOptions {
  /** Where bodies and residuals lie: zeros. Memory of this thread alone where it is left out. */
  readonly allocate?: (length: number) => Float32Array;
  /** Makes the next residual in a delta's own memory. Else deltas are left as they are. */
  readonly reusesDeltas?: boolean;
}

interface KeptUpdate {
  readonly update: GridUpdate;
  readonly payloadId: ContentId;
}

export class LocalArithmetic implements BodyArithmetic {
  readonly #options: LocalArithmeticOptions;
  readonly #codec: UpdateCodec;
  readonly #allocate: (length: number) => Float32Array;
  readonly #decoded = new Map<number, KeptUpdate>();
  /** Bodies are replaced, never changed: each is hashed once. */
  readonly #descriptions = new WeakMap<Float32Array, DescribedBody>();
  #body: ReplicatedBody | undefined;
  #nextHandle = 1;

  constructor(options: LocalArithmeticOptions) {
    this.#options = options;
    this.#codec = updateCodec(options.config, options.layout);
    this.#allocate = options.allocate ?? ((length) => new Float32Array(length));
  }

  async describe(body: Float32Array): Promise<DescribedBody> {
    return this.#describe(body);
  }

  async begin(closedRound: number, closed: DescribedBody): Promise<void> {
    const { layout, config, hash } = this.#options;
    this.#descriptions.set(closed.body, closed);
    this.#body = new ReplicatedBody({
      closedRound,
      closedBody: closed.body,
      layout,
      rowsOf: this.#codec.rowsOf,
      outerLearningRate: config.averaging.outerLearningRate,
      defence: { rule: config.averaging.defence, hash },
      maxOpenRounds: config.averaging.openRounds + ROUNDS_AHEAD,
      allocate: this.#allocate,
    });
  }

  async decode(payload: Uint8Array): Promise<Decoding> {
    const decoded = this.#codec.decode(payload);
    if (!decoded.ok) return decoded;
    // Asked for by a defence alone: a tenth of a second at 85M parameters.
    const isJudged = this.#options.config.averaging.defence !== "none";
    const payloadId = isJudged ? hexSha256(payload, this.#options.hash) : "";
    return { ok: true, update: this.#keep({ update: decoded.update, payloadId }) };
  }

  async release({ handle }: DecodedUpdate): Promise<void> {
    this.#decoded.delete(handle);
  }

  async add(round: number, key: string, update: DecodedUpdate, weight: number): Promise<AddOutcome> {
    const { update: values, payloadId } = this.#kept(update);
    return this.#held().add(round, key, values, weight, payloadId);
  }

  async remove(round: number, key: string, update: DecodedUpdate): Promise<boolean> {
    return this.#held().remove(round, key, this.#kept(update).update);
  }

  async bodyAt(round: number): Promise<DescribedBody> {
    return this.#describe(this.#held().bodyAt(round));
  }

  async closeThrough(round: number): Promise<ClosingBody> {
    const body = this.#held();
    const restraints = body.restraints(round);
    body.closeThrough(round);
    return { ...this.#describe(body.closedBody), restraints };
  }

  async compress(delta: Float32Array, residual: Float32Array): Promise<CompressedDelta> {
    const { config, hash, heldRows, reusesDeltas } = this.#options;
    const decay = config.averaging.errorFeedbackDecay;
    const target = reusesDeltas ? delta : this.#allocate(residual.length);
    const compressed = compressUpdate(delta, residual, this.#codec, { decay, heldRows, target });
    const payloadId = hexSha256(compressed.payload, hash);
    return {
      payload: compressed.payload,
      payloadId,
      decoded: this.#keep({ update: compressed.update, payloadId }),
      residual: compressed.residual,
      residualNorm: compressed.residualNorm,
      updateNorm: compressed.updateNorm,
    };
  }

  async moveResidual(
    residual: Float32Array,
    update: DecodedUpdate,
    move: ResidualMove,
  ): Promise<Float32Array> {
    const moved = this.#allocate(residual.length);
    moved.set(residual);
    const change = move === "return" ? returnToResidual : withdrawFromResidual;
    change(moved, this.#kept(update).update);
    return moved;
  }

  #describe(body: Float32Array): DescribedBody {
    const known = this.#descriptions.get(body);
    if (known !== undefined) return known;
    const tiles = tileIds(body, this.#options.hash);
    const described = { body, tiles, root: rootOfTiles(tiles, this.#options.hash) };
    this.#descriptions.set(body, described);
    return described;
  }

  #keep(kept: KeptUpdate): DecodedUpdate {
    const handle = this.#nextHandle++;
    this.#decoded.set(handle, kept);
    return { handle, heldRows: kept.update.heldRows?.length };
  }

  #kept({ handle }: DecodedUpdate): KeptUpdate {
    const update = this.#decoded.get(handle);
    if (update === undefined) throw new TypeError(`no decoded update has the handle ${handle}`);
    return update;
  }

  #held(): ReplicatedBody {
    if (this.#body === undefined) throw new BodyNotHeldError();
    return this.#body;
  }
}
