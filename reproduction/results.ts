// What a finished cell says, as plain JSON: kept under its id, read by the report and published beside it. Fields may be
// added; a change of meaning needs another format in cells.ts.
import type { Cell } from "./cells.ts";

/** Bits per byte by source. */
export type BitsPerByte = Readonly<Record<string, number>>;

export interface CurvePoint {
  readonly step: number;
  /** On the short stretch of held-out text that curves are measured on. */
  readonly bitsPerByte: BitsPerByte;
  /** Root mean square of the residual stream behind the last block. */
  readonly activation: number;
  readonly bodyNorm: number;
  /** Root mean square of the rows' norms, so that vocabularies of different sizes compare. */
  readonly embeddingRowNorm: number;
}

/** One worker of a pre-training: what it held and what it sent. */
export interface PeerReport {
  readonly vocabularySize: number;
  readonly bodyParameters: number;
  readonly embeddingParameters: number;
  /** Parameters of an update; 0 where there is none. */
  readonly sentParameters: number;
  readonly tokens: number;
  /** Of each round's update, as encoded. */
  readonly payloadBytes: readonly number[];
}

export interface CellResult {
  /**
   * Of the whole stretch. After pre-training: of each source with the embedding of the peer that trained on it (std and act
   * have one for all, and so the held-out source too). Otherwise: of the model that was trained on.
   */
  readonly bitsPerByte: BitsPerByte;
  readonly curve: readonly CurvePoint[];
  /** By source; baselines have one, called "all". Empty but for pre-training. */
  readonly peers: Readonly<Record<string, PeerReport>>;
  /** The training left the finite numbers at this step, and there is no result. */
  readonly divergedAtStep?: number;
}

export interface FinishedCell {
  readonly cell: Cell;
  readonly result: CellResult;
  /** Says nothing of the result: of which machine, and how long it took there. */
  readonly seconds: number;
}
