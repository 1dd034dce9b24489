// The trainer through its real process: text to tokens to training, and errors with their codes. For what happens when the
// process dies see supervisor.test.ts.
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { bodyLength } from "#model/architecture.ts";
import type { Tokenizer } from "#model/tokenizer/tokenizer.ts";
import { trainTokenizer } from "#model/tokenizer/train-tokenizer.ts";
import { loadTrainerCheckpoint, saveTrainerCheckpoint } from "./checkpoint-file.ts";
import type { CreateOptions, PrepareOptions, PrepareProgress } from "./messages.ts";
import { Trainer } from "./trainer.ts";

const corpusOf = (name: string) => fileURLToPath(new URL(`../demo/corpora/${name}.txt.gz`, import.meta.url));
const corpus = corpusOf("es-scripture");
/** Enough to train a tokenizer on. */
const textOf = async (name: string) =>
  gunzipSync(await readFile(corpusOf(name)))
    .toString("utf8")
    .slice(0, 100_000);
const body = { blocks: 1, width: 16, heads: 2, sequenceLength: 16 };
const never = new AbortController().signal;

let directory: string;
let trainer: Trainer;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "glossa-trainer-"));
  trainer = new Trainer();
});
afterEach(async () => {
  await trainer.close();
  await rm(directory, { recursive: true, force: true });
});

const ownVocabulary = (vocabularySize: number | undefined): PrepareOptions["vocabulary"] => ({
  kind: "own",
  tokenizerPath: undefined,
  vocabularySize,
});

const prepareOptions = (vocabulary: PrepareOptions["vocabulary"]): PrepareOptions => ({
  paths: [corpus],
  textField: "text",
  vocabulary,
  tokenizerFile: join(directory, "tokenizer.json"),
  rowsFile: join(directory, "vocabulary.rows"),
  cacheDirectory: join(directory, "tokens"),
  minimumValidationTokens: 100,
});

async function createOptions(sharedVocabularySize?: number): Promise<CreateOptions> {
  return {
    body,
    genesis: await trainer.genesis(body, sharedVocabularySize, "1", never),
    sharedVocabularySize,
    optimizer: {
      learningRate: 0.01,
      beta1: 0.9,
      beta2: 0.95,
      epsilon: 1e-8,
      weightDecay: 0,
      gradientClip: 1,
      warmupSteps: 1,
      totalSteps: 100,
      finalLearningRateRatio: 0.1,
    },
    batchSize: 4,
    plan: { localSteps: 3, momentsAcrossRounds: "keep", checkpointIntervalMs: 60_000 },
    device: "cpu",
    threads: 1,
    privateSeed: "mine",
    checkpointFile: join(directory, "trainer.checkpoint"),
    evaluationTokens: 64,
  };
}

it("takes text to an update, and another life of it goes on where this one stopped", async () => {
  const stages: PrepareProgress["stage"][] = [];
  const prepared = await trainer.prepare(
    prepareOptions(ownVocabulary(400)),
    ({ stage }) => stages.push(stage),
    never,
  );
  expect(prepared.vocabularySize).toBe(400);
  expect(prepared.trainTokens).toBeGreaterThan(100_000);
  expect([...new Set(stages)]).toEqual(["tokenizer", "tokenizer-ready", "tokens"]);

  const options = await createOptions();
  expect(options.genesis).toHaveLength(bodyLength(body));
  expect(await trainer.create(options, never)).toMatchObject({ device: "cpu", resumed: undefined });
  const steps: number[] = [];
  const result = await trainer.trainRound(0, options.genesis, false, (step) => steps.push(step), never);
  expect(steps).toEqual([1, 2, 3]);
  expect(result.tokens).toBe(3 * 4 * 16);

  await trainer.close();
  trainer = new Trainer();
  expect(await trainer.prepare(prepareOptions(ownVocabulary(undefined)), () => undefined, never)).toEqual(
    prepared,
  );
  const { resumed } = await trainer.create({ ...options, privateSeed: "another" }, never);
  expect(resumed).toMatchObject({ round: 0, step: 3, totalTokens: result.tokens });
  const again = await trainer.trainRound(0, options.genesis, false, () => undefined, never);
  expect(again.delta).toEqual(result.delta);
});

