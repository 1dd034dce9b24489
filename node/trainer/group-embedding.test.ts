// What a group does to an embedding in training: nothing that was learnt is lost, counted twice or waited for.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { genesisBody, initialEmbedding } from "#model/genesis.ts";
import { createTrainingModel } from "#model/training-model.ts";
import type { Batch, ModelConfig, OptimizerConfig, TrainingModel } from "#model/types.ts";
import { loadTrainerCheckpoint, saveTrainerCheckpoint } from "./checkpoint-file.ts";
import { GroupEmbedding, type GroupResult } from "./group-embedding.ts";
import type { RoundPlan } from "./round-progress.ts";
import { RoundTrainer, type TrainerCheckpoint } from "./round-trainer.ts";
import { SharedParameters } from "./shared-parameters.ts";

const GROUP = "ab".repeat(32);
const never = new AbortController().signal;

describe("over any course of training, new bases and hand-outs", () => {
  /** The embedding of a model and nothing else of it. */
  function embeddingOf(values: Float32Array) {
    const held = { values };
    const model = {
      readEmbedding: async () => held.values.slice(),
      writeEmbedding: async (embedding: Float32Array) => {
        held.values = embedding.slice();
      },
    } as TrainingModel;
    return { held, model };
  }

  const act = fc.oneof(
    fc.record({ act: fc.constant("learn" as const), by: fc.integer({ min: -8, max: 8 }) }),
    fc.record({ act: fc.constant("collect" as const) }),
    fc.record({ act: fc.constant("restart" as const) }),
    fc.record({
      act: fc.constant("enter" as const),
      base: fc.integer({ min: -64, max: 64 }),
      how: fc.constantFrom("next" as const, "same" as const, "carry" as const),
    }),
  );

  it("what was learnt is either in the base or between base and embedding, and counted once", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(act, { maxLength: 40 }), async (acts) => {
        const { held, model } = embeddingOf(Float32Array.of(3));
        let group = new GroupEmbedding(GROUP);
        let saved = group.checkpoint();
        let [round, base] = [0, 3];
        await group.enter(model, 0, Float32Array.of(base), false);
        // Learnt since the base was entered: handed out and not yet published, and not handed out.
        let [handedOut, kept] = [0, 0];
        let [tokens, handedOutTokens] = [0, 0];
        let collected = false;
        for (const next of acts) {
          if (next.act === "learn") {
            held.values[0]! -= next.by;
            kept += next.by;
            tokens++;
            group.count({ tokens: 1, bytes: 1, nats: 1, computeMs: 1 });
          } else if (next.act === "collect") {
            const { delta, tokens: told } = await group.collect(model);
            handedOut += kept;
            handedOutTokens += tokens;
            [kept, tokens, collected] = [0, 0, true];
            expect(delta[0]).toBe(handedOut);
            expect(told).toBe(handedOutTokens);
          } else if (next.act === "enter") {
            const isPublished = next.how === "next" && collected;
            if (!isPublished) [kept, tokens] = [kept + handedOut, tokens + handedOutTokens];
            [handedOut, handedOutTokens, collected] = [0, 0, false];
            base = next.base;
            if (next.how !== "same") round++;
            await group.enter(model, round, Float32Array.of(base), next.how === "carry");
          } else {
            saved = structuredClone(group.checkpoint());
            group = new GroupEmbedding(GROUP, saved);
          }
          expect(held.values[0]).toBe(base - handedOut - kept);
        }
      }),
      { numRuns: 500 },
    );
  });

  it("a peer that was never in the group takes over what the group has, except at its beginning", async () => {
    const late = embeddingOf(Float32Array.of(5));
    await new GroupEmbedding(GROUP).enter(late.model, 7, Float32Array.of(2), true);
    expect(late.held.values[0]).toBe(2);
    const early = embeddingOf(Float32Array.of(5));
    const group = new GroupEmbedding(GROUP);
    await group.enter(early.model, 0, Float32Array.of(2), false);
    expect(early.held.values[0]).toBe(5);
    expect((await group.collect(early.model)).delta[0]).toBe(-3);
  });

  it("forgets what it had of another group", async () => {
    const other = new GroupEmbedding(GROUP);
    await other.enter(embeddingOf(Float32Array.of(1)).model, 4, Float32Array.of(1), false);
    const group = new GroupEmbedding("cd".repeat(32), other.checkpoint());
    expect(group.checkpoint()).toMatchObject({ start: undefined, progress: { round: -1 } });
  });
});

const config: ModelConfig = { blocks: 1, width: 8, heads: 2, sequenceLength: 8, vocabularySize: 24 };
const optimizer: OptimizerConfig = {
  learningRate: 0.01,
  beta1: 0.9,
  beta2: 0.95,
  epsilon: 1e-8,
  weightDecay: 0,
  gradientClip: 1,
  warmupSteps: 1,
  totalSteps: 100,
  finalLearningRateRatio: 0.1,
};
const plan: RoundPlan = { localSteps: 4, momentsAcrossRounds: "keep", checkpointIntervalMs: 1e9 };
const body = genesisBody(config, 1);
const embedding0 = initialEmbedding(config, "group");

function batchesFrom(start: number) {
  let position = start;
  return {
    next(): Batch {
      position++;
      const ids = (shift: number) =>
        Int32Array.from({ length: 16 }, (_, at) => (at * 7 + position * 3 + shift) % config.vocabularySize);
      return { inputs: ids(0), targets: ids(7), batchSize: 2, sequenceLength: 8 };
    },
    get position() {
      return position;
    },
  };
}

interface Life {
  readonly trainer: RoundTrainer;
  readonly model: TrainingModel;
  readonly log: string[];
}

