import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { RunConfigError } from "../errors.ts";
import { vectors } from "./golden/vectors.ts";
import { presetNames, presets } from "./presets.ts";
import {
  parseRunConfig,
  runConfigSchema,
  sharesEmbedding,
  tokensPerRound,
  totalSteps,
  updateWeight,
} from "./run-config.ts";

const spec = readFileSync(new URL("../SPEC.md", import.meta.url), "utf8");

const hash = "ab".repeat(32);
const vocabulary = { tokenizer: hash, size: 50_257 };

describe("a run configuration", () => {
  it.each([
    [{ variant: "spec-opt" }, false],
    [{ variant: "spec", vocabulary }, false],
    [{ variant: "trim", vocabulary }, true],
    [{ variant: "glob", vocabulary, initialBody: hash }, true],
  ] as const)("%o is one, and shares the embedding: %s", (input, shares) => {
    const config = parseRunConfig(input);
    expect(config).toMatchObject(input);
    expect(sharesEmbedding(config)).toBe(shares);
  });

  it("is complete from nothing, with the paper's optimizer", () => {
    const config = parseRunConfig({});
    expect(config.training).toMatchObject({
      beta1: 0.9,
      beta2: 0.95,
      epsilon: 1e-8,
      weightDecay: 0,
      gradientClip: 1,
      finalLearningRateRatio: 0.1,
    });
    expect(parseRunConfig(config)).toEqual(config);
  });

  /** Every leaf of the schema by its dotted path. */
  const fields: [string, z.core.JSONSchema.BaseSchema][] = [];
  const walk = (schema: z.core.JSONSchema.BaseSchema, path: string): void => {
    for (const [name, field] of Object.entries(schema.properties ?? {})) {
      const inner = field as z.core.JSONSchema.BaseSchema;
      if (inner.properties === undefined) fields.push([`${path}${name}`, inner]);
      else walk(inner, `${path}${name}.`);
    }
  };
  walk(z.toJSONSchema(runConfigSchema, { io: "input" }), "");

  it.each(fields)("describes %s, so that help needs no second list", (_, field) => {
    expect(field.description).toMatch(/\w{3}/);
  });

  it.each(fields)("gives %s the default that SPEC.md says", (path, field) => {
    const row = spec.split("\n").find((line) => line.startsWith(`| \`${path}\` |`));
    const cell = row?.split("|")[3]?.trim().replaceAll("`", "").replaceAll(",", "");
    expect(cell).toBe(String(field.default ?? "none"));
  });

  it.each([
    ["an unknown field", { model: { layers: 3 } }, "model"],
    ["an unknown section", { optimiser: {} }, "(whole)"],
    ["a width that heads do not divide", { model: { width: 100, heads: 3 } }, "model.width"],
    [
      "a warm-up longer than the run",
      { training: { rounds: 1, localSteps: 5, warmupSteps: 6 } },
      "training.warmupSteps",
    ],
    ["half a block", { model: { blocks: 1.5 } }, "model.blocks"],
    ["no steps in a round", { training: { localSteps: 0 } }, "training.localSteps"],
    ["an infinite rate", { training: { learningRate: Number.POSITIVE_INFINITY } }, "training.learningRate"],
    ["a codec nobody has", { averaging: { codec: "zip" } }, "averaging.codec"],
    ["a k for a codec that has none", { averaging: { codec: "int8", topK: 128 } }, "averaging.topK"],
    ["a k that keeps nearly everything", { averaging: { codec: "topk", topK: 1025 } }, "averaging.topK"],
    [
      "a sparse codec that forgets what it drops",
      { averaging: { codec: "topk", errorFeedbackDecay: 0 } },
      "averaging.errorFeedbackDecay",
    ],
    [
      "an outer learning rate off its grid",
      { averaging: { outerLearningRate: 1.01 } },
      "averaging.outerLearningRate",
    ],
    [
      "an outer learning rate for embeddings",
      { variant: "glob", vocabulary, averaging: { outerLearningRate: 2 } },
      "averaging.outerLearningRate",
    ],
    ["unequal steps that weigh the same", { averaging: { pacing: "on" } }, "averaging.pacing"],
    ["a quorum above one", { averaging: { quorum: 1.1 } }, "averaging.quorum"],
    ["a seed beyond 32 bits", { seed: 2 ** 32 }, "seed"],
    ["a name with control characters", { name: "a\u001b[31m" }, "name"],
    ["text for a number", { seed: "1" }, "seed"],
    ["a variant nobody has", { variant: "act" }, "variant"],
    ["a common tokenizer where each peer has its own", { variant: "spec-opt", vocabulary }, "vocabulary"],
    ["no tokenizer where it is common", { variant: "spec" }, "vocabulary"],
    ["rows of no tokenizer", { variant: "trim" }, "vocabulary"],
    ["an embedding of no tokenizer", { variant: "glob" }, "vocabulary"],
    ["a tokenizer without a size", { variant: "glob", vocabulary: { tokenizer: hash } }, "vocabulary.size"],
    [
      "a tokenizer that is not named by a hash",
      { variant: "glob", vocabulary: { ...vocabulary, tokenizer: "gpt2" } },
      "vocabulary.tokenizer",
    ],
    ["a first body that is not named by a root", { initialBody: hash.toUpperCase() }, "initialBody"],
    ["nothing at all", null, "(whole)"],
  ])("refuses %s and names the field", (_, input, field) => {
    let thrown: unknown;
    try {
      parseRunConfig(input);
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(RunConfigError);
    expect((thrown as RunConfigError).problems.map((problem) => problem.field)).toContain(field);
    expect((thrown as RunConfigError).message).toContain(field);
  });

  it("lists all problems at once", () => {
    expect(() => parseRunConfig({ seed: -1, averaging: { quorum: 2 } })).toThrow(/seed.*quorum/);
  });
});

describe("presets", () => {
  it.each(presetNames)("%s is a valid configuration", (name) => {
    expect(() => parseRunConfig(presets[name].config)).not.toThrow();
  });

  it.each([
    ["12-block", 12, 768, 6e-4, 5000],
    ["24-block", 24, 1024, 3e-4, 13500],
    ["24-block-1b", 24, 2048, 2e-4, 7000],
  ] as const)(
    "%s is the paper's size, rate and number of steps",
    (name, blocks, width, learningRate, steps) => {
      const config = parseRunConfig(presets[name].config);
      expect(config.model).toMatchObject({ blocks, width, sequenceLength: 2048 });
      expect(config.training).toMatchObject({ localSteps: 500, learningRate });
      expect(totalSteps(config)).toBe(steps);
    },
  );
});

describe("an update's weight", () => {
  const tokens = parseRunConfig({ averaging: { weighting: "tokens" } });
  const full = tokensPerRound(tokens);

  it("is the same for everybody by default", () => {
    const uniform = parseRunConfig({});
    const weights = [0, 1, full, full * 1000].map((count) => updateWeight(uniform, { tokens: count }));
    expect(weights).toEqual([4, 4, 4, 4]);
    const plain = parseRunConfig({ averaging: { newcomerRounds: 0 } });
    expect(updateWeight(plain, { tokens: 5 })).toBe(1);
  });

  it("is 256 for a full round and follows the tokens in whole steps", () => {
    expect(full).toBe(16 * 128 * 25);
    expect(
      [full, full / 2, full * 2, full / 256].map((count) => updateWeight(tokens, { tokens: count })),
    ).toEqual([256, 128, 512, 1]);
  });

  it.each([
    [0, 1],
    [-5, 1],
    [Number.NaN, 1],
    [Number.MAX_SAFE_INTEGER, 2047],
    [Number.POSITIVE_INFINITY, 2047],
  ])("stays within 1 and 2,047 when a peer announces %s tokens", (count, weight) => {
    expect(updateWeight(tokens, { tokens: count })).toBe(weight);
  });

  it.each([
    ["uniform", undefined, [1, 2, 3, 4]],
    ["tokens", undefined, [64, 128, 192, 256]],
    ["uniform", 0, [1, 1, 1, 1]],
    ["tokens", 0, [256, 256, 256, 256]],
    ["uniform", 16, [13, 14, 15, 16]],
  ] as const)(
    "of a newcomer grows with each of its updates (%s, %s)",
    (weighting, newcomerRounds, weights) => {
      const config = parseRunConfig({ averaging: { weighting, newcomerRounds } });
      const said = [3, 2, 1, undefined].map((probation) => ({ tokens: full, probation }));
      expect(said.map((announcement) => updateWeight(config, announcement))).toEqual(weights);
    },
  );

  it("is never more than that of the others, whatever a newcomer says, and never nothing", () => {
    fc.assert(
      fc.property(
        fc.constantFrom("uniform", "tokens"),
        fc.nat(16),
        fc.oneof(fc.integer(), fc.double()),
        fc.nat(2 * full),
        (weighting, newcomerRounds, probation, count) => {
          const config = parseRunConfig({ averaging: { weighting, newcomerRounds } });
          const weight = updateWeight(config, { tokens: count, probation });
          expect(Number.isInteger(weight)).toBe(true);
          expect(weight).toBeGreaterThanOrEqual(1);
          expect(weight).toBeLessThanOrEqual(updateWeight(config, { tokens: count }));
        },
      ),
    );
  });

  it("is that of an independent implementation", () => {
    for (const [weighting, newcomerRounds, count, probation, weight] of vectors.weights as Weight[]) {
      const config = parseRunConfig({ averaging: { weighting, newcomerRounds } });
      expect([count, probation, updateWeight(config, { tokens: count, probation })]).toEqual([
        ...[count, probation, weight],
      ]);
    }
  });
});

type Weight = ["uniform" | "tokens", number, number, number, number];