it("goes on with a text that has grown or shrunk, with all that it has learnt", async () => {
  const [first, second] = ["first.txt", "second.txt"].map((name) => join(directory, name));
  const text = await textOf("es-scripture");
  await writeFile(first!, text.slice(0, 60_000));
  const another = async (paths: readonly string[], vocabularySize: number | undefined) => {
    await trainer.close();
    trainer = new Trainer();
    const prepared = await trainer.prepare(
      { ...prepareOptions(ownVocabulary(vocabularySize)), paths },
      () => undefined,
      never,
    );
    return { ...prepared, ...(await trainer.create(options, never)) };
  };
  const options = await createOptions();
  const { trainTokens, tokenizerFingerprint } = await another([first!], 400);
  await trainer.trainRound(0, options.genesis, false, () => undefined, never);
  const learnt = (await loadTrainerCheckpoint(options.checkpointFile))!.state;

  await writeFile(second!, text.slice(60_000));
  const grown = await another([first!, second!], undefined);
  expect(grown).toMatchObject({
    trainTokensBefore: trainTokens,
    resumed: { round: 0, step: 3 },
    tokenizerFingerprint,
  });
  expect(grown.trainTokens).toBeGreaterThan(trainTokens * 1.4);
  const { delta } = await trainer.trainRound(0, options.genesis, false, () => undefined, never);
  expect((await loadTrainerCheckpoint(options.checkpointFile))!.state).toEqual(learnt);
  await trainer.trainRound(1, options.genesis, false, () => undefined, never);
  expect(delta).toHaveLength(bodyLength(body));

  await rm(first!);
  const shrunk = await another([second!], undefined);
  expect(shrunk).toMatchObject({ trainTokensBefore: grown.trainTokens, resumed: { round: 1, step: 3 } });
  await trainer.trainRound(2, options.genesis, false, () => undefined, never);
  const { batchPosition } = (await loadTrainerCheckpoint(options.checkpointFile))!;
  expect(batchPosition).toMatchObject({ epoch: 2, window: 3 * 4, tokens: shrunk.trainTokens });
  expect(await another([second!], undefined)).toMatchObject({ trainTokensBefore: undefined });
});

it("trains in float16 where it is asked to, keeps the scale of the loss, and goes on in either precision", async () => {
  await trainer.prepare(prepareOptions(ownVocabulary(400)), () => undefined, never);
  const options = await createOptions();
  const half = { ...options, precision: "float16" } as const;
  await trainer.create(half, never);
  await trainer.trainRound(0, options.genesis, false, () => undefined, never);
  const scaleKept = async () => (await loadTrainerCheckpoint(options.checkpointFile))!.state.lossScale;
  expect(await scaleKept()).toEqual({ scale: 65_536, goodSteps: 3 });
  for (const { precision, kept } of [
    { precision: "float16", kept: { scale: 65_536, goodSteps: 6 } },
    { precision: "float32", kept: undefined },
  ] as const) {
    await trainer.close();
    trainer = new Trainer();
    await trainer.prepare(prepareOptions(ownVocabulary(undefined)), () => undefined, never);
    const { resumed } = await trainer.create({ ...options, precision }, never);
    await trainer.trainRound(resumed!.round + 1, options.genesis, false, () => undefined, never);
    expect(await scaleKept()).toEqual(kept);
  }
});

it("tells of steps that it skips because their loss was scaled too far, and counts them over its lives", async () => {
  const told: [steps: number, total: number][] = [];
  const another = async () => {
    await trainer.close();
    trainer = new Trainer({ onSkipped: (steps, total) => told.push([steps, total]) });
    await trainer.prepare(prepareOptions(ownVocabulary(400)), () => undefined, never);
    await trainer.create({ ...options, precision: "float16" }, never);
  };
  const options = await createOptions();
  await another();
  await trainer.trainRound(0, options.genesis, false, () => undefined, never);
  expect(told).toEqual([]);

  const kept = (await loadTrainerCheckpoint(options.checkpointFile))!;
  const state = { ...kept.state, lossScale: { scale: 2 ** 24, goodSteps: 0 } };
  await saveTrainerCheckpoint(options.checkpointFile, { ...kept, state });
  await another();
  await trainer.trainRound(1, options.genesis, false, () => undefined, never);
  const total = told.reduce((sum, [steps]) => sum + steps, 0);
  expect(total).toBeGreaterThan(0);
  expect(told.at(-1)![1]).toBe(total);
  const { progress } = (await loadTrainerCheckpoint(options.checkpointFile))!;
  expect(progress).toMatchObject({ skippedSteps: total, totalTokens: 6 * 4 * 16 });
  await another();
  const { length } = told;
  await trainer.trainRound(2, options.genesis, false, () => undefined, never);
  for (const [, later] of told.slice(length)) expect(later).toBeGreaterThan(total);
});

it("never lets the vocabulary change under its embeddings", async () => {
  await trainer.prepare(prepareOptions(ownVocabulary(300)), () => undefined, never);
  await expect(
    trainer.prepare(prepareOptions(ownVocabulary(301)), () => undefined, never),
  ).rejects.toMatchObject({
    code: "VOCABULARY_CHANGED",
  });
});

