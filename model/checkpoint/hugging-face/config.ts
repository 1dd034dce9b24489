// config.json of Hugging Face's MptForCausalLM <-> ModelConfig. Owns which of MPT's variants can be used and why not.
// Defaults are MptConfig's and MptAttentionConfig's: save_pretrained leaves out what has its default.
import { ALIBI_BIAS_MAX, FEED_FORWARD_EXPANSION, LAYER_NORM_EPSILON } from "../../architecture.ts";
import { INITIAL_STANDARD_DEVIATION } from "../../genesis.ts";
import type { ModelConfig } from "../../types.ts";
import type { JsonValue } from "../training-checkpoint.ts";
import { ModelFolderUnreadableError, ModelFolderUnsupportedError } from "./errors.ts";

/** What the model's files say of the token between documents, which is also the one to start from. */
export interface EndOfText {
  readonly id: number;
  readonly content: string;
}

/**
 * config.json for transformers, in Python and in JavaScript. Fractions that are whole numbers (embedding_fraction, the
 * dropouts) are left to their defaults: transformers 5 takes the 1 that JavaScript writes for no float.
 */
export function mptConfigJson(config: ModelConfig, endOfText: EndOfText): Record<string, JsonValue> {
  return {
    architectures: ["MptForCausalLM"],
    model_type: "mpt",
    vocab_size: config.vocabularySize,
    d_model: config.width,
    n_heads: config.heads,
    n_layers: config.blocks,
    expansion_ratio: FEED_FORWARD_EXPANSION,
    max_seq_len: config.sequenceLength,
    layer_norm_epsilon: LAYER_NORM_EPSILON,
    no_bias: true,
    norm_type: "layernorm",
    // A field of MPT's first implementation, where ALiBi turns positions off whatever it says.
    learned_pos_emb: false,
    logit_scale: null,
    attn_config: {
      model_type: "",
      attn_type: "multihead_attention",
      attn_impl: "torch",
      attn_uses_sequence_id: false,
      alibi: true,
      alibi_bias_max: ALIBI_BIAS_MAX,
      clip_qkv: null,
      prefix_lm: false,
      qk_ln: false,
      // null is 1 / sqrt(head size).
      softmax_scale: null,
    },
    initializer_range: INITIAL_STANDARD_DEVIATION,
    init_device: "cpu",
    tie_word_embeddings: true,
    use_cache: true,
    bos_token_id: endOfText.id,
    eos_token_id: endOfText.id,
    pad_token_id: endOfText.id,
    torch_dtype: "float32",
  };
}

/** How a field of config.json may be. `field` is a path with dots. */
interface Demand {
  readonly field: string;
  /** MptConfig's value where the file has none. */
  readonly byDefault: unknown;
  readonly accepts: (value: unknown) => boolean;
  readonly remedy: string;
}

const TRAINED_SO = "take a model that was trained so; weights cannot be converted";

const is = (field: string, wanted: unknown, byDefault: unknown, remedy = TRAINED_SO): Demand => ({
  field,
  byDefault,
  accepts: (value) => value === wanted,
  remedy: `it has to be ${JSON.stringify(wanted)}: ${remedy}`,
});

const DEMANDS: readonly Demand[] = [
  is("expansion_ratio", FEED_FORWARD_EXPANSION, 4),
  is("layer_norm_epsilon", LAYER_NORM_EPSILON, 1e-5),
  is("no_bias", true, true),
  is("tie_word_embeddings", true, true),
  is("logit_scale", null, null),
  is("embedding_fraction", 1, 1),
  {
    field: "norm_type",
    byDefault: "low_precision_layernorm",
    accepts: (value) => value === "layernorm" || value === "low_precision_layernorm",
    remedy: `it has to be "layernorm" or "low_precision_layernorm": ${TRAINED_SO}`,
  },
  is("attn_config.attn_type", "multihead_attention", "multihead_attention"),
  is("attn_config.alibi", true, true),
  is("attn_config.alibi_bias_max", ALIBI_BIAS_MAX, 8),
  is("attn_config.clip_qkv", null, null),
  is("attn_config.qk_ln", false, false),
  is("attn_config.prefix_lm", false, false),
  is("attn_config.attn_uses_sequence_id", false, false),
  is("quantization_config", undefined, undefined, "save the model with its weights in float32 or bfloat16"),
];

/** Reads and checks the text of a config.json. `path` is for the errors. */
export function parseMptConfig(text: string, path: string): ModelConfig {
  const json = parseObject(text, path);
  if (json.model_type !== "mpt") {
    throw new ModelFolderUnsupportedError(
      path,
      "model_type",
      `is ${JSON.stringify(json.model_type) ?? "not there"}`,
      'it has to be "mpt": take a decoder that was trained as MPT (MptForCausalLM)',
    );
  }
  for (const { field, byDefault, accepts, remedy } of DEMANDS) {
    const value = fieldOf(json, field) ?? byDefault;
    if (!accepts(value)) {
      throw new ModelFolderUnsupportedError(path, field, `is ${JSON.stringify(value)}`, remedy);
    }
  }
  const config: ModelConfig = {
    blocks: countOf(json, "n_layers", path),
    width: countOf(json, "d_model", path),
    heads: countOf(json, "n_heads", path),
    sequenceLength: countOf(json, "max_seq_len", path),
    vocabularySize: countOf(json, "vocab_size", path),
  };
  const scale = fieldOf(json, "attn_config.softmax_scale") ?? null;
  const usual = 1 / Math.sqrt(config.width / config.heads);
  if (scale !== null && !(typeof scale === "number" && Math.abs(scale / usual - 1) < 1e-6)) {
    throw new ModelFolderUnsupportedError(
      path,
      "attn_config.softmax_scale",
      `is ${JSON.stringify(scale)}`,
      `it has to be null or 1 / sqrt(head size), here ${usual}: ${TRAINED_SO}`,
    );
  }
  return config;
}

/** A JSON object, or an error that names the file. */
export function parseObject(text: string, path: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new ModelFolderUnreadableError(path, `it is not JSON (${(cause as Error).message})`, { cause });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new ModelFolderUnreadableError(path, "it holds no JSON object");
  }
  return value as Record<string, unknown>;
}

function fieldOf(json: Record<string, unknown>, field: string): unknown {
  return field
    .split(".")
    .reduce<unknown>((at, key) => (at as Record<string, unknown> | null | undefined)?.[key], json);
}

function countOf(json: Record<string, unknown>, field: string, path: string): number {
  const value = json[field];
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 1) {
    throw new ModelFolderUnsupportedError(
      path,
      field,
      `is ${JSON.stringify(value) ?? "not there"}`,
      "it has to be a positive whole number",
    );
  }
  return value;
}
