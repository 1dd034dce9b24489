// Models small enough to train in a test: their settings, batches of random ids, and models that end with the test that made them.
import { afterEach } from "vitest";
import { genesisBody, initialEmbedding } from "../genesis.ts";
import { RandomStream } from "../random.ts";
import { createTrainingModel, type TrainingModelOptions } from "../training-model.ts";
import type { Batch, ModelConfig, OptimizerConfig, TrainingModel } from "../types.ts";

export const smallConfig: ModelConfig = {
  blocks: 2,
  width: 24,
  heads: 3,
  sequenceLength: 8,
  vocabularySize: 37,
};

export const smallOptimizer: OptimizerConfig = {
  learningRate: 1e-2,
  beta1: 0.9,
  beta2: 0.95,
  epsilon: 1e-8,
  weightDecay: 0.1,
  gradientClip: 1,
  warmupSteps: 3,
  totalSteps: 60,
  finalLearningRateRatio: 0.1,
};

type MakeModel = (changes?: Partial<TrainingModelOptions>) => Promise<TrainingModel>;

/** For the top of a test file: what makes models with these settings, on the cpu and from the seed's parameters unless changed. */
export function modelsFrom(
  seed: string,
  settings: Omit<TrainingModelOptions, "body" | "embedding" | "device">,
): MakeModel {
  const open: TrainingModel[] = [];
  afterEach(async () => {
    for (const model of open.splice(0)) await model.dispose();
  });
  const { config } = settings;
  return async (changes = {}) => {
    const model = await createTrainingModel({
      ...settings,
      device: "cpu",
      body: genesisBody(config, seed),
      embedding: initialEmbedding(config, seed),
      ...changes,
    });
    open.push(model);
    return model;
  };
}

/** Ids drawn evenly from the small vocabulary. */
export function randomBatch(seed: string, batchSize: number): Batch {
  const { sequenceLength, vocabularySize } = smallConfig;
  const stream = RandomStream.fromSeed(seed);
  const draw = () =>
    Int32Array.from({ length: batchSize * sequenceLength }, () => stream.nextUint32() % vocabularySize);
  return { inputs: draw(), targets: draw(), batchSize, sequenceLength };
}
