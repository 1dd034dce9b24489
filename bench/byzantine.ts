// `npm run bench -- byzantine`: what liars cost in bits per byte, under each defence. Peers of three languages train in this
// one process with the production trainer, codec, error feedback and average; some of them make of their update what an
// attack says. All runs start from the same bits and see the same tokens in the same order.
import { parseArgs } from "node:util";
import { bodyTensors } from "#model/architecture.ts";
import { genesisBody } from "#model/genesis.ts";
import { ReplicatedBody } from "#protocol/core/averaging.ts";
import type { CodecName } from "#protocol/core/codec/registry.ts";
import type { Defence } from "#protocol/core/defence.ts";
import { compressUpdate, returnToResidual } from "#protocol/core/error-feedback.ts";
import type { GridUpdate } from "#protocol/core/grid.ts";
import { hexSha256 } from "#protocol/core/hash.ts";
import { parameterLayout } from "#protocol/core/layout.ts";
import { parseRunConfig, type RunConfig } from "#protocol/core/run-config.ts";
import { updateCodec } from "#protocol/core/update-codec.ts";
import { DISTORT, type Distortion } from "#protocol/simulation/distortions.ts";
import { seededRandom, seedOf } from "#protocol/simulation/random.ts";
import { mean, norm, type PeerText, sha256, trainTogether, withTexts } from "./languages.ts";
import { describeMachine } from "./machine.ts";

const ATTACKS = ["none", "sign-flip", "x100", "random", "copy", "reverse", "all"] as const;
type Attack = (typeof ATTACKS)[number];

const USAGE = `npm run bench -- byzantine [--json] [--attacks LIST] [--defences LIST] [--peers N] [--liars N] [--codec C]
                          [--top-k K] [--decay D] [--outer-learning-rate R]
                          [--rounds N] [--steps N] [--batch N] [--width N] [--vocabulary S] [--seed N]
  --attacks LIST   with commas, of ${ATTACKS.join(", ")} (default all of them). reverse: liars that
                   know each other's plan and the others' updates push against their mean; all: each another one
  --defences LIST  with commas, of none, clip, majority (default all three); "none without attack" is what the rest is
                   compared with
  --peers N        peers, of the three languages in turn (default 10)
  --liars N        of them (default a fifth)
  --codec C        of their updates (default int8)
  --top-k K        values that topk keeps of 4,096 (default 64)
  --decay D        share of what is dropped that error feedback keeps (default 1)
  --outer-learning-rate R
                   factor on the mean, at most the number of updates (default 1)
  --rounds N       rounds, over which the learning rate's cosine runs (default 10)
  --steps N        steps that a peer trains in a round (default 20)
  --batch N        sequences of 64 tokens in a batch (default 8)
  --width N        of the model, of two blocks (default 64)
  --vocabulary S   of the demo's vocabularies that share; smaller ones make steps cheaper (default 1)
  --seed N         of the body, the embeddings and the order of the text (default 1)`;

/** A reversal has this many times the norm of an honest update: what a defence does not cut off arrives. */
const REVERSAL_FACTOR = 10;

interface Row {
  readonly attack: Attack;
  readonly defence: Defence;
  /** Held-out, mean over honest peers, of the averaged body after the last round. */
  readonly bitsPerByte: number;
  /** Against no attack and no defence; 0.01 is 1% worse. */
  readonly relativeLoss: number;
  /** Updates in which the defence took something away, of all that honest peers made, and of those of liars. */
  readonly honestRestrained: number;
  readonly honestUpdates: number;
  readonly liarsRestrained: number;
  readonly liarsUpdates: number;
  readonly seconds: number;
}

