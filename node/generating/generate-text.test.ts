import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { genesisBody, initialEmbedding } from "#model/genesis.ts";
import { Decoder } from "#model/inference/decoder.ts";
import { byteTokenizerJson } from "#model/testing/byte-tokenizer.ts";
import { Tokenizer } from "#model/tokenizer/tokenizer.ts";
import { createTrainingModel } from "#model/training-model.ts";
import { generateText, type TextOptions } from "./generate-text.ts";

/** Characters of one, two, three and four bytes, each a token of its own: none may be seen in parts. */
const VERSE = "né à 诗🎉 ";
const config = { blocks: 1, width: 32, heads: 2, sequenceLength: 24, vocabularySize: 257 };
const tokenizer = Tokenizer.fromJson(byteTokenizerJson());
const never = new AbortController().signal;
const greedy = { samples: 1, stop: [], temperature: 0, topK: 0, topP: 1, seed: "1", maxTokens: 30 };

describe("text from a model that knows one verse by heart", () => {
  let decoder: Decoder;
  beforeAll(async () => {
    const ids = Int32Array.from(tokenizer.encode(VERSE.repeat(20)));
    const optimizer = { learningRate: 0.01, beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0 };
    const model = await createTrainingModel({
      config,
      optimizer: {
        ...optimizer,
        gradientClip: 1,
        warmupSteps: 5,
        totalSteps: 150,
        finalLearningRateRatio: 0.1,
      },
      batchSize: 4,
      device: "cpu",
      threads: 1,
      body: genesisBody(config, "verse"),
      embedding: initialEmbedding(config, "verse"),
    });
    for (let step = 0; step < 150; step++) {
      const rows = (shift: number) =>
        Int32Array.from([0, 5, 10, 15].flatMap((row) => [...ids.subarray(row + shift, row + shift + 24)]));
      await model.trainStep({ inputs: rows(0), targets: rows(1), batchSize: 4, sequenceLength: 24 }, step);
    }
    const { body, embedding } = await model.readState();
    await model.dispose();
    decoder = await Decoder.create({ config, body, embedding, threads: 1 });
  });
  afterAll(() => decoder.dispose());

  async function generate(options: Partial<TextOptions>) {
    const pieces: { piece: string; sample: number }[] = [];
    const generation = await generateText(
      { decoder, tokenizer },
      { ...greedy, prompt: "né ", ...options },
      { onText: (piece, sample) => pieces.push({ piece, sample }) },
      never,
    );
    return { generation, pieces };
  }

  it("comes character by character, never in parts of one", async () => {
    const { generation, pieces } = await generate({ maxTokens: 30 });
    const [sample] = generation.samples;
    expect(sample!.text).toBe("à 诗🎉 né à 诗🎉 né ");
    expect(sample!.tokens).toEqual([...tokenizer.encode(sample!.text)]);
    expect(pieces.map(({ piece }) => piece)).toEqual([...sample!.text]);
  });

  it("leaves out a character that the last token cuts in two", async () => {
    const { generation, pieces } = await generate({ maxTokens: 9 });
    expect(generation.samples[0]).toMatchObject({ text: "à 诗", end: "max-tokens" });
    expect(generation.samples[0]!.tokens).toHaveLength(9);
    expect(pieces.map(({ piece }) => piece).join("")).toBe("à 诗");
  });

  it("ends before a stop string, of which nothing is shown", async () => {
    const { generation, pieces } = await generate({ stop: ["诗🎉 n", "never"] });
    expect(generation.samples[0]).toMatchObject({ text: "à ", end: "stop" });
    expect(pieces.map(({ piece }) => piece)).toEqual(["à", " "]);
  });

  it("comes sample by sample, each of its own and the same again for the same seed", async () => {
    const options = { samples: 3, temperature: 3, seed: "7" };
    const { generation, pieces } = await generate(options);
    expect(new Set(generation.samples.map(({ text }) => text)).size).toBe(3);
    generation.samples.forEach(({ text }, at) => {
      expect(pieces.flatMap(({ piece, sample }) => (sample === at ? [piece] : [])).join("")).toBe(text);
    });
    expect(pieces.map(({ sample }) => sample)).toEqual(pieces.map(({ sample }) => sample).toSorted());
    expect((await generate(options)).generation.samples).toEqual(generation.samples);
    expect((await generate({ ...options, seed: "8" })).generation.samples).not.toEqual(generation.samples);
  });

  it("begins behind the end of another text where there is no prompt", async () => {
    const { generation } = await generate({ prompt: "" });
    expect(generation.promptTokens).toEqual([tokenizer.endOfText]);
    expect(generation.samples[0]!.tokens.length).toBeGreaterThan(0);
  });
});
