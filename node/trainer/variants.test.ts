// What the trainer does in each variant, with the real model on the CPU: one peer alone is plain training.
import { describe, expect, it } from "vitest";
import { embeddingLength } from "#model/architecture.ts";
import { genesisBody, genesisShared, initialEmbedding } from "#model/genesis.ts";
import { createTrainingModel } from "#model/training-model.ts";
import type { Batch, ModelConfig, OptimizerConfig, TrainingModel } from "#model/types.ts";
import type { RoundPlan } from "./round-progress.ts";
import { RoundTrainer, type TrainerCheckpoint } from "./round-trainer.ts";
import { SharedParameters } from "./shared-parameters.ts";

const COMMON_VOCABULARY = 50;
/** The common ids that the peer's text uses. */
const ROWS = Int32Array.from({ length: 23 }, (_, local) => 1 + 2 * local);
const body: Omit<ModelConfig, "vocabularySize"> = { blocks: 1, width: 16, heads: 2, sequenceLength: 8 };
const optimizer: OptimizerConfig = {
  learningRate: 0.01,
  beta1: 0.9,
  beta2: 0.95,
  epsilon: 1e-8,
  weightDecay: 0.01,
  gradientClip: 1,
  warmupSteps: 1,
  totalSteps: 100,
  finalLearningRateRatio: 0.1,
};
const plan: RoundPlan = { localSteps: 3, momentsAcrossRounds: "keep", checkpointIntervalMs: 1e9 };
const batchSize = 2;
const never = new AbortController().signal;
const bodyValues = genesisBody(body, 1).length;

interface Variant {
  readonly name: string;
  readonly parameters: SharedParameters;
  readonly config: ModelConfig;
  readonly genesis: Float32Array;
  /** The peer's own embedding at the start, where rows are not shared. */
  readonly embedding: Float32Array;
}

function variant(name: string, vocabularySize: number, rows?: Int32Array): Variant {
  const shares = name === "trim" || name === "glob";
  const config = { ...body, vocabularySize };
  const parameters = shares
    ? new SharedParameters(bodyValues, { width: body.width, vocabularySize: COMMON_VOCABULARY, rows })
    : new SharedParameters(bodyValues);
  const genesis = genesisShared(body, shares ? COMMON_VOCABULARY : undefined, 1);
  const embedding = shares ? parameters.gather(genesis).slice(bodyValues) : initialEmbedding(config, "mine");
  return { name, parameters, config, genesis, embedding };
}

const VARIANTS: readonly Variant[] = [
  variant("spec-opt", 31),
  variant("spec", ROWS.length),
  variant("trim", ROWS.length, ROWS),
  variant("glob", COMMON_VOCABULARY),
];

function batchAt(position: number, { vocabularySize, sequenceLength }: ModelConfig): Batch {
  const ids = (shift: number) =>
    Int32Array.from(
      { length: batchSize * sequenceLength },
      (_, at) => (at * 7 + position * 3 + shift) % vocabularySize,
    );
  return { inputs: ids(0), targets: ids(7), batchSize, sequenceLength };
}

const modelOf = ({ config, genesis, embedding }: Variant): Promise<TrainingModel> =>
  createTrainingModel({
    ...{ config, optimizer, batchSize, device: "cpu", threads: 1, embedding },
    body: genesis.subarray(0, bodyValues),
  });

/** One life of a peer's trainer, with what the last one saved. */
async function live(of: Variant, checkpoint?: TrainerCheckpoint, ownPlan = plan) {
  const model = await modelOf(of);
  const saved: TrainerCheckpoint[] = [];
  let position = (checkpoint?.batchPosition as number | undefined) ?? 0;
  const trainer = await RoundTrainer.create(
    ownPlan,
    {
      model,
      parameters: of.parameters,
      batches: {
        next: () => batchAt(position++, of.config),
        get position() {
          return position;
        },
      },
      byteLengths: Array.from({ length: of.config.vocabularySize }, () => 2),
      heldOut: () => [batchAt(1000, of.config)],
      save: async (state) => void saved.push(structuredClone(state)),
      nowMs: () => performance.now(),
    },
    checkpoint,
  );
  return { model, trainer, saved };
}

/** A round from a shared array to the change of it, as the protocol sees the trainer. */
async function trainRound(
  of: Variant,
  { trainer }: Awaited<ReturnType<typeof live>>,
  round: number,
  shared: Float32Array,
  { carry = false, stopAfterStep = Number.POSITIVE_INFINITY } = {},
): Promise<Float32Array> {
  const controller = new AbortController();
  if (stopAfterStep === 0) controller.abort();
  const onStep = (step: number) => step === stopAfterStep && controller.abort();
  const held = of.parameters.gather(shared);
  const { delta } = await trainer.trainRound(round, held, carry, onStep, controller.signal);
  return of.parameters.scatter(delta);
}

