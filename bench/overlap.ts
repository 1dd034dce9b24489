// `npm run bench -- overlap`: what it costs to train on while updates travel, in bits per byte. Three peers on three
// languages in this one process, with the production round trainer, codec, error feedback and average. The network is
// left out: its delay is given, as the share of a round's steps that are taken before the round's body is known.
import { parseArgs } from "node:util";
import { bodyTensors } from "#model/architecture.ts";
import { BatchStream, validationBatches } from "#model/data/batches.ts";
import { genesisBody, initialEmbedding } from "#model/genesis.ts";
import { createTrainingModel } from "#model/training-model.ts";
import type { ModelConfig, TrainingModel } from "#model/types.ts";
import { ReplicatedBody } from "#protocol/core/averaging.ts";
import { compressUpdate } from "#protocol/core/error-feedback.ts";
import { parameterLayout } from "#protocol/core/layout.ts";
import { presets } from "#protocol/core/presets.ts";
import { parseRunConfig, type RunConfig, totalSteps } from "#protocol/core/run-config.ts";
import { updateCodec } from "#protocol/core/update-codec.ts";
import { RoundTrainer } from "../node/trainer/round-trainer.ts";
import { SharedParameters } from "../node/trainer/shared-parameters.ts";
import { mean, type PeerText, sha256, VALIDATION_TOKENS, withTexts } from "./languages.ts";
import { describeMachine } from "./machine.ts";

const USAGE = `npm run bench -- overlap [--json] [--shares LIST] [--rounds N] [--steps N] [--batch N] [--seeds N]
  --shares LIST  of a round's steps that pass while its predecessor is collected (default 0,0.1,0.25,0.5,1)
  --rounds N     rounds, over which the learning rate's cosine runs (default 12)
  --steps N      steps that a peer trains in a round (default 25)
  --batch N      sequences in a batch (default 8)
  --blocks N, --width N, --sequence N   of the model (default the preset tiny)
  --vocabulary S share of the demo's vocabularies; smaller ones make steps cheaper (default 1)
  --seeds N      runs of each, from seed 1 on (default 3)
For each share: with overlap; without it in as many rounds; and without it in the time that the run with overlap takes,
since a peer that waits takes 1 + share as long for a round.`;

interface Outcome {
  readonly share: number;
  /** Of means over peers; one for each seed. */
  readonly overlapping: readonly number[];
  readonly waiting: readonly number[];
  readonly waitingRounds: number;
}

export async function benchOverlap(args: string[]): Promise<void> {
  const { values: flags } = parseArgs({
    args,
    options: {
      json: { type: "boolean", default: false },
      shares: { type: "string", default: "0,0.1,0.25,0.5,1" },
      rounds: { type: "string", default: "12" },
      steps: { type: "string", default: "25" },
      batch: { type: "string", default: "8" },
      blocks: { type: "string", default: "4" },
      width: { type: "string", default: "128" },
      sequence: { type: "string", default: "128" },
      vocabulary: { type: "string", default: "1" },
      seeds: { type: "string", default: "3" },
      help: { type: "boolean", default: false },
    },
  });
  if (flags.help) return console.log(USAGE);
  const rounds = Number(flags.rounds);
  const seeds = Array.from({ length: Number(flags.seeds) }, (_, at) => at + 1);
  const configOf = (seed: number, itsRounds: number): RunConfig => {
    const training = { rounds: itsRounds, localSteps: Number(flags.steps), batchSize: Number(flags.batch) };
    const warmupSteps = Math.min(20, itsRounds * training.localSteps);
    const { blocks, width, sequence } = flags;
    const model = { blocks: Number(blocks), width: Number(width), sequenceLength: Number(sequence) };
    return parseRunConfig({ ...presets.tiny.config, seed, model, training: { ...training, warmupSteps } });
  };
  const config = configOf(1, rounds);
  if (!flags.json) console.log(heading(config));
  const compare = async (texts: readonly PeerText[]) => {
    const train = async (share: number, itsRounds: number) => {
      const results: number[] = [];
      for (const seed of seeds) results.push(await trainTogether(configOf(seed, itsRounds), share, texts));
      return results;
    };
    const outcomes: Outcome[] = [];
    for (const share of flags.shares.split(",").map(Number)) {
      const waitingRounds = Math.max(1, Math.round(rounds / (1 + share)));
      const known = outcomes.find((outcome) => outcome.waitingRounds === waitingRounds);
      const waiting = known?.waiting ?? (await train(0, waitingRounds));
      const overlapping = share === 0 ? waiting : await train(share, rounds);
      const outcome = { share, overlapping, waiting, waitingRounds };
      outcomes.push(outcome);
      if (!flags.json) console.log(row(outcome, outcomes[0]!));
    }
    if (flags.json) console.log(JSON.stringify({ machine: describeMachine(), flags, outcomes }));
  };
  await withTexts(config, compare, Number(flags.vocabulary));
}

