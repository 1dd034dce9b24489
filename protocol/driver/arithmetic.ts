// The arithmetic over whole bodies, as the ledger asks for it. Answers come later, so that it may be done in this thread
// (local-arithmetic.ts: simulations, tests) or in another one (node/). Owns the contract alone.
import type { AddOutcome } from "../core/averaging.ts";
import type { DecodeRejection } from "../core/codec/codec.ts";
import type { Hash } from "../core/hash.ts";
import type { Restraint } from "../core/judging.ts";
import type { ParameterLayout } from "../core/layout.ts";
import type { RunConfig } from "../core/run-config.ts";
import type { BodyRoot, ContentId } from "../core/types.ts";

export interface ArithmeticOptions {
  readonly config: RunConfig;
  readonly layout: ParameterLayout;
  readonly hash: Hash;
  /** Rows of the embedding that this peer holds: needed in variant trim, undefined in the others. */
  readonly heldRows?: Int32Array | undefined;
}

/** A body with what names it. Shared between threads and never written to. */
export interface DescribedBody {
  readonly body: Float32Array;
  /** Ids of its tiles, in order. */
  readonly tiles: readonly ContentId[];
  readonly root: BodyRoot;
}

/** The body after a round that is closed for good, and what the run's defence took from the updates behind it. */
export interface ClosingBody extends DescribedBody {
  readonly restraints: readonly Restraint[];
}

/** An update whose payload passed every check. Its values stay where the arithmetic is, until it is released. */
export interface DecodedUpdate {
  readonly handle: number;
  /** Rows of the embedding that it has, where it lacks some. */
  readonly heldRows: number | undefined;
}

export type Decoding =
  | { readonly ok: true; readonly update: DecodedUpdate }
  | { readonly ok: false; readonly rejection: DecodeRejection };

export interface CompressedDelta {
  readonly payload: Uint8Array;
  readonly payloadId: ContentId;
  /** What the payload decodes to. */
  readonly decoded: DecodedUpdate;
  readonly residual: Float32Array;
  readonly residualNorm: number;
  readonly updateNorm: number;
}

/** `return`: what an update carries goes into a residual; `withdraw`: it is taken out again. */
export type ResidualMove = "return" | "withdraw";

/**
 * Holds the sums of the open rounds. Whoever calls waits for one answer before the next call: what a call changes is
 * changed when it has answered. Arrays that are passed in either direction are shared, not copied, where both sides see
 * the same memory; they are never written to, but for `delta`.
 */
export interface BodyArithmetic {
  /** Resolves, with the reason, when it is lost and with it the open sums; never where that cannot be. */
  readonly lost?: Promise<Error>;
  /** Gives up what it holds, where nobody will ask it any more. */
  close?(): void;
  /** Hashes a body. Nothing else changes. */
  describe(body: Float32Array): Promise<DescribedBody>;
  /** Goes on from this body at the start of `closedRound`, with no update counted in any round. */
  begin(closedRound: number, closed: DescribedBody): Promise<void>;
  decode(payload: Uint8Array): Promise<Decoding>;
  release(update: DecodedUpdate): Promise<void>;
  /** As ReplicatedBody.add. */
  add(round: number, key: string, update: DecodedUpdate, weight: number): Promise<AddOutcome>;
  /** As ReplicatedBody.remove. */
  remove(round: number, key: string, update: DecodedUpdate): Promise<boolean>;
  /** The body at the start of `round`, with all that is counted before it. */
  bodyAt(round: number): Promise<DescribedBody>;
  /** Folds `round` and all before it away for good; the closed body then, with the restraints of `round`. */
  closeThrough(round: number): Promise<ClosingBody>;
  /**
   * Compresses local progress together with `residual`. `delta` is given away: its memory may become the new residual's.
   * Rejects with NonFiniteUpdateError where the two add up to NaN or infinity.
   */
  compress(delta: Float32Array, residual: Float32Array): Promise<CompressedDelta>;
  /** Another residual, with the update in or out. */
  moveResidual(residual: Float32Array, update: DecodedUpdate, move: ResidualMove): Promise<Float32Array>;
}
