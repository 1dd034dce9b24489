import { describe, expect, it } from "vitest";
import { embeddingTensors } from "#model/architecture.ts";
import { float32Codec } from "#protocol/core/codec/float32.ts";
import { HEADER_BYTES } from "#protocol/core/codec/header.ts";
import { compressUpdate } from "#protocol/core/error-feedback.ts";
import { parameterLayout } from "#protocol/core/layout.ts";
import { encodeRows } from "#protocol/core/rows.ts";
import { parseRunConfig, type Variant } from "#protocol/core/run-config.ts";
import { updateCodec } from "#protocol/core/update-codec.ts";
import { sha256 } from "#protocol/net/hash.ts";
import { sharedTensorsOf } from "../variants.ts";
import { type CostOptions, costsOf } from "./costs.ts";

/** The paper's nominal sizes: a body is what is left of a model's round number without its embedding. N_local is 500. */
const setting = (modelParameters: number, width: number, vocabularySize: number) => ({
  ...{ width, vocabularySize, localSteps: 500 },
  bodyParameters: modelParameters - vocabularySize * width,
});

// Tables 2 and 9.
const settings = {
  "mC4, 12 blocks": setting(278e6, 768, 250_112),
  "mC4, 24 blocks": setting(1.71e9, 2048, 250_112),
  "Pile, 12 blocks": setting(125e6, 768, 50_257),
  "Pile, 24 blocks": setting(350e6, 1024, 50_257),
};
const meanRows = { "mC4, 12 blocks": 216_135, "Pile, 12 blocks": 45_554, "Pile, 24 blocks": 45_554 };

/** Setting, method, |V_k|, embedding, model per worker, parameters a step (all millions), factor: as printed. */
const cells: [keyof typeof settings, Variant | "std", number, number, number, number, number][] = [
  ["mC4, 12 blocks", "std", 250_112, 192, 278, 278, 1],
  ["mC4, 12 blocks", "glob", 250_112, 192, 278, 0.56, 500],
  ["mC4, 12 blocks", "trim", meanRows["mC4, 12 blocks"], 166, 252, 0.5, 552],
  ["mC4, 12 blocks", "spec", meanRows["mC4, 12 blocks"], 166, 252, 0.17, 1618],
  ["mC4, 12 blocks", "spec-opt", 50_257, 38.6, 125, 0.17, 1618],
  ["mC4, 24 blocks", "std", 250_112, 512.2, 1710, 1710, 1],
  ["mC4, 24 blocks", "spec-opt", 50_257, 102.9, 1300, 2.4, 714],
  ["Pile, 12 blocks", "std", 50_257, 38.6, 125, 125, 1],
  ["Pile, 12 blocks", "glob", 50_257, 38.6, 125, 0.25, 500],
  ["Pile, 12 blocks", "trim", meanRows["Pile, 12 blocks"], 35, 121, 0.24, 515],
  ["Pile, 12 blocks", "spec", meanRows["Pile, 12 blocks"], 35, 121, 0.17, 723],
  ["Pile, 24 blocks", "std", 50_257, 51.4, 350, 350, 1],
  ["Pile, 24 blocks", "glob", 50_257, 51.4, 350, 0.7, 500],
  ["Pile, 24 blocks", "trim", meanRows["Pile, 24 blocks"], 46.6, 345.2, 0.69, 507],
  ["Pile, 24 blocks", "spec", meanRows["Pile, 24 blocks"], 46.6, 345.2, 0.6, 586],
];

describe("the costs of a variant", () => {
  it.each(cells)("are the paper's: %s, %s", (setting, variant, heldRows, embedding, model, sent, factor) => {
    const costs = costsOf({ ...settings[setting], variant, heldRows });
    // Each within the last digit that is printed.
    const within = (printed: number) => (Number.isInteger(printed) ? 1 : 0.1);
    expect(Math.abs(costs.embeddingParameters / 1e6 - embedding)).toBeLessThan(within(embedding));
    expect(Math.abs(costs.modelParameters / 1e6 / model - 1)).toBeLessThan(0.005);
    expect(Math.abs(costs.sentParametersPerStep / 1e6 / sent - 1)).toBeLessThan(sent < 1 ? 0.03 : 0.005);
    expect(Math.abs(costs.factor - factor)).toBeLessThan(0.7);
    expect(costs.sentBytesPerStep).toBe(4 * costs.sentParametersPerStep);
  });

  it("save as much memory as the paper says", () => {
    const share = (setting: keyof typeof settings, variant: Variant, heldRows: number) =>
      costsOf({ ...settings[setting], variant, heldRows }).memoryShare;
    expect(share("mC4, 12 blocks", "trim", 216_135)).toBeCloseTo(0.906, 2);
    expect(share("mC4, 12 blocks", "spec-opt", 50_257)).toBeCloseTo(0.45, 2);
    expect(share("mC4, 24 blocks", "spec-opt", 50_257)).toBeCloseTo(0.76, 2);
    const embedding = (vocabularySize: number, heldRows: number) => {
      const options: CostOptions = {
        ...settings["mC4, 24 blocks"],
        variant: "spec-opt",
        heldRows,
        vocabularySize,
      };
      return (vocabularySize * options.width) / costsOf(options).embeddingParameters;
    };
    // DM Mathematics of the Pile; spec-opt's own 50,257 tokens instead of 250,112.
    expect(embedding(50_257, 11_090)).toBeCloseTo(4.53, 2);
    expect(embedding(250_112, 50_257)).toBeCloseTo(4.98, 2);
  });
});

describe("a real update of", () => {
  const model = { blocks: 2, width: 16, heads: 2, sequenceLength: 16 };
  const vocabularySize = 300;
  const rows = Int32Array.from({ length: vocabularySize }, (_, id) => id).filter((id) => id % 3 !== 1);

  it.each(["glob", "trim", "spec", "spec-opt"] as const)(
    "%s has the bytes that the formula says, its header and its set of rows",
    (variant) => {
      const run = parseRunConfig({
        variant,
        model,
        averaging: { codec: "float32" },
        ...(variant !== "spec-opt" && { vocabulary: { tokenizer: "0".repeat(64), size: vocabularySize } }),
      });
      const layout = parameterLayout(sharedTensorsOf(run), sha256);
      const codec = updateCodec(run, layout);
      const embeddingValues =
        embeddingTensors({ width: model.width, vocabularySize })[0]!.shape[0]! * model.width;
      const bodyParameters =
        variant === "glob" || variant === "trim" ? layout.total - embeddingValues : layout.total;
      const delta = Float32Array.from({ length: layout.total }, (_, at) => Math.sin(at) / 100);
      const heldRows = variant === "trim" ? rows : undefined;
      const { payload } = compressUpdate(delta, new Float32Array(layout.total), codec, { heldRows });
      const { sentParameters, sentBytesPerStep } = costsOf({
        ...{ variant, bodyParameters, width: model.width, vocabularySize, heldRows: rows.length },
        localSteps: run.training.localSteps,
      });
      // The rows, as they are spelled, and their length: SPEC.md's form of an update.
      const overhead = HEADER_BYTES + (variant === "trim" ? encodeRows(rows, vocabularySize).length + 4 : 0);
      expect(payload.length).toBe(4 * sentParameters + overhead);
      expect(payload.length - overhead).toBe(sentBytesPerStep * run.training.localSteps);
      expect(float32Codec.maxPayloadBytes(layout)).toBeGreaterThanOrEqual(payload.length - overhead);
    },
  );
});
