// The arithmetic over whole bodies, done where it is called: a call of seconds at 85M parameters. Simulations and tests run
// it as it is; a peer runs it in a thread of its own.
import { type AddOutcome, ReplicatedBody } from "../core/averaging.ts";
import { compressUpdate, returnToResidual, withdrawFromResidual } from "../core/error-feedback.ts";
import type { GridUpdate } from "../core/grid.ts";
import { hexSha256 } from "../core/hash.ts";
import { ROUNDS_AHEAD } from "../core/intake.ts";
import { rootOfTiles, tileIds } from "../core/merkle.ts";
import { type UpdateCodec, updateCodec } from "../core/update-codec.ts";
import { BodyNotHeldError } from "../errors.ts";
import type {
  ArithmeticOptions,
  BodyArithmetic,
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

export class LocalArithmetic implements BodyArithmetic {
  readonly #options: LocalArithmeticOptions;
  readonly #codec: UpdateCodec;
  readonly #allocate: (length: number) => Float32Array;
  readonly #decoded = new Map<number, GridUpdate>();
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
    const { layout, config } = this.#options;
    this.#descriptions.set(closed.body, closed);
    this.#body = new ReplicatedBody({
      closedRound,
      closedBody: closed.body,
      layout,
      rowsOf: this.#codec.rowsOf,
      outerLearningRate: config.averaging.outerLearningRate,
      maxOpenRounds: config.averaging.openRounds + ROUNDS_AHEAD,
      allocate: this.#allocate,
    });
  }

  async decode(payload: Uint8Array): Promise<Decoding> {
    const decoded = this.#codec.decode(payload);
    return decoded.ok ? { ok: true, update: this.#keep(decoded.update) } : decoded;
  }

  async release({ handle }: DecodedUpdate): Promise<void> {
    this.#decoded.delete(handle);
  }

  async add(round: number, key: string, update: DecodedUpdate, weight: number): Promise<AddOutcome> {
    return this.#held().add(round, key, this.#kept(update), weight);
  }

  async remove(round: number, key: string, update: DecodedUpdate): Promise<boolean> {
    return this.#held().remove(round, key, this.#kept(update));
  }

  async bodyAt(round: number): Promise<DescribedBody> {
    return this.#describe(this.#held().bodyAt(round));
  }

  async closeThrough(round: number): Promise<DescribedBody> {
    const body = this.#held();
    body.closeThrough(round);
    return this.#describe(body.closedBody);
  }

  async compress(delta: Float32Array, residual: Float32Array): Promise<CompressedDelta> {
    const { config, hash, heldRows, reusesDeltas } = this.#options;
    const decay = config.averaging.errorFeedbackDecay;
    const target = reusesDeltas ? delta : this.#allocate(residual.length);
    const compressed = compressUpdate(delta, residual, this.#codec, { decay, heldRows, target });
    return {
      payload: compressed.payload,
      payloadId: hexSha256(compressed.payload, hash),
      decoded: this.#keep(compressed.update),
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
    change(moved, this.#kept(update));
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

  #keep(update: GridUpdate): DecodedUpdate {
    const handle = this.#nextHandle++;
    this.#decoded.set(handle, update);
    return { handle, heldRows: update.heldRows?.length };
  }

  #kept({ handle }: DecodedUpdate): GridUpdate {
    const update = this.#decoded.get(handle);
    if (update === undefined) throw new TypeError(`no decoded update has the handle ${handle}`);
    return update;
  }

  #held(): ReplicatedBody {
    if (this.#body === undefined) throw new BodyNotHeldError();
    return this.#body;
  }
}
