import { describe, expect, it } from "vitest";
import {
  bodyLength,
  bodyTensors,
  embeddingLength,
  embeddingTensors,
  sharedTensors,
  validateModelConfig,
} from "./architecture.ts";
import { ModelConfigError } from "./errors.ts";
import type { ModelConfig } from "./types.ts";

const config: ModelConfig = { blocks: 2, width: 6, heads: 3, sequenceLength: 5, vocabularySize: 11 };

describe("the architecture", () => {
  it("names tensors, and shapes and orders them, as Hugging Face's MPT state dict does", () => {
    expect(bodyTensors({ ...config, blocks: 1 })).toEqual([
      { name: "transformer.blocks.0.norm_1.weight", shape: [6] },
      { name: "transformer.blocks.0.attn.Wqkv.weight", shape: [18, 6] },
      { name: "transformer.blocks.0.attn.out_proj.weight", shape: [6, 6] },
      { name: "transformer.blocks.0.norm_2.weight", shape: [6] },
      { name: "transformer.blocks.0.ffn.up_proj.weight", shape: [24, 6] },
      { name: "transformer.blocks.0.ffn.down_proj.weight", shape: [6, 24] },
      { name: "transformer.norm_f.weight", shape: [6] },
    ]);
    expect(embeddingTensors(config)).toEqual([{ name: "transformer.wte.weight", shape: [11, 6] }]);
  });

  it("counts 12 d^2 + 2 d values per block and d for the last norm", () => {
    expect(bodyLength(config)).toBe(2 * (12 * 36 + 2 * 6) + 6);
    expect(embeddingLength(config)).toBe(66);
  });

  it("has no vocabulary axis in the body", () => {
    expect(bodyTensors({ ...config, vocabularySize: 977 } as ModelConfig)).toEqual(bodyTensors(config));
  });

  it("puts shared embedding rows behind the body, and none where none are shared", () => {
    expect(sharedTensors(config, undefined)).toEqual(bodyTensors(config));
    expect(sharedTensors(config, 977)).toEqual([
      ...bodyTensors(config),
      { name: "transformer.wte.weight", shape: [977, 6] },
    ]);
  });

  it.each([
    ["heads", { heads: 4 }],
    ["blocks", { blocks: 0 }],
    ["width", { width: 6.5 }],
    ["sequenceLength", { sequenceLength: Number.NaN }],
    ["vocabularySize", { vocabularySize: 1 }],
  ] as const)("refuses a bad value of %s and names the field", (field, change) => {
    expect(() => validateModelConfig(config)).not.toThrow();
    const attempt = () => validateModelConfig({ ...config, ...change });
    expect(attempt).toThrow(ModelConfigError);
    expect(attempt).toThrow(expect.objectContaining({ field, code: "MODEL_CONFIG_INVALID" }));
  });
});
