// Three languages with a vocabulary each, trained together in one process: what the benchmarks of averaging share. The
// production trainer and its data; no network. How a round's deltas become the next body is the caller's.
import { createHash } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BatchStream, validationBatches } from "#model/data/batches.ts";
import { readDocuments } from "#model/data/read-documents.ts";
import { prepareTokens, type TokenDataset } from "#model/data/token-cache.ts";
import { evaluateBitsPerByte } from "#model/eval/bits-per-byte.ts";
import { genesisBody, initialEmbedding } from "#model/genesis.ts";
import type { Tokenizer } from "#model/tokenizer/tokenizer.ts";
import { trainTokenizer } from "#model/tokenizer/train-tokenizer.ts";
import { createTrainingModel } from "#model/training-model.ts";
import type { ModelConfig, TrainingModel } from "#model/types.ts";
import type { Hash } from "#protocol/core/hash.ts";
import { type RunConfig, totalSteps } from "#protocol/core/run-config.ts";
import { type DemoCorpus, demoCorpora } from "../node/demo/corpora.ts";

/** Enough held-out text for the third digit of bits per byte, and seconds to evaluate. */
export const VALIDATION_TOKENS = 16_384;

export const sha256: Hash = (bytes) => createHash("sha256").update(bytes).digest();

export interface PeerText {
  readonly name: string;
  readonly tokenizer: Tokenizer;
  readonly data: TokenDataset;
}

/**
 * Calls `work` with the texts as each peer's own tokenizer has them, and removes their files afterwards.
 * `vocabularyShare`: of the demo's vocabularies; smaller ones make steps cheaper. `peers`: languages are dealt out in
 * turn, and peers of one language share its documents without having one in common. One of each language by default.
 */
export async function withTexts<Result>(
  { model, training }: RunConfig,
  work: (texts: readonly PeerText[]) => Promise<Result>,
  vocabularyShare = 1,
  peers?: number,
): Promise<Result> {
  const cacheDirectory = await mkdtemp(join(tmpdir(), "glossa-bench-"));
  try {
    const texts: PeerText[] = [];
    for (const { name, path, vocabularySize } of await dealtOut(await demoCorpora(), peers, cacheDirectory)) {
      const tokenizer = await trainTokenizer(readDocuments([path]), {
        vocabularySize: Math.round(vocabularyShare * vocabularySize),
      });
      const minimumValidationTokens = training.batchSize * model.sequenceLength + 1;
      const data = await prepareTokens({ paths: [path], tokenizer, cacheDirectory, minimumValidationTokens });
      texts.push({ name, tokenizer, data });
    }
    return await work(texts);
  } finally {
    await rm(cacheDirectory, { recursive: true });
  }
}

/** One text a peer, in files under `directory` where a language has several. */
async function dealtOut(
  corpora: readonly DemoCorpus[],
  peers = corpora.length,
  directory: string,
): Promise<readonly DemoCorpus[]> {
  const dealt: DemoCorpus[] = [];
  for (let peer = 0; peer < peers; peer++) {
    const corpus = corpora[peer % corpora.length]!;
    const parts = Math.floor((peers - 1 - (peer % corpora.length)) / corpora.length) + 1;
    if (parts === 1) {
      dealt.push(corpus);
      continue;
    }
    const part = Math.floor(peer / corpora.length);
    const own: string[] = [];
    let at = 0;
    for await (const document of readDocuments([corpus.path])) if (at++ % parts === part) own.push(document);
    const name = `${corpus.name}-${part + 1}`;
    const path = join(directory, `${name}.txt`);
    await writeFile(path, own.join("\n\n"));
    dealt.push({ ...corpus, name, path });
  }
  return dealt;
}

/** A round as it was trained: the body it started from, and theta_start - theta_end of each peer. */
export interface TrainedRound {
  readonly round: number;
  readonly body: Float32Array;
  readonly deltas: readonly Float32Array[];
}