describe("with a common tokenizer", () => {
  let common: Tokenizer;
  let commonVocabulary: (restricted: boolean) => PrepareOptions["vocabulary"];
  beforeAll(async () => {
    common = await trainTokenizer([await textOf("en-novels"), await textOf("es-scripture")], {
      vocabularySize: 900,
    });
  });
  beforeEach(async () => {
    const tokenizerPath = join(directory, "common.json");
    await writeFile(tokenizerPath, common.toJson());
    commonVocabulary = (restricted) => ({ kind: "common", tokenizerPath, vocabularySize: 900, restricted });
  });

  it("trains the rows that its text uses, and its update has those alone", async () => {
    const fractions: number[] = [];
    const stages = new Set<string>();
    const onProgress = (progress: PrepareProgress) => {
      stages.add(progress.stage);
      if (progress.stage === "tokenizer") fractions.push(progress.fraction);
    };
    const { rows, vocabularySize } = await trainer.prepare(
      prepareOptions(commonVocabulary(true)),
      onProgress,
      never,
    );
    expect(rows).toHaveLength(vocabularySize);
    expect(vocabularySize).toBeGreaterThan(500);
    expect(vocabularySize).toBeLessThan(850);
    // What was read to see which tokens there are is not tokenised a second time.
    expect([...stages]).toEqual(["tokenizer", "tokenizer-ready"]);
    expect(fractions).toEqual(fractions.toSorted((a, b) => a - b));
    expect(fractions.at(-1)).toBeLessThanOrEqual(1);

    const plan = { localSteps: 40, momentsAcrossRounds: "keep", checkpointIntervalMs: 60_000 } as const;
    const options = { ...(await createOptions(900)), plan, evaluationTokens: 4096 };
    const { embeddingParameters } = await trainer.create(options, never);
    expect(embeddingParameters).toBe(vocabularySize * body.width);
    const { delta } = await trainer.trainRound(0, options.genesis, false, () => undefined, never);
    expect(delta).toHaveLength(bodyLength(body) + 900 * body.width);
    for (let row = 0; row < 900; row++) {
      const at = bodyLength(body) + row * body.width;
      const isHeld = rows!.includes(row);
      expect({ row, moved: delta.subarray(at, at + body.width).some(Boolean) }).toEqual({
        row,
        moved: isHeld,
      });
    }
    const before = await trainer.evaluate(options.genesis, never);
    const after = await trainer.evaluate(
      options.genesis.map((value, at) => value - delta[at]!),
      never,
    );
    expect(after).toBeLessThan(before - 0.2);
  });

  it("keeps its vocabulary when there is more text, and encodes what is new", async () => {
    const first = await trainer.prepare(prepareOptions(commonVocabulary(true)), () => undefined, never);
    const foreign = join(directory, "foreign.txt");
    await writeFile(foreign, (await textOf("zh-poetry")).slice(0, 3000));
    const more = { ...prepareOptions(commonVocabulary(true)), paths: [corpus, foreign] };
    const second = await trainer.prepare(more, () => undefined, never);
    expect(second.rows).toEqual(first.rows);
    expect(second.trainTokens).toBeGreaterThan(first.trainTokens);
  });

  it("uses all of it where nothing is cut down", async () => {
    const { rows, vocabularySize } = await trainer.prepare(
      prepareOptions(commonVocabulary(false)),
      () => undefined,
      never,
    );
    expect({ rows, vocabularySize }).toEqual({ rows: undefined, vocabularySize: 900 });
  });

  it("goes on with the rows it had, refuses lost ones, and a size that is not the tokenizer's", async () => {
    const options = prepareOptions(commonVocabulary(true));
    const first = await trainer.prepare(options, () => undefined, never);
    await rm(join(directory, "common.json"));
    expect(await trainer.prepare(options, () => undefined, never)).toEqual(first);
    await rm(options.rowsFile);
    await expect(trainer.prepare(options, () => undefined, never)).rejects.toMatchObject({
      code: "STATE_CORRUPT",
    });
    const wrong = {
      ...options,
      vocabulary: { ...options.vocabulary, vocabularySize: 901 },
      tokenizerFile: join(directory, "other.json"),
    } as PrepareOptions;
    await writeFile(join(directory, "common.json"), common.toJson());
    await expect(trainer.prepare(wrong, () => undefined, never)).rejects.toMatchObject({
      code: "COMMON_VOCABULARY_SIZE",
    });
  });
});

it("hands over errors with their codes", async () => {
  const missing = { ...prepareOptions(ownVocabulary(300)), paths: [join(directory, "nothing.txt")] };
  await expect(trainer.prepare(missing, () => undefined, never)).rejects.toMatchObject({
    code: "DATA_PATH_MISSING",
  });
});

it("rejects calls after it is closed instead of leaving them waiting", async () => {
  await trainer.close();
  await expect(trainer.genesis(body, undefined, "1", never)).rejects.toMatchObject({
    code: "TRAINER_CLOSED",
  });
});
