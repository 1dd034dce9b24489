// A batch's token ids as inputs of a compiled step, one micro-batch after another. Checks them, and copies nothing.
import { TensorSizeError, TokenOutOfRangeError } from "./errors.ts";
import { type DeviceTensor, hostTensor } from "./runtime/session.ts";
import { stepInputs } from "./train-step.ts";
import type { Batch, ModelConfig } from "./types.ts";

/** The inputs of one micro-batch: its token ids and their targets, int32[microBatchSize * sequenceLength] each. */
export type Tokens = Readonly<Record<string, DeviceTensor>>;

/** At least one. Throws TensorSizeError where the batch is not made of whole micro-batches, TokenOutOfRangeError. */
export function microBatchesOf(batch: Batch, config: ModelConfig, microBatchSize: number): Tokens[] {
  const tokens = microBatchSize * config.sequenceLength;
  const count = Math.max(1, Math.ceil(batch.inputs.length / tokens));
  for (const name of ["inputs", "targets"] as const) {
    if (batch[name].length !== count * tokens) {
      throw new TensorSizeError(name, count * tokens, batch[name].length);
    }
    for (const token of batch[name]) {
      if (token < 0 || token >= config.vocabularySize) {
        throw new TokenOutOfRangeError(token, config.vocabularySize);
      }
    }
  }
  return Array.from({ length: count }, (_, at) => {
    const part = (ids: Int32Array) => hostTensor(ids.subarray(at * tokens, (at + 1) * tokens), [tokens]);
    return { [stepInputs.inputs]: part(batch.inputs), [stepInputs.targets]: part(batch.targets) };
  });
}
