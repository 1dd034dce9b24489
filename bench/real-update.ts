// A real update of any preset's body: trained from genesis on bytes of English novels, as a peer's first round is.
import { readFile } from "node:fs/promises";
import { gunzipSync } from "node:zlib";
import { bodyTensors } from "#model/architecture.ts";
import { genesisBody, initialEmbedding } from "#model/genesis.ts";
import { createTrainingModel } from "#model/training-model.ts";
import type { Batch } from "#model/types.ts";
import { type ParameterLayout, parameterLayout } from "#protocol/core/layout.ts";
import { type PresetName, presets } from "#protocol/core/presets.ts";
import { parseRunConfig, totalSteps } from "#protocol/core/run-config.ts";
import { sha256 } from "./languages.ts";

/** Bytes as tokens: the update of the body is real, and no tokenizer has to be trained first. */
const BYTE_VOCABULARY = 256;
const CORPUS = new URL("../node/demo/corpora/en-novels.txt.gz", import.meta.url);

export interface Delta {
  readonly source: string;
  readonly values: Float32Array;
  readonly layout: ParameterLayout;
}

export interface DeltaOptions {
  readonly preset: PresetName;
  /** Default: those of the preset. */
  readonly steps?: number | undefined;
  readonly batchSize?: number;
  readonly sequenceLength?: number;
}

export async function trainDelta({ preset, ...options }: DeltaOptions): Promise<Delta> {
  const config = parseRunConfig(presets[preset].config);
  const { batchSize = config.training.batchSize, steps = config.training.localSteps } = options;
  const { sequenceLength = config.model.sequenceLength } = options;
  const modelConfig = { ...config.model, sequenceLength, vocabularySize: BYTE_VOCABULARY };
  const body = genesisBody(modelConfig, config.seed);
  const text = gunzipSync(await readFile(CORPUS));
  const model = await createTrainingModel({
    config: modelConfig,
    optimizer: { ...config.training, totalSteps: totalSteps(config) },
    batchSize,
    device: "cpu",
    body,
    embedding: initialEmbedding(modelConfig, 1),
  });
  try {
    let loss = Number.NaN;
    for (let step = 0; step < steps; step++) {
      loss = (await model.trainStep(batchAt(text, step, batchSize, sequenceLength), step)).loss;
    }
    const trained = await model.readBody();
    return {
      source: `${preset}, ${steps} steps on bytes of English novels, loss ${loss.toFixed(2)} nats/byte`,
      values: body.map((value, index) => value - trained[index]!),
      layout: parameterLayout(bodyTensors(modelConfig), sha256),
    };
  } finally {
    await model.dispose();
  }
}

/** Windows strewn over the text with a stride that shares no factor with its length in practice. */
function batchAt(text: Uint8Array, step: number, batchSize: number, sequenceLength: number): Batch {
  const inputs = new Int32Array(batchSize * sequenceLength);
  const targets = new Int32Array(batchSize * sequenceLength);
  for (let row = 0; row < batchSize; row++) {
    const start = ((step * batchSize + row) * 7919 * sequenceLength) % (text.length - sequenceLength - 1);
    inputs.set(text.subarray(start, start + sequenceLength), row * sequenceLength);
    targets.set(text.subarray(start + 1, start + sequenceLength + 1), row * sequenceLength);
  }
  return { inputs, targets, batchSize, sequenceLength };
}
