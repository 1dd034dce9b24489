// Weights far from the usual small ones, so that a wrong factor, mask or position shows in the logits.
import { bodyTensors, embeddingLength } from "../architecture.ts";
import { elementCount } from "../graph/ops.ts";
import { RandomStream } from "../random.ts";
import type { ModelConfig } from "../types.ts";

export function randomWeights(
  config: ModelConfig,
  seed: string,
): { body: Float32Array; embedding: Float32Array } {
  const fill = (length: number, name: string, deviation: number, mean = 0) => {
    const values = new Float32Array(length);
    RandomStream.fromSeed(`${seed} ${name}`).fillNormal(values, deviation);
    return mean === 0 ? values : values.map((value) => value + mean);
  };
  const tensors = bodyTensors(config).map(({ name, shape }) =>
    shape.length === 1 ? fill(shape[0]!, name, 0.3, 1) : fill(elementCount(shape), name, 0.25),
  );
  return {
    body: Float32Array.from(tensors.flatMap((values) => [...values])),
    embedding: fill(embeddingLength(config), "embedding", 0.2),
  };
}