describe("in a trainer with a real model", () => {
  let directory: string;
  const models: TrainingModel[] = [];
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "glossa-group-"));
  });
  afterAll(async () => {
    for (const model of models) await model.dispose();
    await rm(directory, { recursive: true });
  });

  /** A peer's trainer as a new process makes it of what is on disk at `file`. */
  async function live(file: string, groupId: string | null = GROUP): Promise<Life> {
    const checkpoint = await loadTrainerCheckpoint(file);
    const model = await createTrainingModel({
      ...{ config, optimizer, batchSize: 2, microBatchSize: 2, device: "cpu", threads: 1 },
      ...{ body, embedding: embedding0 },
    });
    models.push(model);
    const log: string[] = [];
    const trainer = await RoundTrainer.create(
      plan,
      {
        model,
        parameters: new SharedParameters(body.length),
        group: groupId === null ? undefined : new GroupEmbedding(groupId, checkpoint?.group),
        batches: batchesFrom((checkpoint?.batchPosition as number | undefined) ?? 0),
        byteLengths: Array(config.vocabularySize).fill(2),
        heldOut: () => [batchesFrom(1000).next()],
        save: async (state: TrainerCheckpoint) => {
          await saveTrainerCheckpoint(file, state);
          log.push("saved");
        },
        nowMs: () => performance.now(),
      },
      checkpoint,
    );
    return { trainer, model, log };
  }

  const minus = (a: Float32Array, b: Float32Array) => a.map((value, at) => value - b[at]!);
  const train = ({ trainer, log }: Life, round: number, onStep: (step: number) => void = () => {}) =>
    trainer.trainRound(
      round,
      body,
      false,
      (step) => {
        log.push(`step ${step}`);
        onStep(step);
      },
      never,
    );
  const expectClose = (actual: Float32Array, expected: Float32Array) => {
    for (let at = 0; at < expected.length; at++) expect(actual[at]).toBeCloseTo(expected[at]!, 5);
  };

  it("hands out a local round's progress when it ends, after it is on disk, and training goes on from there", async () => {
    const life = await live(join(directory, "one"));
    const { trainer, model, log } = life;
    await trainer.enterGroup(0, embedding0, false);
    let result: GroupResult | undefined;
    const collecting = trainer.collectGroup("round-end", never).then((collected) => {
      log.push("handed out");
      result = collected;
    });
    await train(life, 0);
    await collecting;
    expect(log).toEqual(["step 1", "step 2", "step 3", "step 4", "saved", "handed out"]);
    expectClose(result!.delta, minus(embedding0, await model.readEmbedding()));
    expect(result).toMatchObject({ tokens: 64, bytes: 128 });
    expect(result!.lossNatsPerToken).toBeGreaterThan(1);

    // Half of it counts in the group; what is learnt meanwhile is on top.
    await train(life, 1);
    const before = await model.readEmbedding();
    const base = embedding0.map((value, at) => value - result!.delta[at]! / 2);
    await trainer.enterGroup(1, base, false);
    const learnt = minus(minus(embedding0, result!.delta), before);
    expectClose(await model.readEmbedding(), minus(base, learnt));
    // A local round has ended since: its progress waits for nobody.
    const second = await trainer.collectGroup("round-end", never);
    expectClose(second.delta, learnt);
    expect(second.tokens).toBe(64);
  });

  it("moves onto a new base between two steps of a round, without a step more or less", async () => {
    const life = await live(join(directory, "two"));
    const { trainer, model, log } = life;
    await trainer.enterGroup(0, embedding0, false);
    const away = embedding0.map((value) => value + 1);
    let moving: Promise<unknown> | undefined;
    await train(life, 0, (step) => {
      if (step === 2) moving = trainer.enterGroup(0, away, false).then(() => log.push("moved"));
    });
    await moving;
    expect(log.indexOf("moved")).toBeGreaterThan(log.indexOf("step 2"));
    expect(log.indexOf("moved")).toBeLessThan(log.indexOf("step 4"));
    const { delta, tokens } = await trainer.collectGroup("now", never);
    expectClose(delta, minus(away, await model.readEmbedding()));
    expect(Math.max(...delta.map(Math.abs))).toBeLessThan(0.5);
    expect(tokens).toBe(64);
  });

  it("after a kill hands out again what nobody has seen, and not what was published", async () => {
    const file = join(directory, "three");
    const first = await live(file);
    await first.trainer.enterGroup(0, embedding0, false);
    await train(first, 0);
    const told = await first.trainer.collectGroup("now", never);

    const unpublished = await live(file);
    await unpublished.trainer.enterGroup(0, embedding0, false);
    const again = await unpublished.trainer.collectGroup("now", never);
    expect(again).toEqual(told);

    const base = minus(embedding0, told.delta);
    const published = await live(file);
    await published.trainer.enterGroup(1, base, false);
    expectClose(await published.model.readEmbedding(), base);
    const rest = await published.trainer.collectGroup("now", never);
    expect(Math.max(...rest.delta.map(Math.abs))).toBeLessThan(1e-6);
    expect(rest).toMatchObject({ tokens: 0, lossNatsPerToken: 0, bitsPerByte: 0 });
  });

  it("stops waiting for the end of a round when told to, and a group of its own leaves others alone", async () => {
    const life = await live(join(directory, "four"));
    await life.trainer.enterGroup(0, embedding0, false);
    const leaving = new AbortController();
    const collecting = life.trainer.collectGroup("round-end", leaving.signal);
    leaving.abort();
    await expect(collecting).rejects.toMatchObject({ name: "AbortError" });
    await train(life, 0);
    expect((await life.trainer.collectGroup("round-end", never)).tokens).toBe(64);

    const alone = await live(join(directory, "four"), null);
    await expect(alone.trainer.enterGroup(0, embedding0, false)).rejects.toThrow("no group");
    await train(alone, 1);
  });
});
