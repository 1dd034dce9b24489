// The MPT decoder as data: which tensors it has, in which order, and which configurations can be built.
// Names, shapes and order are those of Hugging Face's MptForCausalLM state dict (all `no_bias`, head tied to wte).
import { ModelConfigError } from "./errors.ts";
import type { ModelConfig, TensorSpec } from "./types.ts";

/** Width of the feed-forward layer over the model's width. */
export const FEED_FORWARD_EXPANSION = 4;
/** MptConfig.layer_norm_epsilon. */
export const LAYER_NORM_EPSILON = 1e-5;
/** MptAttentionConfig.alibi_bias_max: the slopes of the heads fall geometrically down to 2^-8. */
export const ALIBI_BIAS_MAX = 8;
/** The tied input embedding and output head, [vocabularySize, width]. Private to a peer unless the run shares it. */
export const EMBEDDING_NAME = "transformer.wte.weight";

type BodyConfig = Pick<ModelConfig, "blocks" | "width" | "heads">;

/** Rejects what cannot be built with a ModelConfigError that names the field. */
export function validateModelConfig(config: ModelConfig): void {
  for (const field of ["blocks", "width", "heads", "sequenceLength", "vocabularySize"] as const) {
    const value = config[field];
    if (!Number.isSafeInteger(value) || value < 1) {
      throw new ModelConfigError(field, `${field} is ${value}`, "give a positive whole number");
    }
  }
  if (config.width % config.heads !== 0) {
    throw new ModelConfigError(
      "heads",
      `${config.heads} heads do not divide a width of ${config.width}`,
      "choose a width that is a multiple of the number of heads",
    );
  }
  if (config.vocabularySize < 2) {
    throw new ModelConfigError(
      "vocabularySize",
      "a vocabulary of one token has nothing to predict",
      "give 2 or more",
    );
  }
}

/** Rejects micro-batches that a batch is not made of. */
export function validateMicroBatchSize(microBatchSize: number, batchSize: number): void {
  if (!Number.isSafeInteger(microBatchSize) || microBatchSize < 1 || batchSize % microBatchSize !== 0) {
    throw new ModelConfigError(
      "microBatchSize",
      `micro-batches of ${microBatchSize} do not divide a batch of ${batchSize}`,
      "give a divisor of the batch",
    );
  }
}

/** Names of one block's tensors. */
export function blockTensorNames(block: number) {
  const prefix = `transformer.blocks.${block}`;
  return {
    norm1: `${prefix}.norm_1.weight`,
    queryKeyValue: `${prefix}.attn.Wqkv.weight`,
    outProjection: `${prefix}.attn.out_proj.weight`,
    norm2: `${prefix}.norm_2.weight`,
    upProjection: `${prefix}.ffn.up_proj.weight`,
    downProjection: `${prefix}.ffn.down_proj.weight`,
  } as const;
}

/** Name of the last LayerNorm's weight. */
export const FINAL_NORM_NAME = "transformer.norm_f.weight";

/** The shared body: everything without a vocabulary axis, in the one order in which flat bodies are laid out. */
export function bodyTensors(config: BodyConfig): TensorSpec[] {
  const { blocks, width } = config;
  const inner = FEED_FORWARD_EXPANSION * width;
  const specs: TensorSpec[] = [];
  for (let block = 0; block < blocks; block++) {
    const names = blockTensorNames(block);
    specs.push(
      { name: names.norm1, shape: [width] },
      { name: names.queryKeyValue, shape: [3 * width, width] },
      { name: names.outProjection, shape: [width, width] },
      { name: names.norm2, shape: [width] },
      { name: names.upProjection, shape: [inner, width] },
      { name: names.downProjection, shape: [width, inner] },
    );
  }
  specs.push({ name: FINAL_NORM_NAME, shape: [width] });
  return specs;
}

/** The one tensor with a vocabulary axis. */
export function embeddingTensors(config: Pick<ModelConfig, "width" | "vocabularySize">): TensorSpec[] {
  return [{ name: EMBEDDING_NAME, shape: [config.vocabularySize, config.width] }];
}

/**
 * What the peers of a run share, in the order of the flat shared array: the body and, where embedding rows are shared too
 * (variants trim and glob), the embedding of the common vocabulary as the last tensor. `undefined` shares no rows.
 */
export function sharedTensors(config: BodyConfig, commonVocabularySize: number | undefined): TensorSpec[] {
  const body = bodyTensors(config);
  if (commonVocabularySize === undefined) return body;
  return [...body, ...embeddingTensors({ width: config.width, vocabularySize: commonVocabularySize })];
}

/** Number of float32 values in a flat body. */
export function bodyLength(config: BodyConfig): number {
  return totalElements(bodyTensors(config));
}

/** Number of float32 values in a flat embedding. */
export function embeddingLength(config: Pick<ModelConfig, "width" | "vocabularySize">): number {
  return totalElements(embeddingTensors(config));
}

function totalElements(specs: readonly TensorSpec[]): number {
  return specs.reduce((sum, spec) => sum + spec.shape.reduce((product, size) => product * size, 1), 0);
}
