// Bits per byte of held-out text, for every method the same way: the same stretch of each source's text, whatever it is
// in tokens, in neighbouring windows. What fills no whole batch at the stretch's end is left out.
import { evaluateBitsPerByte } from "#model/eval/bits-per-byte.ts";
import type { Tokenizer } from "#model/tokenizer/tokenizer.ts";
import type { Batch, TrainingModel } from "#model/types.ts";
import { type ActivationProbe, normOf } from "./norms.ts";

export interface Shape {
  readonly batchSize: number;
  readonly sequenceLength: number;
}

export interface HeldOutText {
  readonly source: string;
  readonly tokenizer: Tokenizer;
  readonly ids: Int32Array;
}

/** The stretch's tokens as batches; fewer sequences than a batch give none. */
export function* stretchBatches(ids: Int32Array, { batchSize, sequenceLength }: Shape): Generator<Batch> {
  const tokens = batchSize * sequenceLength;
  for (let at = 0; at + tokens < ids.length; at += tokens) {
    yield {
      inputs: ids.slice(at, at + tokens),
      targets: ids.slice(at + 1, at + tokens + 1),
      batchSize,
      sequenceLength,
    };
  }
}

/** Bits per byte by source. */
export async function evaluateSources(
  model: Pick<TrainingModel, "evaluate">,
  texts: readonly HeldOutText[],
  shape: Shape,
  signal: AbortSignal,
): Promise<Record<string, number>> {
  const values: Record<string, number> = {};
  for (const { source, tokenizer, ids } of texts) {
    const batches = stretchBatches(ids, shape);
    values[source] = (await evaluateBitsPerByte(model, batches, tokenizer.byteLengths, signal)).bitsPerByte;
  }
  return values;
}

/** A curve's point as flat numbers: bits per byte by source, and the norms; the activation is the mean over the texts. */
export async function lookAtModel(
  model: TrainingModel,
  texts: readonly HeldOutText[],
  probe: ActivationProbe,
  signal: AbortSignal,
): Promise<Record<string, number>> {
  const shape = { batchSize: probe.batchSize, sequenceLength: model.config.sequenceLength };
  const values = await evaluateSources(model, texts, shape, signal);
  const body = await model.readBody();
  const embedding = await model.readEmbedding();
  let activation = 0;
  for (const { ids } of texts) {
    const [batch] = stretchBatches(ids, shape);
    activation += (await probe.rootMeanSquare(body, embedding, batch!)) / texts.length;
  }
  const embeddingRowNorm = normOf(embedding) / Math.sqrt(model.config.vocabularySize);
  return { ...values, activation, bodyNorm: normOf(body), embeddingRowNorm };
}
