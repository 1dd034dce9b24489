import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ModelFolderNotEmptyError } from "#model/checkpoint/hugging-face/errors.ts";
import { CACHE_PARTS, decoderNames } from "#model/inference/decoder-graph.ts";
import { createSession, hostData, hostTensor } from "#model/runtime/session.ts";
import { byteTokenizerJson } from "#model/testing/byte-tokenizer.ts";
import { randomWeights } from "#model/testing/random-weights.ts";
import { referenceLogits } from "#model/testing/reference-logits.ts";
import { Tokenizer } from "#model/tokenizer/tokenizer.ts";
import { type LoadedModel, loadModel } from "../models/load-model.ts";
import { exportModel } from "./export-model.ts";

const config = { blocks: 2, width: 12, heads: 3, sequenceLength: 16, vocabularySize: 257 };
const tokenizerJson = byteTokenizerJson();
const model: LoadedModel = {
  config,
  ...randomWeights(config, "export"),
  tokenizer: Tokenizer.fromJson(tokenizerJson),
  tokenizerJson,
  source: {
    kind: "peer",
    path: "/home/somebody/.glossa/secret",
    description: "peer in /home/somebody/.glossa/secret",
    runId: "ab".repeat(32),
    runName: "babel",
    round: 12,
    learningRate: 0.002,
  },
};
const { signal } = new AbortController();
const tokens = [72, 102, 109, 109, 112, 33, 200, 3];

let parent = "";
let folder = "";
beforeEach(async () => {
  parent = await mkdtemp(join(tmpdir(), "glossa-export-"));
  folder = join(parent, "model");
});
afterEach(() => rm(parent, { recursive: true }));

/** All logits of `tokens`, from the exported file as onnxruntime opens it. */
async function logitsOf(path: string): Promise<Float32Array> {
  const session = await createSession(path, { device: "cpu", threads: 1 });
  const past = Array.from({ length: config.blocks }, (_, block) =>
    CACHE_PARTS.map((part) => [
      decoderNames.past(block, part),
      hostTensor(new Float32Array(0), [1, 3, 0, 4]),
    ]),
  );
  const feeds = {
    [decoderNames.inputIds]: hostTensor(BigInt64Array.from(tokens, BigInt), [1, tokens.length]),
    [decoderNames.attentionMask]: hostTensor(new BigInt64Array(tokens.length).fill(1n), [1, tokens.length]),
    ...Object.fromEntries(past.flat()),
  };
  const { logits } = await session.run(feeds, { [decoderNames.logits]: null });
  await session.dispose();
  return hostData(logits!);
}

const filesIn = async (path: string) => (await readdir(path, { recursive: true })).sort();

describe("an exported model", () => {
  it("as hf is the model itself, with what may be told of where it is from", async () => {
    await exportModel(model, folder, { format: "hf", force: false }, signal);
    const read = await loadModel(folder, { signal });
    expect([read.config, read.body, read.embedding]).toEqual([config, model.body, model.embedding]);
    expect(read.tokenizerJson).toBe(tokenizerJson);
    expect(read.source.learningRate).toBe(0.002);
    const texts = ["config.json", "glossa.json", "tokenizer_config.json"].map((name) =>
      readFile(join(folder, name), "utf8"),
    );
    const told = (await Promise.all(texts)).join("");
    expect(told).toContain('"runName": "babel"');
    expect(told).not.toContain("somebody");
  });

  it.each([
    { limit: undefined, files: [], bytes: 0 },
    // The embedding has 12,336 bytes and passes the bound alone; a block has 6,912 + 96.
    {
      limit: 10_000,
      files: ["model.onnx_data", "model.onnx_data_1", "model.onnx_data_2"],
      bytes: 4 * (model.body.length + model.embedding.length),
    },
  ])(
    "as onnx gives the training graph's logits, with $files.length files beside it",
    async ({ limit, files, bytes }) => {
      const options = { format: "onnx", force: false, ...(limit && { largestFileBytes: limit }) } as const;
      await exportModel(model, folder, options, signal);
      const onnx = join(folder, "onnx");
      expect(await filesIn(onnx)).toEqual(["model.onnx", ...files]);
      const sizes = await Promise.all(files.map(async (name) => (await stat(join(onnx, name))).size));
      expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(bytes);
      const { "transformers.js_config": client } = JSON.parse(
        await readFile(join(folder, "config.json"), "utf8"),
      );
      expect(client).toEqual({
        dtype: "fp32",
        ...(files.length > 0 && { use_external_data_format: { "model.onnx": files.length } }),
      });

      const [actual, expected] = [
        await logitsOf(join(onnx, "model.onnx")),
        referenceLogits(config, model, tokens),
      ];
      const scale = Math.max(...expected.map(Math.abs));
      expect(actual.length).toBe(expected.length);
      expect(Math.max(...expected.map((value, at) => Math.abs(value - actual[at]!))) / scale).toBeLessThan(
        1e-5,
      );
    },
  );

  it("replaces another only by force, and then wholly", async () => {
    await exportModel(model, folder, { format: "onnx", force: false, largestFileBytes: 10_000 }, signal);
    await writeFile(join(folder, "onnx", "mine.txt"), "mine");
    for (const format of ["hf", "onnx"] as const) {
      await expect(exportModel(model, folder, { format, force: false }, signal)).rejects.toThrow(
        ModelFolderNotEmptyError,
      );
    }
    await exportModel(model, folder, { format: "onnx", force: true }, signal);
    expect(await filesIn(join(folder, "onnx"))).toEqual(["mine.txt", "model.onnx"]);
    expect(await readFile(join(folder, "config.json"), "utf8")).not.toContain("use_external_data_format");
    // In the other format: weights that are no longer the model's must not be found beside it.
    await exportModel(model, folder, { format: "hf", force: true }, signal);
    expect(await filesIn(join(folder, "onnx"))).toEqual(["mine.txt"]);
    await exportModel(model, folder, { format: "onnx", force: true }, signal);
    expect(await readdir(folder)).not.toContain("model.safetensors");
    await expect(loadModel(folder, { signal })).rejects.toThrow(/as ONNX, for clients only; give the folder/);
  });
});
