// What the peer's thread asks of the trainer worker: the one table of methods both sides are typed by.
import type { Device, OptimizerConfig } from "#model/types.ts";
import type { RoundPlan, RoundProgress, RoundResult } from "./round-trainer.ts";

/** What of the architecture the run decides; the vocabulary is this peer's own. */
export interface BodyConfig {
  readonly blocks: number;
  readonly width: number;
  readonly heads: number;
  readonly sequenceLength: number;
}

/** Text in, tokens on disk out. `tokenizerPath` is taken as it is, otherwise a tokenizer is trained. */
export interface PrepareOptions {
  readonly paths: readonly string[];
  readonly textField: string;
  readonly tokenizerPath: string | undefined;
  /** Tokens of a tokenizer to train; `undefined` takes what is there, or the default. */
  readonly vocabularySize: number | undefined;
  /** The tokenizer of this peer: read if it is there (a vocabulary never changes under its embeddings), else written. */
  readonly tokenizerFile: string;
  readonly cacheDirectory: string;
  /** One evaluation batch: batchSize * sequenceLength + 1. */
  readonly minimumValidationTokens: number;
}

export type PrepareProgress =
  | { readonly stage: "tokenizer"; readonly fraction: number }
  | { readonly stage: "tokenizer-ready"; readonly vocabularySize: number; readonly trained: boolean }
  | { readonly stage: "tokens"; readonly fraction: number; readonly tokens: number };

export interface PrepareResult {
  readonly vocabularySize: number;
  readonly trainTokens: number;
  readonly trainBytes: number;
  readonly validationTokens: number;
}

export interface CreateOptions {
  readonly body: BodyConfig;
  /** The common body at round 0. */
  readonly genesis: Float32Array;
  readonly optimizer: OptimizerConfig;
  readonly batchSize: number;
  /** Sequences computed at once; the default is the batch. */
  readonly microBatchSize?: number | undefined;
  readonly recompute?: boolean | undefined;
  readonly plan: RoundPlan;
  readonly device: Device | "auto";
  readonly threads: number;
  /** Seeds this peer's first embeddings and the order of its data; without effect where a checkpoint is. */
  readonly privateSeed: string;
  readonly checkpointFile: string;
  readonly evaluationTokens: number;
}

export interface CreateResult {
  readonly device: Device;
  readonly bodyParameters: number;
  readonly embeddingParameters: number;
  /** Where an earlier life of this peer stopped, if there was one. */
  readonly resumed: RoundProgress | undefined;
}

export type TrainerMethods = {
  genesis: { args: { body: BodyConfig; seed: string }; progress: never; result: Float32Array };
  prepare: { args: PrepareOptions; progress: PrepareProgress; result: PrepareResult };
  create: { args: CreateOptions; progress: never; result: CreateResult };
  warmUp: { args: { body: Float32Array; steps: number }; progress: number; result: null };
  trainRound: {
    args: { round: number; body: Float32Array; carry: boolean };
    progress: { step: number; bitsPerByte: number };
    result: RoundResult;
  };
  evaluate: { args: { body: Float32Array }; progress: never; result: number };
  close: { args: null; progress: never; result: null };
};
