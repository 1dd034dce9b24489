import { describe, expect, it } from "vitest";
import { bodyTensors } from "#model/architecture.ts";
import { codecFor } from "#protocol/core/codec/registry.ts";
import { parameterLayout } from "#protocol/core/layout.ts";
import { presets } from "#protocol/core/presets.ts";
import { parseRunConfig, type RunConfigInput } from "#protocol/core/run-config.ts";
import { sha256 } from "#protocol/net/hash.ts";
import { seededRandom } from "#protocol/simulation/random.ts";
import { withChosenCodec } from "./automatic-codec.ts";

const chosen = (input: RunConfigInput) => {
  const { config, reason } = withChosenCodec(input);
  return { averaging: parseRunConfig(config).averaging, reason };
};

describe("the codec of a run that names none", () => {
  it("is topk; more of the mean is then applied, and old residuals fade", () => {
    const { averaging, reason } = chosen({ training: { rounds: 60 } });
    expect(averaging).toMatchObject({
      ...{ codec: "topk", topK: 62, outerLearningRate: 12, errorFeedbackDecay: 0.95 },
    });
    expect(reason).toMatch(/k 62, 20[01] times smaller .* 60 rounds of 25 steps/);
  });

  it.each([
    [120, 10, 62, 12],
    [50, 25, 62, 12],
    [50, 30, 62, 10],
    [12, 25, 267, 12],
    [50, 100, 256, 3],
    [120, 100, 256, 3],
    [25, 100, 512, 3],
    [50, 32, 82, 9.375],
    [10, 250, 640, 3],
    [10, 500, 640, 3],
  ])(
    "in %i rounds of %i steps keeps %i of 4,096 and applies %d times the mean",
    (rounds, localSteps, topK, outerLearningRate) => {
      expect(chosen({ training: { rounds, localSteps } }).averaging).toMatchObject({
        topK,
        outerLearningRate,
      });
    },
  );

  it("is dense where a run is very short or shares its embedding, and says which", () => {
    expect(chosen({ training: { rounds: 9 } })).toMatchObject({
      averaging: { codec: "int4", outerLearningRate: 1, errorFeedbackDecay: 1 },
      reason: expect.stringMatching(/9 rounds are too few/),
    });
    const vocabulary = { tokenizer: "0".repeat(64), size: 300 };
    expect(chosen({ ...presets.small.config, variant: "trim", vocabulary })).toMatchObject({
      averaging: { codec: "int4", outerLearningRate: 1 },
      reason: expect.stringMatching(/variant trim/),
    });
  });

  it.each([
    [2, 64],
    [4, 128],
    [6, 384],
  ])(
    "makes updates of %i blocks of width %i 200 times smaller than float32, and hardly more",
    (blocks, width) => {
      const { averaging } = chosen({ model: { blocks, width, heads: 4 }, training: { rounds: 60 } });
      const layout = parameterLayout(bodyTensors({ blocks, width, heads: 4 }), sha256);
      const random = seededRandom(1);
      const values = Float32Array.from(
        { length: layout.total },
        () => 1e-3 * (random() + random() + random() - 1.5),
      );
      const ratio = (4 * layout.total) / codecFor(averaging).encode(values, layout).length;
      expect(ratio).toBeGreaterThan(199);
      expect(ratio).toBeLessThan(averaging.topK === 64 ? 220 : 207);
    },
  );

  it("leaves alone what a person says", () => {
    expect(chosen({ training: { rounds: 60 }, averaging: { codec: "int8" } })).toMatchObject({
      averaging: { codec: "int8", outerLearningRate: 1 },
      reason: undefined,
    });
    const averaging = { codec: "auto", topK: 32, errorFeedbackDecay: 1, quorum: 1 };
    const input = { training: { rounds: 60 }, averaging };
    expect(chosen(input as unknown as RunConfigInput).averaging).toMatchObject({
      ...{ codec: "topk", topK: 32, outerLearningRate: 12, errorFeedbackDecay: 1, quorum: 1 },
    });
  });

  it("leaves it to the configuration to refuse what else is wrong", () => {
    expect(() => chosen({ model: { width: 10, heads: 4 } })).toThrow(/model\.width/);
  });
});
