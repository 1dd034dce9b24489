// `npm run bench -- quality`: what each codec costs in bits per byte. Trains three peers on three languages, each with
// its own vocabulary, in this one process with the production trainer, codec, error feedback and average; only the
// network is left out. All codecs start from the same bits and see the same tokens in the same order.
import { createHash } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { bodyTensors } from "#model/architecture.ts";
import { BatchStream, validationBatches } from "#model/data/batches.ts";
import { readDocuments } from "#model/data/read-documents.ts";
import { prepareTokens, type TokenDataset } from "#model/data/token-cache.ts";
import { evaluateBitsPerByte } from "#model/eval/bits-per-byte.ts";
import { genesisBody, initialEmbedding } from "#model/genesis.ts";
import type { Tokenizer } from "#model/tokenizer/tokenizer.ts";
import { trainTokenizer } from "#model/tokenizer/train-tokenizer.ts";
import { createTrainingModel } from "#model/training-model.ts";
import type { ModelConfig, TrainingModel } from "#model/types.ts";
import { ReplicatedBody } from "#protocol/core/averaging.ts";
import { type CodecName, DEFAULT_TOP_K } from "#protocol/core/codec/registry.ts";
import { compressUpdate } from "#protocol/core/error-feedback.ts";
import type { Hash } from "#protocol/core/hash.ts";
import { parameterLayout } from "#protocol/core/layout.ts";
import { presets } from "#protocol/core/presets.ts";
import { parseRunConfig, type RunConfig, totalSteps } from "#protocol/core/run-config.ts";
import { updateCodec } from "#protocol/core/update-codec.ts";
import { demoCorpora } from "../node/demo/corpora.ts";
import { describeMachine } from "./machine.ts";

const USAGE = `npm run bench -- quality [--json] [--codecs LIST] [--rounds N] [--steps N] [--batch N] [--decay D] [--seed N]
  --codecs LIST  with commas; topk-K keeps K of 4,096 (default float32,int8,int4,sign,topk-256,topk-64); the first one
                 is what the others are compared with
  --rounds N     rounds, over which the learning rate's cosine runs (default 12)
  --steps N      steps that a peer trains in a round (default 25)
  --batch N      sequences in a batch (default 8)
  --decay D      share of what is dropped that error feedback keeps (default 1)
  --seed N       of the body, the embeddings and the order of the text (default 1)`;

const DEFAULT_CODECS = "float32,int8,int4,sign,topk-256,topk-64";
/** Enough held-out text for the third digit of bits per byte, and seconds to evaluate. */
const VALIDATION_TOKENS = 16_384;

const sha256: Hash = (bytes) => createHash("sha256").update(bytes).digest();

interface PeerText {
  readonly name: string;
  readonly tokenizer: Tokenizer;
  readonly data: TokenDataset;
}

interface CodecQuality {
  readonly codec: string;
  /** Mean over peers and rounds. */
  readonly bytesPerUpdate: number;
  /** float32 bytes of the body over bytes of an update. */
  readonly ratio: number;
  /** Held-out, per peer, of the averaged body after the last round. */
  readonly bitsPerByte: Readonly<Record<string, number>>;
  readonly meanBitsPerByte: number;
  /** Of the mean, against the first codec; 0.01 is 1% worse. */
  readonly relativeLoss: number;
  /** Squared error over squares of what was compressed, delta and residual; mean over peers and rounds. */
  readonly relativeSquaredError: number;
  /** Norm of what is still kept back at the end over the norm of the last delta; mean over peers. */
  readonly residualNorm: number;
  readonly seconds: number;
}

export async function benchAveragingQuality(args: string[]): Promise<void> {
  const { values: flags } = parseArgs({
    args,
    options: {
      json: { type: "boolean", default: false },
      codecs: { type: "string", default: DEFAULT_CODECS },
      rounds: { type: "string", default: "12" },
      steps: { type: "string", default: "25" },
      batch: { type: "string", default: "8" },
      decay: { type: "string", default: "1" },
      seed: { type: "string", default: "1" },
      help: { type: "boolean", default: false },
    },
  });
  if (flags.help) return console.log(USAGE);
  const rounds = Number(flags.rounds);
  const localSteps = Number(flags.steps);
  const base = { ...presets.tiny.config, seed: Number(flags.seed) };
  const training = {
    rounds,
    localSteps,
    batchSize: Number(flags.batch),
    warmupSteps: Math.min(20, rounds * localSteps),
  };
  // Every choice is checked before anything is trained.
  const runs = flags.codecs.split(",").map((choice) => ({
    choice,
    config: parseRunConfig({
      ...base,
      training,
      averaging: { ...codecChoice(choice), errorFeedbackDecay: Number(flags.decay) },
    }),
  }));
  const cacheDirectory = await mkdtemp(join(tmpdir(), "glossa-bench-"));
  try {
    const texts = await prepareTexts(runs[0]!.config, cacheDirectory);
    const reports: CodecQuality[] = [];
    if (!flags.json) console.log(heading(runs[0]!.config, texts));
    for (const { choice, config } of runs) {
      const report = await trainTogether(choice, config, texts, reports[0]?.meanBitsPerByte);
      reports.push(report);
      if (!flags.json) console.log(row(report));
    }
    if (flags.json) console.log(JSON.stringify({ machine: describeMachine(), flags, codecs: reports }));
  } finally {
    await rm(cacheDirectory, { recursive: true });
  }
}

/** `topk-128` is codec topk with k = 128; a name that is no codec is for parseRunConfig to refuse. */
function codecChoice(choice: string): { codec: CodecName; topK: number } {
  const match = /^topk-(\d+)$/.exec(choice);
  return match === null
    ? { codec: choice as CodecName, topK: DEFAULT_TOP_K }
    : { codec: "topk", topK: Number(match[1]) };
}

