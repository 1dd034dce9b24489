// A model on the texts of several sources: places it on a device and evaluates source after source. Usable without the
// command line; what is shown and written is the caller's.
import { basename } from "node:path";
import { evaluateText, type TextEvaluation } from "#model/eval/evaluate-text.ts";
import { createScorer } from "#model/eval/scorer.ts";
import type { Device } from "#model/types.ts";
import type { LoadedModel } from "../models/load-model.ts";
import { exampleBatch, placeOnDevice } from "../trainer/device.ts";
import { selectDocuments } from "./select-documents.ts";

/**
 * Tokens computed at once where no micro-batch is given. Measured on a CPU, 6 blocks of width 384: 1,047 tokens/s with 512,
 * 762 with 1,536, 622 with 4,096, whose values no cache holds. A GPU needs many to be busy.
 */
const TOKENS_AT_ONCE: Readonly<Record<Device, number>> = { cpu: 512, webgpu: 8192, cuda: 8192 };

export interface EvaluationSource {
  readonly name: string;
  /** File or folder. */
  readonly path: string;
}

export interface EvaluateModelOptions {
  readonly sources: readonly EvaluationSource[];
  readonly textField: string;
  readonly split: "all" | "held-out";
  /** UTF-8 bytes of each source. */
  readonly maxBytes?: number | undefined;
  /** Of a window; default the one that the model was trained with. */
  readonly sequenceLength?: number | undefined;
  /** See model/eval/windows.ts; default the sequence length. */
  readonly stride?: number | undefined;
  readonly device: Device | "auto";
  readonly threads?: number | undefined;
  /** Windows computed at once. */
  readonly microBatch?: number | undefined;
}

export interface EvaluationProgress {
  readonly source: string;
  /** Of the source's bytes on disk. */
  readonly fraction: number;
  readonly tokens: number;
  readonly nats: number;
  readonly tokensPerSecond: number;
}

export interface SourceEvaluation extends TextEvaluation {
  readonly source: string;
  readonly tokensPerSecond: number;
}

export interface EvaluateModelModules {
  readonly signal: AbortSignal;
  readonly onProgress?: ((progress: EvaluationProgress) => void) | undefined;
}

/** @throws DataError, NothingHeldOutError, DeviceUnavailableError, the signal's reason */
export async function evaluateModel(
  model: Pick<LoadedModel, "config" | "body" | "embedding" | "tokenizer">,
  options: EvaluateModelOptions,
  { signal, onProgress }: EvaluateModelModules,
): Promise<SourceEvaluation[]> {
  const { body, embedding, tokenizer } = model;
  const { sequenceLength = model.config.sequenceLength, device, threads, stride } = options;
  const config = { ...model.config, sequenceLength };
  const windowsAtOnce = (place: Device) =>
    options.microBatch ?? Math.max(1, Math.floor(TOKENS_AT_ONCE[place] / sequenceLength));
  const { model: scorer } = await placeOnDevice(
    device,
    (place) =>
      createScorer({ config, batchSize: windowsAtOnce(place), body, embedding, device: place, threads }),
    (placed) => placed.score(exampleBatch(config, placed.batchSize)),
    (placed) => placed.batchSize,
  );
  try {
    const evaluations: SourceEvaluation[] = [];
    for (const { name, path } of options.sources) {
      const startedMs = performance.now();
      const speedOf = (tokens: number) => (1000 * tokens) / (performance.now() - startedMs);
      let fraction = 0;
      const documents = selectDocuments(path, {
        ...options,
        signal,
        onProgress: (read, total) => {
          fraction = read / total;
        },
      });
      const evaluation = await evaluateText(scorer, tokenizer, documents, {
        stride,
        signal,
        onProgress: ({ tokens, nats }) =>
          onProgress?.({ source: name, fraction, tokens, nats, tokensPerSecond: speedOf(tokens) }),
      });
      evaluations.push({ source: name, ...evaluation, tokensPerSecond: speedOf(evaluation.tokens) });
    }
    return evaluations;
  } finally {
    await scorer.dispose();
  }
}

/** What is averaged over sources, each of which counts the same, however long. */
const AVERAGED = [
  "bitsPerByte",
  "perplexity",
  "natsPerToken",
  "unigramNatsPerToken",
  "normalizedNatsPerToken",
  "normalizedPerplexity",
] as const satisfies readonly (keyof TextEvaluation)[];

export type AverageEvaluation = { readonly [Key in (typeof AVERAGED)[number]]: number };

/** Arithmetic means over sources, perplexities included, as the paper's tables have them. */
export function averageOf(evaluations: readonly TextEvaluation[]): AverageEvaluation {
  const mean = (key: (typeof AVERAGED)[number]) =>
    evaluations.reduce((sum, evaluation) => sum + evaluation[key], 0) / evaluations.length;
  return Object.fromEntries(AVERAGED.map((key) => [key, mean(key)])) as AverageEvaluation;
}

/** Each path is a source, named by its file or folder; by the whole path where two are called the same. */
export function sourcesOf(paths: readonly string[]): EvaluationSource[] {
  const names = paths.map((path) =>
    basename(path).replace(/(?<=.)(\.(txt|jsonl|ndjson|parquet|gz|zst))+$/i, ""),
  );
  return paths.map((path, at) => {
    const isShared = names.some((name, other) => other !== at && name === names[at]);
    return { name: isShared ? path : names[at]!, path };
  });
}