const minus = (a: Float32Array, b: Float32Array) => a.map((value, at) => value - b[at]!);
const largest = (values: Float32Array) => values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);

describe.each(VARIANTS)("the trainer in variant $name", (of) => {
  const { parameters, genesis, config } = of;

  it("trains, as the only peer of a run, as if there were no run", async () => {
    const life = await live(of);
    const plain = await modelOf(of);
    let shared = genesis;
    for (let round = 0; round < 3; round++) {
      shared = minus(shared, await trainRound(of, life, round, shared));
      for (let step = round * 3; step < round * 3 + 3; step++) {
        await plain.trainStep(batchAt(step, config), step);
      }
      // Adding a change to what it was taken from rounds; within the first round there is nothing to round.
      const apart = largest(minus(parameters.gather(shared), await parameters.read(plain)));
      expect(apart).toBeLessThan(round === 0 ? 1e-7 : 1e-5);
    }
    const embedding = await plain.readEmbedding();
    expect(largest(minus(await life.model.readEmbedding(), embedding))).toBeLessThan(1e-5);
    expect(largest(minus(embedding, of.embedding))).toBeGreaterThan(0.01);
  });

  it("changes what it holds and nothing else", async () => {
    const delta = await trainRound(of, await live(of), 0, genesis);
    expect(delta).toHaveLength(parameters.sharedLength);
    const held = parameters.scatter(new Float32Array(parameters.heldLength).fill(1));
    for (let row = 0; bodyValues + row * body.width < delta.length; row++) {
      const at = bodyValues + row * body.width;
      const moved = delta.subarray(at, at + body.width).some((value) => value !== 0);
      expect({ row, moved }).toEqual({ row, moved: held[at] === 1 });
    }
    expect(largest(delta.subarray(0, bodyValues))).toBeGreaterThan(0.01);
  });

  it("continues a killed peer's round to the very same bits", async () => {
    const whole = await trainRound(of, await live(of), 0, genesis);
    const first = await live(of);
    await expect(trainRound(of, first, 0, genesis, { stopAfterStep: 2 })).rejects.toThrow("aborted");
    const second = await live(of, first.saved.at(-1));
    expect(await trainRound(of, second, 0, genesis)).toEqual(whole);
    expect(second.saved.at(-1)!.batchPosition).toBe(3);
  });

  it("carries what was not published onto what the others have made meanwhile", async () => {
    const life = await live(of);
    await expect(trainRound(of, life, 0, genesis, { stopAfterStep: 2 })).rejects.toThrow("aborted");
    const progress = minus(parameters.gather(genesis), await parameters.read(life.model));
    const elsewhere = genesis.map((value, at) => value + (at % 5) / 8);
    const carried = trainRound(of, life, 4, elsewhere, { carry: true, stopAfterStep: 0 });
    await expect(carried).rejects.toThrow("aborted");
    const after = minus(parameters.gather(elsewhere), await parameters.read(life.model));
    expect(largest(minus(after, progress))).toBeLessThan(1e-6);
    expect(largest(after)).toBeGreaterThan(0.01);
  });

  it("evaluates shared parameters without moving its own", async () => {
    const life = await live(of);
    await expect(trainRound(of, life, 0, genesis, { stopAfterStep: 2 })).rejects.toThrow("aborted");
    const before = await life.model.readState();
    const own = await life.trainer.evaluate(await parameters.read(life.model), never);
    const at = await life.trainer.evaluate(parameters.gather(genesis), never);
    expect(at).toBeGreaterThan(own + 0.01);
    expect(await life.model.readState()).toEqual(before);
  });

  it("needs memory for the tokens it holds, not for the whole vocabulary", async () => {
    const life = await live(of);
    await life.trainer.save();
    const { state, start } = life.saved.at(-1)!;
    const embedding = embeddingLength({ ...body, vocabularySize: config.vocabularySize });
    expect(
      [state.embedding, state.embeddingMoment1, state.embeddingMoment2].map(({ length }) => length),
    ).toEqual([embedding, embedding, embedding]);
    expect(start).toHaveLength(parameters.includeEmbedding ? bodyValues + embedding : bodyValues);
  });
});

describe("a newcomer's embeddings", () => {
  it("are fitted to the body where they are its own, and come with the shared rows where they are not", async () => {
    for (const of of VARIANTS) {
      const life = await live(of);
      const found = of.genesis.map((value) => value + 1 / 64);
      const steps: number[] = [];
      await life.trainer.warmUp(of.parameters.gather(found), 2, (step) => steps.push(step), never);
      expect(await of.parameters.read(life.model)).toEqual(of.parameters.gather(found));
      expect(steps).toEqual(of.parameters.includeEmbedding ? [] : [1, 2]);
    }
  });
});