async function prepareTexts({ model, training }: RunConfig, cacheDirectory: string): Promise<PeerText[]> {
  const texts: PeerText[] = [];
  for (const { name, path, vocabularySize } of await demoCorpora()) {
    const tokenizer = await trainTokenizer(readDocuments([path]), { vocabularySize });
    const minimumValidationTokens = training.batchSize * model.sequenceLength + 1;
    const data = await prepareTokens({ paths: [path], tokenizer, cacheDirectory, minimumValidationTokens });
    texts.push({ name, tokenizer, data });
  }
  return texts;
}

/** One peer as a run sees it: what it trains, reads and keeps back. */
interface Peer {
  readonly text: PeerText;
  readonly model: TrainingModel;
  readonly batches: BatchStream;
  residual: Float32Array;
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
  return { text, model, batches, residual: new Float32Array(body.length) };
}

async function trainTogether(
  choice: string,
  config: RunConfig,
  texts: readonly PeerText[],
  reference: number | undefined,
): Promise<CodecQuality> {
  const startMs = performance.now();
  const layout = parameterLayout(bodyTensors(config.model), sha256);
  const codec = updateCodec(config, layout);
  const genesis = genesisBody(config.model, config.seed);
  const replica = new ReplicatedBody({ closedRound: 0, closedBody: genesis, layout });
  const peers: Peer[] = [];
  try {
    for (const [at, text] of texts.entries()) peers.push(await createPeer(text, at, config, genesis));
    let bytes = 0;
    let squaredErrors = 0;
    let residualNorms: number[] = [];
    for (let round = 0; round < config.training.rounds; round++) {
      const start = replica.bodyAt(round);
      residualNorms = [];
      for (const peer of peers) {
        await peer.model.writeBody(start);
        const delta = await trainRound(peer, round, config, start);
        const decay = config.averaging.errorFeedbackDecay;
        const input = delta.map((value, index) => value + decay * peer.residual[index]!);
        const sent = compressUpdate(delta, peer.residual, codec, { decay });
        replica.add(round, peer.text.name, sent.update, 1);
        peer.residual = sent.residual;
        bytes += sent.payload.length;
        squaredErrors += (norm(sent.residual) / norm(input)) ** 2;
        residualNorms.push(norm(sent.residual) / norm(delta));
      }
      replica.closeThrough(round);
    }
    const bitsPerByte = await evaluate(peers, replica.closedBody, config);
    const updates = peers.length * config.training.rounds;
    const meanBitsPerByte = mean(Object.values(bitsPerByte));
    return {
      codec: choice,
      bytesPerUpdate: bytes / updates,
      ratio: (4 * layout.total * updates) / bytes,
      bitsPerByte,
      meanBitsPerByte,
      relativeLoss: reference === undefined ? 0 : meanBitsPerByte / reference - 1,
      relativeSquaredError: squaredErrors / updates,
      residualNorm: mean(residualNorms),
      seconds: (performance.now() - startMs) / 1000,
    };
  } finally {
    for (const peer of peers) {
      peer.batches.close();
      await peer.model.dispose();
    }
  }
}

/** Trains a round from `start` and returns theta_start - theta_end. */
async function trainRound(
  { model, batches }: Peer,
  round: number,
  { training }: RunConfig,
  start: Float32Array,
): Promise<Float32Array> {
  if (training.momentsAcrossRounds === "reset") await model.resetMoments();
  for (let step = 0; step < training.localSteps; step++) {
    await model.trainStep(batches.next(), round * training.localSteps + step);
  }
  const end = await model.readBody();
  return start.map((value, index) => value - end[index]!);
}

async function evaluate(
  peers: readonly Peer[],
  body: Float32Array,
  { model: { sequenceLength }, training: { batchSize } }: RunConfig,
): Promise<Record<string, number>> {
  const results: Record<string, number> = {};
  for (const { model, text } of peers) {
    await model.writeBody(body);
    const shape = { batchSize, sequenceLength, maximumTokens: VALIDATION_TOKENS };
    const batches = validationBatches(text.data.validation, shape);
    const { bitsPerByte } = await evaluateBitsPerByte(model, batches, text.tokenizer.byteLengths);
    results[text.name] = bitsPerByte;
  }
  return results;
}

function norm(values: Float32Array): number {
  let squares = 0;
  for (const value of values) squares += value * value;
  return Math.sqrt(squares);
}

const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length;

function heading({ training, averaging, seed }: RunConfig, texts: readonly PeerText[]): string {
  const { processor, node, onnxruntime } = describeMachine();
  return [
    `${processor}, Node ${node}, onnxruntime ${onnxruntime}`,
    `tiny, ${texts.length} peers, ${training.rounds} rounds of ${training.localSteps} steps, batch ${training.batchSize}, ` +
      `error feedback ${averaging.errorFeedbackDecay}, seed ${seed}`,
    "",
    "codec     bytes/update   ratio  mean bits/byte    loss  rel.sq.error  residual  " +
      texts.map(({ name }) => name.padStart(13)).join(""),
  ].join("\n");
}

const row = (report: CodecQuality): string =>
  report.codec.padEnd(10) +
  report.bytesPerUpdate.toFixed(0).padStart(12) +
  report.ratio.toFixed(1).padStart(8) +
  report.meanBitsPerByte.toFixed(4).padStart(16) +
  `${(100 * report.relativeLoss).toFixed(2)}%`.padStart(8) +
  report.relativeSquaredError.toExponential(1).padStart(14) +
  report.residualNorm.toFixed(2).padStart(10) +
  "  " +
  Object.values(report.bitsPerByte)
    .map((value) => value.toFixed(4).padStart(13))
    .join("");
