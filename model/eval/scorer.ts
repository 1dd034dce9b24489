// A model that only reads: the cross-entropy of each next token, without gradients, moments or copies of the weights.
// Knows neither text nor files. Calls block this thread for as long as they compute.
import {
  bodyLength,
  bodyTensors,
  EMBEDDING_NAME,
  embeddingLength,
  embeddingTensors,
} from "../architecture.ts";
import { ModelDisposedError, TensorSizeError } from "../errors.ts";
import { GraphBuilder } from "../graph/builder.ts";
import { elementCount, type Graph } from "../graph/ops.ts";
import { microBatchesOf } from "../micro-batches.ts";
import { headTokenNats } from "../nn/head-loss.ts";
import { mptHidden } from "../nn/mpt.ts";
import { emissionFor, emitOnnx } from "../onnx/emit.ts";
import { createSession, type DeviceTensor, hostData, hostTensor } from "../runtime/session.ts";
import { stepInputs, stepOutputs } from "../train-step.ts";
import type { Batch, Device, ModelConfig, TensorSpec } from "../types.ts";

export interface ScorerOptions {
  readonly config: ModelConfig;
  /** Sequences computed at once; the graph's shapes are static. */
  readonly batchSize: number;
  /** Flat, in `bodyTensors(config)` order. Not copied: leave it alone. */
  readonly body: Float32Array;
  /** Flat [vocabularySize, width]. Not copied: leave it alone. */
  readonly embedding: Float32Array;
  readonly device: Device;
  readonly threads?: number | undefined;
}

export interface Scorer {
  readonly config: ModelConfig;
  readonly batchSize: number;
  /** Nats of each target, [batchSize * sequenceLength], row-major as the batch. */
  score(batch: Batch): Promise<Float32Array>;
  dispose(): Promise<void>;
}

/** Token ids int32[N] and every weight in, `nats` [N] out, N = batchSize * sequenceLength. */
export function buildScoring(config: ModelConfig, batchSize: number): Graph {
  const b = new GraphBuilder();
  const tokens = batchSize * config.sequenceLength;
  const inputs = b.input(stepInputs.inputs, [tokens], "int32");
  const targets = b.input(stepInputs.targets, [tokens], "int32");
  const weights = new Map(
    [...bodyTensors(config), ...embeddingTensors(config)].map(({ name, shape }) => [
      name,
      b.input(name, shape),
    ]),
  );
  const hidden = mptHidden(b, config, batchSize, weights, inputs);
  const head = weights.get(EMBEDDING_NAME)!;
  return b.build({ [stepOutputs.nats]: b.scope("head", () => headTokenNats(b, { hidden, head, targets })) });
}

/** @throws ModelConfigError, TensorSizeError, DeviceUnavailableError */
export async function createScorer(options: ScorerOptions): Promise<Scorer> {
  const { config, batchSize, body, embedding, device, threads } = options;
  const parts = [
    ["body", body, bodyLength(config)],
    ["embedding", embedding, embeddingLength(config)],
  ] as const;
  for (const [name, values, expected] of parts) {
    if (values.length !== expected) throw new TensorSizeError(name, expected, values.length);
  }
  const weights = Object.fromEntries([
    ...tensorsOf(body, bodyTensors(config)),
    ...tensorsOf(embedding, embeddingTensors(config)),
  ]);
  const session = await createSession(emitOnnx(buildScoring(config, batchSize), emissionFor(device)), {
    device,
    ...(threads !== undefined && { threads }),
  });
  let isDisposed = false;
  return {
    config,
    batchSize,
    async score(batch) {
      if (isDisposed) throw new ModelDisposedError();
      const [tokens] = microBatchesOf(batch, config, batchSize);
      const outputs = await session.run({ ...tokens, ...weights }, { [stepOutputs.nats]: null });
      return hostData(outputs[stepOutputs.nats]!);
    },
    async dispose() {
      if (isDisposed) return;
      isDisposed = true;
      await session.dispose();
    },
  };
}

function tensorsOf(flat: Float32Array, specs: readonly TensorSpec[]): [string, DeviceTensor][] {
  let start = 0;
  return specs.map(({ name, shape }) => {
    const end = start + elementCount(shape);
    const tensor = hostTensor(flat.subarray(start, end), shape);
    start = end;
    return [name, tensor];
  });
}
