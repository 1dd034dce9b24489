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
  it("is topk where there are rounds enough; more of the mean is then applied, and old residuals fade", () => {
    const { averaging, reason } = chosen(presets.small.config);
    expect(averaging).toMatchObject({
      ...{ codec: "topk", topK: 64, outerLearningRate: 12, errorFeedbackDecay: 0.95 },
    });
    expect(reason).toMatch(/50 rounds are enough/);
  });

  it("is dense where a run is short or shares its embedding, and says which", () => {
    expect(chosen(presets.tiny.config)).toMatchObject({
      averaging: { codec: "int4", outerLearningRate: 1, errorFeedbackDecay: 1 },
      reason: expect.stringMatching(/12 rounds are too few/),
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
