// Pre-training with DEPT: one peer for each source, taking turns in this process, with the production trainer, codec, error
// feedback and average. Only the network is left out, and with it what it brings: no update is late or lost.
import { createHash } from "node:crypto";
import { bodyLength } from "#model/architecture.ts";
import { type BatchPosition, BatchStream } from "#model/data/batches.ts";
import { mix32 } from "#model/data/permutation.ts";
import { evaluateBitsPerByte } from "#model/eval/bits-per-byte.ts";
import { genesisShared, initialEmbedding } from "#model/genesis.ts";
import { createTrainingModel } from "#model/training-model.ts";
import type { ModelConfig, TrainingModel } from "#model/types.ts";
import { RoundTrainer, type TrainerCheckpoint } from "#node/trainer/round-trainer.ts";
import { SharedParameters } from "#node/trainer/shared-parameters.ts";
import { restrictsVocabulary, sharedTensorsOf, sharedVocabularySize } from "#node/variants.ts";
import { ReplicatedBody } from "#protocol/core/averaging.ts";
import { compressUpdate } from "#protocol/core/error-feedback.ts";
import type { Hash } from "#protocol/core/hash.ts";
import { parameterLayout } from "#protocol/core/layout.ts";
import type { RunConfig } from "#protocol/core/run-config.ts";
import { type UpdateCodec, updateCodec } from "#protocol/core/update-codec.ts";
import type { DeptCheckpoint, KeptPeer } from "./dept-checkpoint.ts";
import { stretchBatches } from "./held-out.ts";
import { ActivationProbe, normOf } from "./norms.ts";
import type { CurvePoint, PeerReport } from "./results.ts";
import type { Vocabularies, Vocabulary } from "./vocabularies.ts";

export interface DeptOptions {
  readonly run: RunConfig;
  readonly sources: readonly string[];
  readonly heldOut: string;
  readonly curveBytes: number;
  readonly evaluationBytes: number;
  readonly checkpointIntervalMs: number;
}

export interface DeptModules {
  readonly vocabularies: Vocabularies;
  readonly checkpoint: DeptCheckpoint | undefined;
  readonly save: (checkpoint: DeptCheckpoint) => Promise<void>;
  /** Steps done by all peers together. */
  readonly onSteps: (done: number) => void;
  readonly nowMs: () => number;
}

export interface DeptResult {
  /** What all peers hold in the end, in layout order: the body, in glob and trim the embedding behind it. */
  readonly shared: Float32Array;
  readonly curve: readonly CurvePoint[];
  /** Bits per byte of each source with the embedding of its own peer. */
  readonly direct: Readonly<Record<string, number>>;
  readonly peers: Readonly<Record<string, PeerReport>>;
}

const sha256: Hash = (bytes) => createHash("sha256").update(bytes).digest();

interface Peer {
  readonly source: string;
  readonly vocabulary: Vocabulary;
  readonly model: TrainingModel;
  readonly batches: BatchStream;
  readonly parameters: SharedParameters;
  readonly rounds: RoundTrainer;
  readonly probe: ActivationProbe;
  readonly curveText: Int32Array;
  /** The trainer's last word on where it stands. */
  readonly kept: () => TrainerCheckpoint;
  residual: Float32Array;
  payloadBytes: number[];
}

/** Trains all rounds, or those that `checkpoint` leaves. An abort rejects with the signal's reason. */
export async function trainDept(
  options: DeptOptions,
  modules: DeptModules,
  signal: AbortSignal,
): Promise<DeptResult> {
  const peers: Peer[] = [];
  try {
    for (const at of options.sources.keys()) peers.push(await createPeer(options, modules, at, signal));
    return await trainTogether(options, modules, peers, signal);
  } finally {
    for (const { batches, model, probe } of peers) {
      batches.close();
      await model.dispose();
      await probe.dispose();
    }
  }
}

