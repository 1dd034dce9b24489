// The MPT decoder for generating text, as an ONNX model: sizes known only when it runs, and a cache of keys and values, so
// that a step costs one token. The same mathematics as nn/mpt.ts, held against it by tests; written for clients of Hugging
// Face's ONNX exports, who know its inputs and outputs by these names.
// Shapes: B batch, T new tokens, P cached ones, S = P + T, N = B * T, d = width, H heads of size h = d / H, v vocabulary.
import {
  blockTensorNames,
  bodyTensors,
  EMBEDDING_NAME,
  embeddingTensors,
  FINAL_NORM_NAME,
  LAYER_NORM_EPSILON,
} from "../architecture.ts";
import { alibiSlopes } from "../nn/alibi.ts";
import { OnnxModel, type OnnxShape } from "../onnx/onnx-model.ts";
import type { ModelConfig, TensorSpec } from "../types.ts";

/** What clients call things. Sizes by name: whoever meets `batch_size` and `past_sequence_length` knows what to feed. */
export const decoderNames = {
  /** int64 [B, T] */
  inputIds: "input_ids",
  /** int64 [B, S]: 0 for padding, which nothing attends to. */
  attentionMask: "attention_mask",
  /** float32 [B, H, P, h] */
  past: (block: number, part: CachePart) => `past_key_values.${block}.${part}`,
  /** float32 [B, H, S, h]: the next step's past. */
  present: (block: number, part: CachePart) => `present.${block}.${part}`,
  /** float32 [B, T, v], or [B, 1, v] where only the last token's were asked for. */
  logits: "logits",
} as const;

export type CachePart = "key" | "value";
export const CACHE_PARTS: readonly CachePart[] = ["key", "value"];

export interface DecoderGraphOptions {
  readonly config: ModelConfig;
  /** Puts a weight into the model: among the inputs, as an initializer, or beside it. */
  readonly declareWeight: (model: OnnxModel, spec: TensorSpec) => void;
  /** Logits of the last token alone are all that generating needs; clients expect all of them. */
  readonly logits: "all" | "last";
}

/** Added to the scores of what may not be attended to. Finite: a row of padding alone must not become NaN. */
const FORBIDDEN = -3.4028234663852886e38;

/** The decoder as ModelProto bytes. */
export function buildDecoder({
  config,
  declareWeight,
  logits,
}: DecoderGraphOptions): Uint8Array<ArrayBuffer> {
  const { blocks, width, heads, vocabularySize } = config;
  const model = new OnnxModel();
  const whole: OnnxShape = ["batch_size", "past_sequence_length + sequence_length"];
  const cached = (length: string): OnnxShape => ["batch_size", heads, length, width / heads];
  model.input(decoderNames.inputIds, "int64", ["batch_size", "sequence_length"]);
  model.input(decoderNames.attentionMask, "int64", whole);
  for (let block = 0; block < blocks; block++) {
    for (const part of CACHE_PARTS) {
      model.input(decoderNames.past(block, part), "float", cached("past_sequence_length"));
    }
  }
  for (const spec of [...embeddingTensors(config), ...bodyTensors(config)]) declareWeight(model, spec);

  const sizes = readSizes(model);
  const bias = attentionBias(model, heads, sizes);
  const embedded = model.intermediate("Gather", [EMBEDDING_NAME, decoderNames.inputIds]);
  let x = model.intermediate("Reshape", [embedded, model.int64([-1, width])]);
  for (let block = 0; block < blocks; block++) {
    const names = blockTensorNames(block);
    const attended = attention(model, config, block, { x: norm(model, x, names.norm1), bias, sizes });
    x = model.intermediate("Add", [x, attended]);
    const up = linear(model, norm(model, x, names.norm2), names.upProjection);
    const down = linear(model, model.intermediate("Gelu", [up]), names.downProjection);
    x = model.intermediate("Add", [x, down]);
  }
  const hidden = logits === "all" ? x : lastTokens(model, width, x, sizes);
  const flat = linear(model, norm(model, hidden, FINAL_NORM_NAME), EMBEDDING_NAME);
  const shape = join(model, sizes.batch, model.int64([-1, vocabularySize]));
  model.node("Reshape", [flat, shape], [decoderNames.logits]);

  const steps = logits === "all" ? "sequence_length" : 1;
  model.output(decoderNames.logits, "float", ["batch_size", steps, vocabularySize]);
  for (let block = 0; block < blocks; block++) {
    for (const part of CACHE_PARTS)
      model.output(decoderNames.present(block, part), "float", cached(whole[1] as string));
  }
  return model.toBytes();
}

/** Names of int64 [1] tensors. */
interface Sizes {
  readonly batch: string;
  readonly tokens: string;
  readonly past: string;
}

function readSizes(model: OnnxModel): Sizes {
  const size = (of: string, axis: number) =>
    model.intermediate("Shape", [of], { attributes: { start: { int: axis }, end: { int: axis + 1 } } });
  return {
    batch: size(decoderNames.inputIds, 0),
    tokens: size(decoderNames.inputIds, 1),
    past: size(decoderNames.past(0, "key"), 2),
  };
}