interface Peer {
  readonly text: PeerText;
  readonly model: TrainingModel;
  readonly trainer: RoundTrainer;
  readonly batches: BatchStream;
  residual: Float32Array;
}

/** Mean over peers of bits per byte on held-out text, of the body after the last round. */
async function trainTogether(config: RunConfig, share: number, texts: readonly PeerText[]): Promise<number> {
  const layout = parameterLayout(bodyTensors(config.model), sha256);
  const codec = updateCodec(config, layout);
  const genesis = genesisBody(config.model, config.seed);
  const replica = new ReplicatedBody({ closedRound: 0, closedBody: genesis, layout });
  const { rounds, localSteps } = config.training;
  const never = new AbortController().signal;
  const peers: Peer[] = [];
  try {
    for (const [at, text] of texts.entries()) peers.push(await createPeer(text, at, config, genesis));
    for (let round = 0; round < rounds; round++) {
      for (const peer of peers) {
        const { delta } = await peer.trainer.trainRound(
          round,
          replica.bodyAt(round),
          false,
          () => undefined,
          never,
        );
        const sent = compressUpdate(delta, peer.residual, codec, {
          decay: config.averaging.errorFeedbackDecay,
        });
        replica.add(round, peer.text.name, sent.update, 1);
        peer.residual = sent.residual;
        if (round + 1 < rounds) await goAhead(peer.trainer, round + 1, Math.round(share * localSteps));
      }
      replica.closeThrough(round);
    }
    const results: number[] = [];
    for (const { trainer } of peers) results.push(await trainer.evaluate(replica.closedBody, never));
    return mean(results);
  } finally {
    for (const peer of peers) {
      peer.batches.close();
      await peer.model.dispose();
    }
  }
}

/** Takes so many steps of `round` before its body is known. */
async function goAhead(trainer: RoundTrainer, round: number, steps: number): Promise<void> {
  if (steps === 0) return;
  const stop = new AbortController();
  const onStep = (step: number) => {
    if (step >= steps) stop.abort();
  };
  await trainer.trainAhead(round, onStep, stop.signal).catch((error: unknown) => {
    if (!stop.signal.aborted) throw error;
  });
}

async function createPeer(text: PeerText, at: number, config: RunConfig, body: Float32Array): Promise<Peer> {
  const modelConfig: ModelConfig = { ...config.model, vocabularySize: text.tokenizer.vocabularySize };
  const { batchSize, localSteps, momentsAcrossRounds } = config.training;
  const { sequenceLength } = config.model;
  const seed = config.seed + at;
  const model = await createTrainingModel({
    config: modelConfig,
    optimizer: { ...config.training, totalSteps: totalSteps(config) },
    batchSize,
    device: "cpu",
    // Peers take turns in this process; more threads would make sums depend on their number.
    threads: 1,
    body,
    embedding: initialEmbedding(modelConfig, seed),
  });
  const shape = { batchSize, sequenceLength };
  const batches = new BatchStream(text.data.train, { ...shape, seed });
  const trainer = await RoundTrainer.create(
    { localSteps, momentsAcrossRounds, checkpointIntervalMs: Number.POSITIVE_INFINITY },
    {
      model,
      parameters: new SharedParameters(body.length),
      batches,
      byteLengths: text.tokenizer.byteLengths,
      heldOut: () => validationBatches(text.data.validation, { ...shape, maximumTokens: VALIDATION_TOKENS }),
      save: async () => undefined,
      nowMs: () => performance.now(),
    },
  );
  return { text, model, trainer, batches, residual: new Float32Array(body.length) };
}

function heading({ training, averaging, model }: RunConfig): string {
  const { processor, node, onnxruntime } = describeMachine();
  return [
    `${processor}, Node ${node}, onnxruntime ${onnxruntime}`,
    `${model.blocks} blocks of ${model.width}, 3 peers, ${training.rounds} rounds of ${training.localSteps} steps, batch ${training.batchSize} of ${model.sequenceLength} tokens, codec ${averaging.codec}; ` +
      "bits per byte, mean over peers and seeds, and against waiting for the same rounds",
    "",
    "ahead    overlapping              waiting as long",
  ].join("\n");
}

const change = (value: number, reference: number) => `${(100 * (value / reference - 1)).toFixed(2)}%`;

function row(
  { share, overlapping, waiting, waitingRounds }: Outcome,
  { waiting: reference }: Outcome,
): string {
  const [on, off, base] = [mean(overlapping), mean(waiting), mean(reference)];
  return (
    share.toFixed(2).padEnd(6) +
    on.toFixed(4).padStart(10) +
    change(on, base).padStart(9) +
    off.toFixed(4).padStart(17) +
    change(off, base).padStart(9) +
    ` in ${waitingRounds} rounds`
  );
}
