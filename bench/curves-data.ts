// What a comparison of trainings is fed with: one tokenizer over all corpora, training batches mixed from them, and held-out
// batches of each. Everything is made by the production code, once, so that all trainings get the same ids in the same order.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { countTargetBytes, validationBatches } from "#model/data/batches.ts";
import { sampleDocuments } from "#model/data/read-documents.ts";
import { prepareTokens } from "#model/data/token-cache.ts";
import { trainTokenizer } from "#model/tokenizer/train-tokenizer.ts";
import type { Batch } from "#model/types.ts";
import { MixedBatches } from "../node/single-machine/mixed-batches.ts";

export interface Corpus {
  readonly name: string;
  readonly path: string;
}

export interface HeldOut {
  readonly name: string;
  readonly batches: readonly Batch[];
  /** UTF-8 bytes that the batches' targets spell. */
  readonly bytes: number;
}

export interface CurvesData {
  /** One for each step. */
  readonly training: readonly Batch[];
  readonly heldOut: readonly HeldOut[];
  /** Bytes of each token, by id. */
  readonly byteLengths: ArrayLike<number>;
  /** Tokens that each corpus has to train on. */
  readonly trainingTokens: Readonly<Record<string, number>>;
}

export interface CurvesDataOptions {
  readonly corpora: readonly Corpus[];
  readonly vocabularySize: number;
  readonly batchSize: number;
  readonly sequenceLength: number;
  readonly steps: number;
  /** Of each corpus, in whole batches and one at least. */
  readonly heldOutTokens: number;
  readonly seed: number;
  readonly cacheDirectory: string;
}

/** Twice what the corpora that come with glossa hold; of larger ones a sample does. */
const TOKENIZER_SAMPLE_BYTES = 8_000_000;

/** @throws DataError of reading, of the tokenizer and of a corpus that is too small */
export async function prepareCurvesData(options: CurvesDataOptions): Promise<CurvesData> {
  const { corpora, vocabularySize, batchSize, sequenceLength, cacheDirectory } = options;
  const sample = sampleDocuments(
    corpora.map(({ path }) => path),
    { maxBytes: TOKENIZER_SAMPLE_BYTES },
  );
  const tokenizer = await trainTokenizer(sample, { vocabularySize });
  const minimumValidationTokens = Math.max(batchSize * sequenceLength, options.heldOutTokens) + 1;
  const datasets = [];
  for (const { path } of corpora) {
    datasets.push(await prepareTokens({ paths: [path], tokenizer, cacheDirectory, minimumValidationTokens }));
  }
  const { seed, heldOutTokens } = options;
  // Temperature 0: every corpus gives as many sequences as any other.
  const mixed = new MixedBatches(
    datasets.map(({ train }) => train),
    { batchSize, sequenceLength, temperature: 0, seed },
  );
  const training = Array.from({ length: options.steps }, () => mixed.next());
  mixed.close();
  const heldOut = datasets.map(({ validation }, at) => {
    const shape = { batchSize, sequenceLength, maximumTokens: heldOutTokens };
    const batches = [...validationBatches(validation, shape)];
    const bytes = batches.reduce((sum, batch) => sum + countTargetBytes(batch, tokenizer.byteLengths), 0);
    return { name: corpora[at]!.name, batches, bytes };
  });
  const trainingTokens = Object.fromEntries(
    datasets.map(({ train }, at) => [corpora[at]!.name, train.tokens]),
  );
  return { training, heldOut, byteLengths: tokenizer.byteLengths, trainingTokens };
}

/** The files that a program is given, by their names in its setting; see bench/curves-pytorch.py. */
export async function writeCurvesData(
  folder: string,
  { training, heldOut }: CurvesData,
  weights: readonly Float32Array[],
): Promise<{ weights: string; training: string; heldOut: string; heldOutBatches: number[] }> {
  const files = {
    weights: join(folder, "weights"),
    training: join(folder, "training"),
    heldOut: join(folder, "held-out"),
  };
  const ids = (batches: readonly Batch[]) => batches.flatMap(({ inputs, targets }) => [inputs, targets]);
  await writeFile(files.weights, weights.map(bytesOf));
  await writeFile(files.training, ids(training).map(bytesOf));
  await writeFile(files.heldOut, ids(heldOut.flatMap(({ batches }) => batches)).map(bytesOf));
  return { ...files, heldOutBatches: heldOut.map(({ batches }) => batches.length) };
}

const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array | Int32Array) =>
  Buffer.from(buffer, byteOffset, byteLength);
