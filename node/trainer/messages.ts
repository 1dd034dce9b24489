// What the peer's process asks of the trainer's: the one table of methods both sides are typed by.
import type { Device, OptimizerConfig, Precision } from "#model/types.ts";
import type { GroupResult } from "./group-embedding.ts";
import type { RoundPlan, RoundProgress, RoundResult } from "./round-progress.ts";
import type { CommonVocabulary, OwnVocabulary } from "./vocabulary.ts";

/** What of the architecture the run decides in every variant. */
export interface BodyConfig {
  readonly blocks: number;
  readonly width: number;
  readonly heads: number;
  readonly sequenceLength: number;
}

/** Text in, tokens on disk out. */
export interface PrepareOptions {
  readonly paths: readonly string[];
  readonly textField: string;
  readonly vocabulary: OwnVocabulary | CommonVocabulary;
  /** The tokenizer of this peer: read if it is there (a vocabulary never changes under its embeddings), else written. */
  readonly tokenizerFile: string;
  /** The same for its rows of a common vocabulary. */
  readonly rowsFile: string;
  readonly cacheDirectory: string;
  /** Of tokens that another process has prepared: they are taken without a look at the text, which may be another by now. */
  readonly dataset?: string | undefined;
  /** One evaluation batch: batchSize * sequenceLength + 1. */
  readonly minimumValidationTokens: number;
}

export type PrepareProgress =
  | { readonly stage: "tokenizer"; readonly fraction: number }
  | { readonly stage: "tokenizer-ready"; readonly vocabularySize: number; readonly trained: boolean }
  | { readonly stage: "tokens"; readonly fraction: number; readonly tokens: number };

export interface PrepareResult {
  readonly vocabularySize: number;
  /** Equal for tokenizers that give the same tokens. */
  readonly tokenizerFingerprint: string;
  /** Common id of each token, ascending, where the vocabulary is a part of a common one. */
  readonly rows: Int32Array | undefined;
  /** Names the tokens. */
  readonly dataset: string;
  readonly trainTokens: number;
  readonly trainBytes: number;
  readonly validationTokens: number;
}

export interface CreateOptions {
  readonly body: BodyConfig;
  /** The shared parameters at round 0; for the worker, what is held of them. */
  readonly genesis: Float32Array;
  /** Rows of the shared embedding; `undefined` where the embedding is this peer's own. */
  readonly sharedVocabularySize: number | undefined;
  /** The group that shares this peer's own embedding, and what the embedding is at first; its rows are this peer's. */
  readonly group?: { readonly runId: string; readonly embedding: Float32Array } | undefined;
  readonly optimizer: OptimizerConfig;
  readonly batchSize: number;
  /** Sequences computed at once; the default is the batch. */
  readonly microBatchSize?: number | undefined;
  readonly recompute?: boolean | undefined;
  readonly precision?: Precision | undefined;
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
  readonly trainTokens: number;
  /** Where the text is another than the one that was trained on last: how much that was. */
  readonly trainTokensBefore: number | undefined;
  readonly bodyParameters: number;
  readonly embeddingParameters: number;
  /** Where an earlier life of this peer stopped, if there was one. */
  readonly resumed: RoundProgress | undefined;
  /** As TrainerPort says it. */
  readonly progressRound: number;
}

export interface StepProgress {
  readonly step: number;
  readonly bitsPerByte: number;
  /** As RoundProgress has it. */
  readonly skippedSteps: number;
}

/** `held` is the held part of the shared parameters (see shared-parameters.ts). */
export type TrainerMethods = {
  genesis: {
    args: { body: BodyConfig; sharedVocabularySize: number | undefined; seed: string };
    progress: never;
    result: Float32Array;
  };
  prepare: { args: PrepareOptions; progress: PrepareProgress; result: PrepareResult };
  create: { args: CreateOptions; progress: never; result: CreateResult };
  warmUp: { args: { held: Float32Array; steps: number }; progress: number; result: null };
  trainRound: {
    args: { round: number; held: Float32Array; carry: boolean; goOn: boolean };
    progress: StepProgress;
    result: RoundResult;
  };
  trainAhead: { args: { round: number }; progress: StepProgress; result: null };
  endRound: { args: { round: number }; progress: never; result: null };
  evaluate: { args: { held: Float32Array }; progress: never; result: number };
  groupGenesis: {
    args: { width: number; vocabularySize: number; seed: string };
    progress: never;
    result: Float32Array;
  };
  enterGroup: {
    args: { round: number; embedding: Float32Array; carry: boolean };
    progress: never;
    result: null;
  };
  collectGroup: { args: { when: "round-end" | "now" }; progress: never; result: GroupResult };
  close: { args: null; progress: never; result: null };
};

/**
 * Served at once, also while a local round is being trained: what the group does happens between its steps. And the round
 * does not wait for what is trained ahead of it, but takes over.
 */
export const CONCURRENT_METHODS: ReadonlySet<keyof TrainerMethods> = new Set<keyof TrainerMethods>([
  "enterGroup",
  "collectGroup",
  "trainAhead",
  "endRound",
]);