export async function benchByzantine(args: string[]): Promise<void> {
  const { values: flags } = parseArgs({
    args,
    options: {
      json: { type: "boolean", default: false },
      attacks: { type: "string", default: ATTACKS.join(",") },
      defences: { type: "string", default: "none,clip,majority" },
      peers: { type: "string", default: "10" },
      liars: { type: "string" },
      codec: { type: "string", default: "int8" },
      "top-k": { type: "string", default: "64" },
      decay: { type: "string", default: "1" },
      "outer-learning-rate": { type: "string", default: "1" },
      rounds: { type: "string", default: "10" },
      steps: { type: "string", default: "20" },
      batch: { type: "string", default: "8" },
      width: { type: "string", default: "64" },
      vocabulary: { type: "string", default: "1" },
      seed: { type: "string", default: "1" },
      help: { type: "boolean", default: false },
    },
  });
  if (flags.help) return console.log(USAGE);
  const attacks = flags.attacks.split(",").map(attackFrom);
  const [rounds, localSteps] = [Number(flags.rounds), Number(flags.steps)];
  const configs = flags.defences.split(",").map((defence) =>
    parseRunConfig({
      seed: Number(flags.seed),
      model: { blocks: 2, width: Number(flags.width), heads: 2, sequenceLength: 64 },
      training: {
        ...{ rounds, localSteps, batchSize: Number(flags.batch) },
        warmupSteps: Math.min(20, rounds * localSteps),
      },
      averaging: {
        ...{ codec: flags.codec as CodecName, defence: defence as Defence, topK: Number(flags["top-k"]) },
        errorFeedbackDecay: Number(flags.decay),
        outerLearningRate: Number(flags["outer-learning-rate"]),
      },
    }),
  );
  const peers = Number(flags.peers);
  const liars = liarsOf(peers, Number(flags.liars ?? Math.round(peers / 5)));
  const trials = async (languages: readonly PeerText[]) => {
    const texts = Array.from({ length: peers }, (_, at) => languages[at % languages.length]!);
    const rows: Row[] = [];
    if (!flags.json) console.log(heading(configs[0]!, texts, liars));
    for (const attack of attacks) {
      for (const config of configs) {
        const row = await measure({ attack, config, texts, liars }, rows[0]?.bitsPerByte);
        rows.push(row);
        if (!flags.json) console.log(line(row));
      }
    }
    if (flags.json) console.log(JSON.stringify({ machine: describeMachine(), flags, rows }));
  };
  await withTexts(configs[0]!, trials, Number(flags.vocabulary));
}

function attackFrom(name: string): Attack {
  const attack = ATTACKS.find((known) => known === name);
  if (attack === undefined) throw new RangeError(`--attacks ${name} is none of ${ATTACKS.join(", ")}.`);
  return attack;
}

/** Strewn over the peers, and so over the languages. */
const liarsOf = (peers: number, liars: number): readonly number[] =>
  Array.from({ length: liars }, (_, at) => Math.floor(((at + 0.5) * peers) / liars));

interface Trial {
  readonly attack: Attack;
  readonly config: RunConfig;
  readonly texts: readonly PeerText[];
  readonly liars: readonly number[];
}

interface Sent {
  readonly payloadId: string;
  readonly update: GridUpdate;
}