/**
 * What is added to scores, [B, H, T, S]: slope * (key - query) where the key is no padding and not after the query.
 * ALiBi counts distances, so that neither a cache nor padding on the left needs positions of its own.
 */
function attentionBias(model: OnnxModel, heads: number, { tokens, past }: Sizes): string {
  const total = model.intermediate("Add", [past, tokens]);
  const scalar = (vector: string) => model.intermediate("Squeeze", [vector]);
  model.initializer("zero", [], BigInt64Array.of(0n));
  model.initializer("one", [], BigInt64Array.of(1n));
  const keys = model.intermediate("Range", ["zero", scalar(total), "one"]);
  const queries = model.intermediate("Range", [scalar(past), scalar(total), "one"]);
  const column = model.intermediate("Unsqueeze", [queries, model.int64([1])]);
  const distance = model.intermediate("Cast", [model.intermediate("Sub", [keys, column])], FLOAT);
  model.initializer("alibi.slopes", [heads, 1, 1], Float32Array.from(alibiSlopes(heads)));
  const bias = model.intermediate("Mul", ["alibi.slopes", distance]);

  const isCausal = model.intermediate("LessOrEqual", [keys, column]);
  const isText = model.intermediate("Cast", [decoderNames.attentionMask], BOOL);
  const perKey = model.intermediate("Unsqueeze", [isText, model.int64([1, 2])]);
  const allowed = model.intermediate("And", [perKey, isCausal]);
  return model.intermediate("Where", [allowed, bias, model.float32(FORBIDDEN)]);
}

interface AttentionInputs {
  readonly x: string;
  readonly bias: string;
  readonly sizes: Sizes;
}

/** Causal self-attention over cache and new tokens, [N, d] -> [N, d]. Makes the block's outputs for the cache. */
function attention(
  model: OnnxModel,
  { width, heads }: ModelConfig,
  block: number,
  { x, bias, sizes }: AttentionInputs,
): string {
  const names = blockTensorNames(block);
  const perHead = join(model, sizes.batch, model.int64([-1, heads, width / heads]));
  const [query, key, value] = ["query", "key", "value"].map((role) => `blocks.${block}.${role}`);
  const projected = linear(model, x, names.queryKeyValue);
  model.node("Split", [projected, model.int64([width, width, width])], [query!, key!, value!], {
    attributes: { axis: { int: 1 } },
  });
  // [N, d] -> [B, H, T, h]
  const byHead = (part: string) =>
    model.intermediate("Transpose", [model.intermediate("Reshape", [part, perHead])], permute(0, 2, 1, 3));
  const present = (part: CachePart, fresh: string) => {
    const name = decoderNames.present(block, part);
    model.node("Concat", [decoderNames.past(block, part), byHead(fresh)], [name], {
      attributes: { axis: { int: 2 } },
    });
    return name;
  };
  const keys = model.intermediate("Transpose", [present("key", key!)], permute(0, 1, 3, 2));
  const values = present("value", value!);

  const scaled = model.intermediate("Mul", [byHead(query!), model.float32(1 / Math.sqrt(width / heads))]);
  const scores = model.intermediate("Add", [model.intermediate("MatMul", [scaled, keys]), bias]);
  const probabilities = model.intermediate("Softmax", [scores], { attributes: { axis: { int: -1 } } });
  const mixed = model.intermediate("MatMul", [probabilities, values]);
  const merged = model.intermediate("Transpose", [mixed], permute(0, 2, 1, 3));
  return linear(
    model,
    model.intermediate("Reshape", [merged, model.int64([-1, width])]),
    names.outProjection,
  );
}

/** The hidden states [N, d] of each sequence's last token, [B, d]. */
function lastTokens(model: OnnxModel, width: number, x: string, { batch }: Sizes): string {
  const byRow = model.intermediate("Reshape", [x, join(model, batch, model.int64([-1, width]))]);
  const range = [[-1], [2 ** 31 - 1], [1]].map((list) => model.int64(list));
  const last = model.intermediate("Slice", [byRow, ...range]);
  return model.intermediate("Reshape", [last, model.int64([-1, width])]);
}

function norm(model: OnnxModel, x: string, weight: string): string {
  return model.intermediate("LayerNormalization", [x, weight], {
    attributes: { axis: { int: -1 }, epsilon: { float: LAYER_NORM_EPSILON } },
  });
}

/** x [n, in] times weight [out, in] transposed. */
function linear(model: OnnxModel, x: string, weight: string): string {
  return model.intermediate("Gemm", [x, weight], { attributes: { transB: { int: 1 } } });
}

function join(model: OnnxModel, first: string, rest: string): string {
  return model.intermediate("Concat", [first, rest], { attributes: { axis: { int: 0 } } });
}

const permute = (...axes: number[]) => ({ attributes: { perm: { ints: axes } } });
/** TensorProto.DataType of what is cast to. */
const FLOAT = { attributes: { to: { int: 1 } } };
const BOOL = { attributes: { to: { int: 9 } } };