async function trainTogether(
  options: DeptOptions,
  { checkpoint, save, onSteps, nowMs }: DeptModules,
  peers: readonly Peer[],
  signal: AbortSignal,
): Promise<DeptResult> {
  const { run } = options;
  const { rounds, localSteps } = run.training;
  const layout = parameterLayout(sharedTensorsOf(run), sha256);
  const codec = updateCodec(run, layout);
  const first = checkpoint?.round ?? 0;
  const curve = [...(checkpoint?.curve ?? [])];
  const replica = new ReplicatedBody({
    closedRound: first,
    closedBody: checkpoint?.shared ?? genesisShared(run.model, sharedVocabularySize(run), run.seed),
    layout,
    rowsOf: codec.rowsOf,
    outerLearningRate: run.averaging.outerLearningRate,
  });
  let savedAtMs = nowMs();
  for (let round = first; round < rounds; round++) {
    const start = replica.bodyAt(round);
    curve.push(await lookAt(peers, start, round * localSteps, signal));
    for (const [at, peer] of peers.entries()) {
      const doneBefore = (round * peers.length + at) * localSteps;
      await contribute(
        peer,
        run,
        codec,
        { replica, round, start },
        (step) => onSteps(doneBefore + step),
        signal,
      );
    }
    replica.closeThrough(round);
    if (round + 1 < rounds && nowMs() - savedAtMs >= options.checkpointIntervalMs) {
      await save({ round: round + 1, shared: replica.closedBody, curve, peers: peers.map(keepPeer) });
      savedAtMs = nowMs();
    }
  }
  const shared = replica.closedBody;
  curve.push(await lookAt(peers, shared, rounds * localSteps, signal));
  const direct: Record<string, number> = {};
  for (const peer of peers)
    direct[peer.source] = await peer.rounds.evaluate(peer.parameters.gather(shared), signal);
  const reports = peers.map((peer) => [peer.source, reportOf(peer)] as const);
  return { shared, curve, direct, peers: Object.fromEntries(reports) };
}

/** One peer's round: local steps, then its update into the average. */
async function contribute(
  peer: Peer,
  { averaging }: RunConfig,
  codec: UpdateCodec,
  { replica, round, start }: { replica: ReplicatedBody; round: number; start: Float32Array },
  onStep: (step: number) => void,
  signal: AbortSignal,
): Promise<void> {
  const { parameters, vocabulary } = peer;
  const { delta } = await peer.rounds.trainRound(round, parameters.gather(start), false, onStep, signal);
  const sent = compressUpdate(parameters.scatter(delta), peer.residual, codec, {
    decay: averaging.errorFeedbackDecay,
    heldRows: codec.rowsOf === undefined ? undefined : vocabulary.rows,
  });
  replica.add(round, peer.source, sent.update, 1);
  peer.residual = sent.residual;
  peer.payloadBytes.push(sent.payload.length);
}

/** Every peer's view of what is shared: bits per byte with its own embedding, and norms, in the mean over peers. */
async function lookAt(
  peers: readonly Peer[],
  shared: Float32Array,
  step: number,
  signal: AbortSignal,
): Promise<CurvePoint> {
  const values: Record<string, number> = {};
  let activation = 0;
  let embeddingNorm = 0;
  let body: Float32Array = new Float32Array();
  for (const { source, model, parameters, vocabulary, probe, curveText } of peers) {
    const shape = { batchSize: probe.batchSize, sequenceLength: model.config.sequenceLength };
    await parameters.write(model, parameters.gather(shared));
    body = await model.readBody();
    const embedding = await model.readEmbedding();
    const batches = [...stretchBatches(curveText, shape)];
    const { byteLengths } = vocabulary.tokenizer;
    values[source] = (await evaluateBitsPerByte(model, batches, byteLengths, signal)).bitsPerByte;
    activation += (await probe.rootMeanSquare(body, embedding, batches[0]!)) / peers.length;
    embeddingNorm += normOf(embedding) / Math.sqrt(model.config.vocabularySize) / peers.length;
  }
  return { step, bitsPerByte: values, activation, bodyNorm: normOf(body), embeddingRowNorm: embeddingNorm };
}