async function measure(trial: Trial, reference: number | undefined): Promise<Row> {
  const { attack, config, texts, liars } = trial;
  const startMs = performance.now();
  const layout = parameterLayout(bodyTensors(config.model), sha256);
  const codec = updateCodec(config, layout);
  const closedBody = genesisBody(config.model, config.seed);
  const { errorFeedbackDecay: decay, outerLearningRate, defence } = config.averaging;
  const replica = new ReplicatedBody({
    ...{ closedRound: 0, closedBody, layout, outerLearningRate },
    defence: { rule: defence, hash: sha256 },
  });
  const residuals: Float32Array[] = texts.map(() => new Float32Array(layout.total));
  const isLiar = (at: number) => attack !== "none" && liars.includes(at);
  const restrained = { honest: 0, liars: 0 };
  const trained = await trainTogether({
    config,
    texts,
    average({ round, deltas }) {
      const sent = new Map<string, { readonly at: number; readonly update: GridUpdate }>();
      const count = (at: number, { payloadId, update }: Sent) => {
        const key = `${round}/peer-${at}`;
        sent.set(key, { at, update });
        replica.add(round, key, update, 1, payloadId);
      };
      const honest = new Map<number, Sent>();
      for (const [at, delta] of deltas.entries()) {
        if (isLiar(at)) continue;
        const own = compressUpdate(delta, residuals[at]!, codec, { decay });
        residuals[at] = own.residual;
        honest.set(at, { payloadId: hexSha256(own.payload, sha256), update: own.update });
        count(at, honest.get(at)!);
      }
      const truths = deltas.filter((_, at) => !isLiar(at));
      for (const at of liars.filter(isLiar)) {
        const lie = lieOf(trial, at, round, deltas[at]!, truths);
        count(at, lie === "copy" ? [...honest.values()][0]! : encoded(lie));
      }
      for (const { key, why } of replica.restraints(round)) {
        const { at, update } = sent.get(key)!;
        restrained[isLiar(at) ? "liars" : "honest"]++;
        if (why === "opposed" && !isLiar(at)) returnToResidual(residuals[at]!, update);
      }
      replica.closeThrough(round);
      return replica.closedBody;
    },
  });
  function encoded(delta: Float32Array): Sent {
    const { payload, update } = compressUpdate(delta, new Float32Array(layout.total), codec);
    return { payloadId: hexSha256(payload, sha256), update };
  }
  const bitsPerByte = mean(trained.bitsPerByte.filter((_, at) => !liars.includes(at)));
  const lying = attack === "none" ? 0 : liars.length;
  return {
    ...{ attack, defence, bitsPerByte },
    relativeLoss: reference === undefined ? 0 : bitsPerByte / reference - 1,
    honestRestrained: restrained.honest,
    honestUpdates: (texts.length - lying) * config.training.rounds,
    liarsRestrained: restrained.liars,
    liarsUpdates: lying * config.training.rounds,
    seconds: (performance.now() - startMs) / 1000,
  };
}

/** What a liar sends instead of the update that it has trained; `truths` are those of the others. */
function lieOf(
  { attack, config, liars }: Trial,
  at: number,
  round: number,
  delta: Float32Array,
  truths: readonly Float32Array[],
): Float32Array | "copy" {
  const each: readonly Attack[] = ["sign-flip", "x100", "random", "copy"];
  const kind = attack === "all" ? each[(round + liars.indexOf(at)) % each.length]! : attack;
  if (kind === "copy") return "copy";
  if (kind === "reverse") {
    const sum = delta.map((_, index) => truths.reduce((total, truth) => total + truth[index]!, 0));
    const factor = (-REVERSAL_FACTOR * norm(delta)) / norm(sum);
    return sum.map((value) => factor * value);
  }
  return DISTORT[kind as Distortion](delta, seededRandom(seedOf(config.seed, "lie", at, round)));
}

function heading(
  { model, training, averaging, seed }: RunConfig,
  texts: readonly PeerText[],
  liars: readonly number[],
) {
  const { processor, node, onnxruntime } = describeMachine();
  return [
    `${processor}, Node ${node}, onnxruntime ${onnxruntime}`,
    `${model.blocks} blocks of width ${model.width}, ${texts.length} peers, liars ${liars.map((at) => `${at} (${texts[at]!.name})`).join(", ")}; ` +
      `${averaging.codec}, outer learning rate ${averaging.outerLearningRate}, ${training.rounds} rounds of ${training.localSteps} steps, batch ${training.batchSize}, seed ${seed}`,
    "",
    "attack     defence    honest bits/byte    loss   honest updates restrained   liars' restrained  seconds",
  ].join("\n");
}

const line = (row: Row): string =>
  row.attack.padEnd(11) +
  row.defence.padEnd(11) +
  row.bitsPerByte.toFixed(4).padStart(16) +
  `${(100 * row.relativeLoss).toFixed(2)}%`.padStart(9) +
  `${row.honestRestrained} of ${row.honestUpdates}`.padStart(27) +
  `${row.liarsRestrained} of ${row.liarsUpdates}`.padStart(20) +
  row.seconds.toFixed(0).padStart(9);
