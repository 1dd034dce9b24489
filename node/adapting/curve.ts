// The plasticity curve: how well the model in adaptation predicts held-out text, by step. Owns the form of its points.
import { validationBatches } from "#model/data/batches.ts";
import type { TokenSplit } from "#model/data/token-file.ts";
import { evaluateBitsPerByte } from "#model/eval/bits-per-byte.ts";
import type { TrainingModel } from "#model/types.ts";
import type { BaselineProgress, Evaluated } from "../single-machine/train-baseline.ts";

export interface HeldOutSource {
  readonly name: string;
  readonly validation: TokenSplit;
}

/** One line of curve.jsonl. Without times: a resumed adaptation writes the same bytes. */
export interface CurvePoint {
  /** Steps done. */
  readonly step: number;
  /** Means over sources, each of which counts the same. */
  readonly bitsPerByte: number;
  readonly perplexity: number;
  readonly sources: Readonly<Record<string, { readonly bitsPerByte: number; readonly perplexity: number }>>;
}

export interface EvaluateSourcesOptions {
  readonly batchSize: number;
  readonly sequenceLength: number;
  /** Of each source. */
  readonly maximumTokens: number;
  readonly byteLengths: ArrayLike<number>;
  readonly signal: AbortSignal;
}

/** Bits per byte and perplexity of each source, in the order of the sources, as numbers by name. */
export async function evaluateSources(
  model: TrainingModel,
  sources: readonly HeldOutSource[],
  { byteLengths, signal, ...shape }: EvaluateSourcesOptions,
): Promise<Evaluated> {
  const values: Record<string, number> = {};
  for (const { name, validation } of sources) {
    const batches = validationBatches(validation, shape);
    const { bitsPerByte, perplexity } = await evaluateBitsPerByte(model, batches, byteLengths, signal);
    values[`${name}:bitsPerByte`] = bitsPerByte;
    values[`${name}:perplexity`] = perplexity;
  }
  return values;
}

export function pointOf(step: number, values: Evaluated): CurvePoint {
  const names = [...new Set(Object.keys(values).map((key) => key.slice(0, key.lastIndexOf(":"))))];
  const of = (name: string) => ({
    bitsPerByte: values[`${name}:bitsPerByte`]!,
    perplexity: values[`${name}:perplexity`]!,
  });
  const mean = (key: "bitsPerByte" | "perplexity") =>
    names.reduce((sum, name) => sum + of(name)[key], 0) / names.length;
  return {
    step,
    bitsPerByte: mean("bitsPerByte"),
    perplexity: mean("perplexity"),
    sources: Object.fromEntries(names.map((name) => [name, of(name)])),
  };
}

export function curveOf({ evaluations }: Pick<BaselineProgress, "evaluations">): CurvePoint[] {
  return evaluations.map(({ step, values }) => pointOf(step, values));
}