async function createPeer(
  { run, sources, heldOut, curveBytes, evaluationBytes }: DeptOptions,
  { vocabularies, checkpoint, nowMs }: DeptModules,
  at: number,
  signal: AbortSignal,
): Promise<Peer> {
  const source = sources[at]!;
  const vocabulary = await vocabularyOf(run, vocabularies, source, heldOut, signal);
  const { tokenizer } = vocabulary;
  const config: ModelConfig = { ...run.model, vocabularySize: tokenizer.vocabularySize };
  const { batchSize, localSteps, momentsAcrossRounds } = run.training;
  const shape = { batchSize, sequenceLength: config.sequenceLength };
  const train = await vocabularies.tokens(source, "train", tokenizer, signal);
  const [curveText, evaluationText] = await Promise.all(
    [curveBytes, evaluationBytes].map((bytes) => vocabularies.heldOut(source, tokenizer, bytes, signal)),
  );
  const before = checkpoint?.peers[at];
  const seed = mix32(run.seed + at);
  const batches =
    before === undefined
      ? new BatchStream(train, { ...shape, seed })
      : BatchStream.restore(train, shape, before.trainer.batchPosition as BatchPosition);
  const shared = genesisShared(run.model, sharedVocabularySize(run), run.seed);
  const parameters = parametersOf(run, vocabulary);
  const model = await createTrainingModel({
    config,
    optimizer: { ...run.training, totalSteps: run.training.rounds * localSteps },
    batchSize,
    device: "cpu",
    // More threads would make sums depend on their number.
    threads: 1,
    body: shared.subarray(0, bodyLength(run.model)),
    embedding: initialEmbedding(config, `${run.seed}/${source}`),
  });
  let kept = before?.trainer;
  const rounds = await RoundTrainer.create(
    { localSteps, momentsAcrossRounds, checkpointIntervalMs: Number.POSITIVE_INFINITY },
    {
      model,
      batches,
      parameters,
      byteLengths: tokenizer.byteLengths,
      heldOut: () => stretchBatches(evaluationText!, shape),
      save: async (state) => {
        kept = state;
      },
      nowMs,
    },
    before?.trainer,
  );
  return {
    source,
    vocabulary,
    model,
    batches,
    parameters,
    rounds,
    probe: await ActivationProbe.create(config, batchSize),
    curveText: curveText!,
    kept: () => kept!,
    residual: before?.residual ?? new Float32Array(parameters.sharedLength),
    payloadBytes: before?.payloadBytes.slice() ?? [],
  };
}

function vocabularyOf(
  run: RunConfig,
  vocabularies: Vocabularies,
  source: string,
  heldOut: string,
  signal: AbortSignal,
): Promise<Vocabulary> {
  if (run.variant === "spec-opt") return vocabularies.own(source, signal);
  return restrictsVocabulary(run)
    ? vocabularies.restricted(source, heldOut, signal)
    : vocabularies.global(heldOut, signal);
}

function parametersOf(run: RunConfig, { rows }: Vocabulary): SharedParameters {
  const vocabularySize = sharedVocabularySize(run);
  const { width } = run.model;
  return new SharedParameters(
    bodyLength(run.model),
    vocabularySize === undefined ? undefined : { width, vocabularySize, rows },
  );
}

const keepPeer = ({ kept, residual, payloadBytes }: Peer): KeptPeer => ({
  trainer: kept(),
  residual,
  payloadBytes,
});

function reportOf({ model, vocabulary, rounds, payloadBytes, parameters }: Peer): PeerReport {
  const { width } = model.config;
  const { vocabularySize } = vocabulary.tokenizer;
  return {
    vocabularySize,
    bodyParameters: bodyLength(model.config),
    embeddingParameters: vocabularySize * width,
    sentParameters: parameters.heldLength,
    tokens: rounds.progress.totalTokens,
    payloadBytes,
  };
}
