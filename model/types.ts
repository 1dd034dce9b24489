// The public vocabulary of model/: plain data that node/ passes in and gets back. No other room is known here.

/** Architecture of an MPT decoder. `width` = d_model; the feed-forward expansion is 4; ALiBi, no biases, tied head. */
export interface ModelConfig {
  readonly blocks: number;
  readonly width: number;
  readonly heads: number;
  /** Tokens a training sequence has (the model sees T tokens and predicts T). */
  readonly sequenceLength: number;
  readonly vocabularySize: number;
}

/** One tensor by name. Names and shapes are those of Hugging Face's MPT; a linear weight is [out, in]. */
export interface TensorSpec {
  readonly name: string;
  readonly shape: readonly number[];
}

/** AdamW with decoupled weight decay, global-norm clipping, linear warm-up and a cosine to `finalLearningRateRatio`. */
export interface OptimizerConfig {
  readonly learningRate: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  readonly weightDecay: number;
  /** Global norm over body and embedding gradients. */
  readonly gradientClip: number;
  readonly warmupSteps: number;
  /** Length of the cosine in sequential steps; beyond it the rate stays at its floor. */
  readonly totalSteps: number;
  readonly finalLearningRateRatio: number;
}

/** Token ids of a batch: inputs and next-token targets, both [batch, sequence] row-major. */
export interface Batch {
  readonly inputs: Int32Array;
  readonly targets: Int32Array;
  readonly batchSize: number;
  readonly sequenceLength: number;
}

/** Where a session runs. */
export type Device = "cpu" | "webgpu" | "cuda";

/**
 * What a step's matrix products are computed in; weights, moments, norms, softmax and loss are float32 always. A machine's own
 * choice: it changes what it computes by rounding, and nothing of what it stores or sends.
 */
export type Precision = "float32" | "float16";

/** Of a step with products in float16: the factor of the loss, and the steps taken since it last changed. */
export interface LossScale {
  readonly scale: number;
  readonly goodSteps: number;
}

export interface StepResult {
  /** Mean cross-entropy over the batch, nats per token, before the step's update. */
  readonly loss: number;
  /** Global gradient norm before clipping. */
  readonly gradientNorm: number;
  readonly learningRate: number;
  /** In float16: the gradients were not finite at the scale of the loss. Nothing moved but the scale, and the norm is no number. */
  readonly isSkipped?: true;
}

export type StepKind = "whole" | "embedding";

/** Bytes that went between the host's memory and a device's. */
export interface Transfers {
  readonly toDeviceBytes: number;
  readonly fromDeviceBytes: number;
}

/**
 * One model in training on one device: parameters, AdamW moments and the compiled step.
 * Parameters are addressed as two flat groups: `body` (`bodyTensors(config)` order) and `embedding`
 * ([vocabularySize, width]). Which of them is shared with others is not the model's business.
 */
export interface TrainingModel {
  readonly config: ModelConfig;
  /**
   * Forward, backward, clip, AdamW. `step` is the 0-based sequential step that the schedule sees. An abort between two
   * micro-batches leaves everything as it was.
   */
  trainStep(batch: Batch, step: number, signal?: AbortSignal): Promise<StepResult>;
  /** As trainStep with the body frozen: only the embedding (and its moments) moves. */
  trainEmbeddingStep(batch: Batch, step: number, signal?: AbortSignal): Promise<StepResult>;
  /**
   * Steps from `firstStep` on, as trainStep takes them. Resolves with those that were taken, fewer than batches where the
   * signal called one off or one failed: then the next call begins with it. Rejects where that is the first.
   */
  trainSteps(batches: readonly Batch[], firstStep: number, signal?: AbortSignal): Promise<StepResult[]>;
  trainEmbeddingSteps(
    batches: readonly Batch[],
    firstStep: number,
    signal?: AbortSignal,
  ): Promise<StepResult[]>;
  /**
   * How many steps, of the embedding alone or of all, are well asked for at once: more than 1 where they then cost less (cuda).
   * May change with each call.
   */
  stepsPerRun(kind: StepKind): number;
  /** Summed cross-entropy in nats of any number of sequences that is a multiple of the micro-batch; nothing moves. */
  evaluate(batch: Batch, signal?: AbortSignal): Promise<{ nats: number; tokens: number }>;
  readBody(): Promise<Float32Array>;
  writeBody(body: Float32Array): Promise<void>;
  readEmbedding(): Promise<Float32Array>;
  /** Moments stay as they are, as those of the body do. */
  writeEmbedding(embedding: Float32Array): Promise<void>;
  readState(): Promise<TrainingState>;
  writeState(state: TrainingState): Promise<void>;
  /** Zeroes AdamW's moments and its step count (the run's choice between rounds). */
  resetMoments(): Promise<void>;
  /** All that went to the device and came back since the model was created. Nothing on the cpu, whose memory is the host's. */
  transfers(): Transfers;
  dispose(): Promise<void>;
}

/** Everything a step depends on besides data. Flat float32, body in `bodyTensors` order. */
export interface TrainingState {
  readonly body: Float32Array;
  readonly bodyMoment1: Float32Array;
  readonly bodyMoment2: Float32Array;
  readonly embedding: Float32Array;
  readonly embeddingMoment1: Float32Array;
  readonly embeddingMoment2: Float32Array;
  /** AdamW steps the body's moments have taken since they were zero (bias correction). */
  readonly momentSteps: number;
  /** The same for the embedding's, which also move in steps with the body frozen. */
  readonly embeddingMomentSteps: number;
  /** Absent where it was trained in float32 only; then float16 begins with its first scale. */
  readonly lossScale?: LossScale | undefined;
}
