// The trainer through its real worker thread: text to tokens to training, and what its callers see when it dies.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, it } from "vitest";
import { bodyLength } from "#model/architecture.ts";
import type { CreateOptions, PrepareOptions, PrepareProgress } from "./messages.ts";
import { Trainer } from "./trainer.ts";

const corpus = fileURLToPath(new URL("../demo/corpora/es-scripture.txt.gz", import.meta.url));
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

const prepareOptions = (vocabularySize: number | undefined): PrepareOptions => ({
  paths: [corpus],
  textField: "text",
  tokenizerPath: undefined,
  vocabularySize,
  tokenizerFile: join(directory, "tokenizer.json"),
  cacheDirectory: join(directory, "tokens"),
  minimumValidationTokens: 100,
});

async function createOptions(): Promise<CreateOptions> {
  return {
    body,
    genesis: await trainer.genesis(body, "1", never),
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
  const prepared = await trainer.prepare(prepareOptions(400), ({ stage }) => stages.push(stage), never);
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
  expect(await trainer.prepare(prepareOptions(undefined), () => undefined, never)).toEqual(prepared);
  const { resumed } = await trainer.create({ ...options, privateSeed: "another" }, never);
  expect(resumed).toMatchObject({ round: 0, step: 3, totalTokens: result.tokens });
  const again = await trainer.trainRound(0, options.genesis, false, () => undefined, never);
  expect(again.delta).toEqual(result.delta);
});

it("never lets the vocabulary change under its embeddings", async () => {
  await trainer.prepare(prepareOptions(300), () => undefined, never);
  await expect(trainer.prepare(prepareOptions(301), () => undefined, never)).rejects.toMatchObject({
    code: "vocabulary-changed",
  });
});

it("hands over errors with their codes", async () => {
  const missing = { ...prepareOptions(300), paths: [join(directory, "nothing.txt")] };
  await expect(trainer.prepare(missing, () => undefined, never)).rejects.toMatchObject({
    code: "data-path-missing",
  });
});

it("rejects calls after it is closed instead of leaving them waiting", async () => {
  await trainer.close();
  await expect(trainer.genesis(body, "1", never)).rejects.toMatchObject({ code: "trainer-crashed" });
});