export interface TrainTogetherOptions {
  readonly config: RunConfig;
  /** One for each peer; a text may be there more than once, and is then read in another order. */
  readonly texts: readonly PeerText[];
  /** The body that the next round starts from. */
  readonly average: (trained: TrainedRound) => Float32Array;
  /** What a peer trains from, where that is not the body itself; its delta is then the difference to that. */
  readonly startOf?: (peer: number, body: Float32Array) => Float32Array;
  /** Evaluated after so many rounds too; what is trained stays the same. */
  readonly evaluateAfter?: readonly number[];
}

export interface TrainedTogether {
  readonly body: Float32Array;
  /** Held-out, per peer in the order of its texts, of the last body and the peer's own embedding. */
  readonly bitsPerByte: readonly number[];
  /** The same on the way, by the rounds of `evaluateAfter` that the run has. */
  readonly onTheWay: ReadonlyMap<number, readonly number[]>;
}

/** All of a run's rounds from its genesis. Peers take turns; the same options give the same bits. */
export async function trainTogether({
  config,
  texts,
  average,
  startOf = (_, body) => body,
  evaluateAfter = [],
}: TrainTogetherOptions): Promise<TrainedTogether> {
  let body = genesisBody(config.model, config.seed);
  const peers: Peer[] = [];
  const evaluateAll = async () => {
    const bitsPerByte: number[] = [];
    for (const peer of peers) bitsPerByte.push(await evaluate(peer, body, config));
    return bitsPerByte;
  };
  const onTheWay = new Map<number, readonly number[]>();
  try {
    for (const [at, text] of texts.entries()) peers.push(await createPeer(text, at, config, body));
    for (let round = 0; round < config.training.rounds; round++) {
      const deltas: Float32Array[] = [];
      for (const [at, peer] of peers.entries()) {
        deltas.push(await trainRound(peer, round, config, startOf(at, body)));
      }
      body = average({ round, body, deltas });
      if (evaluateAfter.includes(round + 1)) onTheWay.set(round + 1, await evaluateAll());
    }
    return { body, bitsPerByte: await evaluateAll(), onTheWay };
  } finally {
    for (const peer of peers) {
      peer.batches.close();
      await peer.model.dispose();
    }
  }
}

interface Peer {
  readonly text: PeerText;
  readonly model: TrainingModel;
  readonly batches: BatchStream;
}

async function createPeer(text: PeerText, at: number, config: RunConfig, body: Float32Array): Promise<Peer> {
  const modelConfig: ModelConfig = { ...config.model, vocabularySize: text.tokenizer.vocabularySize };
  const { batchSize } = config.training;
  const model = await createTrainingModel({
    config: modelConfig,
    optimizer: { ...config.training, totalSteps: totalSteps(config) },
    batchSize,
    device: "cpu",
    // Peers take turns in this process; more threads would make sums depend on their number.
    threads: 1,
    body,
    embedding: initialEmbedding(modelConfig, config.seed + at),
  });
  const { sequenceLength } = config.model;
  const batches = new BatchStream(text.data.train, { batchSize, sequenceLength, seed: config.seed + at });
  return { text, model, batches };
}

/** Trains a round from `start` and returns theta_start - theta_end. */
async function trainRound(
  { model, batches }: Peer,
  round: number,
  { training }: RunConfig,
  start: Float32Array,
): Promise<Float32Array> {
  await model.writeBody(start);
  if (training.momentsAcrossRounds === "reset") await model.resetMoments();
  for (let step = 0; step < training.localSteps; step++) {
    await model.trainStep(batches.next(), round * training.localSteps + step);
  }
  const end = await model.readBody();
  return start.map((value, index) => value - end[index]!);
}

async function evaluate({ model, text }: Peer, body: Float32Array, config: RunConfig): Promise<number> {
  const { sequenceLength } = config.model;
  await model.writeBody(body);
  const shape = { batchSize: config.training.batchSize, sequenceLength, maximumTokens: VALIDATION_TOKENS };
  const batches = validationBatches(text.data.validation, shape);
  return (await evaluateBitsPerByte(model, batches, text.tokenizer.byteLengths)).bitsPerByte;
}

export function norm(values: Float32Array): number {
  let squares = 0;
  for (const value of values) squares += value * value;
  return Math.sqrt(squares);
}

export const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length;
