import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { TokenFileWriter, type TokenSplit } from "#model/data/token-file.ts";
import { initialEmbedding } from "#model/genesis.ts";
import { learningRateAt } from "#model/optim/schedule.ts";
import { RandomStream } from "#model/random.ts";
import type { TrainingModel } from "#model/types.ts";
import { loadBaselineCheckpoint, OtherTrainingError, saveBaselineCheckpoint } from "./baseline-checkpoint.ts";
import { type BaselineModules, type BaselineOptions, trainBaseline } from "./train-baseline.ts";

const options: BaselineOptions = {
  method: "act",
  config: { blocks: 1, width: 8, heads: 2, sequenceLength: 8, vocabularySize: 50 },
  optimizer: {
    ...{ learningRate: 1e-2, beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0, gradientClip: 1 },
    ...{ warmupSteps: 2, totalSteps: 12, finalLearningRateRatio: 0.1 },
  },
  batchSize: 2,
  localSteps: 4,
  temperature: 1,
  seed: 3,
  device: "cpu",
  threads: 1,
  checkpointIntervalMs: Number.POSITIVE_INFINITY,
};

let directory: string;
let splits: TokenSplit[];

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "glossa-baseline-"));
  splits = [];
  for (const seed of ["a", "b"]) {
    const random = RandomStream.fromSeed(seed);
    const tokenizer = { vocabularySize: 50, endOfText: 49, byteLengths: new Uint8Array(50).fill(1) };
    const writer = await TokenFileWriter.create(join(directory, `${seed}.bin`), tokenizer);
    await writer.append(Uint32Array.from({ length: 600 }, () => random.nextUint32() % 20));
    splits.push(await writer.finish());
  }
});
afterAll(() => rm(directory, { recursive: true }));

function modulesWith(changes: Partial<BaselineModules> = {}): BaselineModules {
  return {
    sources: splits,
    save: async () => {},
    evaluate: async () => ({}),
    nowMs: () => 0,
    ...changes,
  };
}

const idle = new AbortController().signal;

describe("act", () => {
  it("begins the embedding anew, moments and all, every local steps, and lets the body go on", async () => {
    const seen: { step: number; embedding: Float32Array; body: Float32Array; momentSteps: number[] }[] = [];
    let model: TrainingModel | undefined;
    let step = 0;
    const look = async (at: number) => {
      const state = await model!.readState();
      const { embedding, body, momentSteps, embeddingMomentSteps } = state;
      seen.push({ step: at, embedding, body, momentSteps: [momentSteps, embeddingMomentSteps] });
    };
    await trainBaseline(
      options,
      modulesWith({
        evaluate: async (trained) => {
          model = trained;
          await look(step);
          return {};
        },
        onStep: (done) => {
          step = done;
        },
      }),
      idle,
    );
    expect(seen.map((entry) => entry.step)).toEqual([0, 4, 8, 12]);
    // The embedding's moments are as old as its cycle, the body's as the training.
    expect(seen.map((entry) => entry.momentSteps)).toEqual([
      [0, 0],
      [4, 4],
      [8, 4],
      [12, 4],
    ]);
    // Each cycle moves its own beginning by no more than its four steps can.
    const farthest = (values: Float32Array, from: Float32Array) =>
      Math.max(...values.map((value, at) => Math.abs(value - from[at]!)));
    const reach = 1.5 * 4 * options.optimizer.learningRate;
    for (const [cycle, { embedding }] of seen.slice(1).entries()) {
      const seed = cycle === 0 ? options.seed : `${options.seed}/forgetting/${cycle}`;
      expect(farthest(embedding, initialEmbedding(options.config, seed))).toBeLessThan(reach);
      const other = initialEmbedding(options.config, `${options.seed}/forgetting/${cycle + 1}`);
      expect(farthest(embedding, other)).toBeGreaterThan(reach);
    }
  });

  it("gives the embedding a rate of its own cycle, where the body's is far down its cosine", async () => {
    // AdamW's first step after a reset moves by the rate: the largest move of step 8 shows it.
    const moves = new Map<number, number>();
    let before: Float32Array | undefined;
    let model: TrainingModel | undefined;
    await trainBaseline(
      { ...options, optimizer: { ...options.optimizer, totalSteps: 9 } },
      modulesWith({
        evaluate: async (trained) => {
          model = trained;
          return {};
        },
        onEnd: async () => {
          const after = await model!.readEmbedding();
          before = initialEmbedding(options.config, `${options.seed}/forgetting/2`);
          moves.set(8, Math.max(...after.map((value, at) => Math.abs(value - before![at]!))));
        },
      }),
      idle,
    );
    const peak = options.optimizer.learningRate;
    const own = { learningRate: peak, warmupSteps: 0, totalSteps: 4, finalLearningRateRatio: 0.1 };
    expect(moves.get(8)! / learningRateAt(own, 0)).toBeCloseTo(1, 2);
    expect(learningRateAt({ ...options.optimizer, totalSteps: 9 }, 8)).toBeLessThan(0.2 * peak);
  });
});

describe("a baseline", () => {
  it.each(["std", "act"] as const)(
    "of %s that is cut off anywhere ends with the same bits",
    async (method) => {
      const training = { ...options, method };
      const evaluate = async (model: TrainingModel) => ({ norm: (await model.readBody())[0]! });
      const whole = await trainBaseline(training, modulesWith({ evaluate }), idle);
      // Behind an evaluation and a reset, in a cycle's middle, and at the very end.
      for (const stopAt of [4, 5, 8, 12]) {
        const path = join(directory, `${method}-${stopAt}`);
        const stop = new AbortController();
        const modules = modulesWith({
          evaluate,
          onStep: (done) => {
            if (done === stopAt) stop.abort();
          },
          save: (state) => saveBaselineCheckpoint(path, "this one", state),
        });
        await expect(trainBaseline(training, modules, stop.signal)).rejects.toThrow(/abort/i);
        const checkpoint = await loadBaselineCheckpoint(path, "this one");
        expect(checkpoint!.progress.step).toBe(stopAt);
        const rest = await trainBaseline(training, modulesWith({ evaluate, checkpoint }), idle);
        expect(rest.body).toEqual(whole.body);
        expect(rest.embedding).toEqual(whole.embedding);
        expect(rest.progress).toEqual(whole.progress);
        await expect(loadBaselineCheckpoint(path, "another")).rejects.toThrow(OtherTrainingError);
      }
    },
  );

  it("begins with the weights that it is given", async () => {
    const embedding = initialEmbedding(options.config, "given");
    let first: Float32Array | undefined;
    const modules = modulesWith({
      initial: { embedding },
      evaluate: async (model) => {
        first ??= await model.readEmbedding();
        return {};
      },
    });
    await trainBaseline({ ...options, method: "std" }, modules, idle);
    expect(first).toEqual(embedding);
  });
});
