import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { randomWeights } from "../testing/random-weights.ts";
import { referenceLogits } from "../testing/reference-logits.ts";
import { Decoder, type DecoderStep } from "./decoder.ts";
import { type GenerationEnd, type GenerationOptions, generateTokens } from "./generate.ts";
import { likeliestToken } from "./sampling.ts";

const config = { blocks: 2, width: 12, heads: 3, sequenceLength: 8, vocabularySize: 29 };
const weights = randomWeights(config, "generate");
const prompt = [3, 17, 5];
const sampling = {
  temperature: 1.2,
  topK: 0,
  topP: 1,
  maxTokens: 20,
  seed: "1",
  endOfText: -1,
  vocabularySize: 29,
};

describe("generating", () => {
  let decoder: Decoder;
  let start: DecoderStep;
  beforeAll(async () => {
    decoder = await Decoder.create({ config, ...weights, threads: 1 });
    start = await decoder.read(prompt);
  });
  afterAll(() => decoder.dispose());

  async function generate(options: Partial<GenerationOptions> = {}, signal = new AbortController().signal) {
    const source = generateTokens(decoder, start, { ...sampling, ...options }, signal);
    const tokens: number[] = [];
    for (;;) {
      const next = await source.next();
      if (next.done) return { tokens, end: next.value as GenerationEnd };
      tokens.push(next.value);
    }
  }

  it("takes at temperature 0 what the training graph finds likeliest, well beyond the trained length", async () => {
    const { tokens, end } = await generate({ temperature: 0 });
    const text = [...prompt];
    for (const token of tokens) {
      const last = referenceLogits(config, weights, text).subarray(-config.vocabularySize);
      expect(token).toBe(likeliestToken(Float32Array.from(last)));
      text.push(token);
    }
    expect([tokens.length, end]).toEqual([20, "max-tokens"]);
  });

  it("gives the same tokens for the same seed and others for another, from one reading of the prompt", async () => {
    const [first, again, other] = [await generate(), await generate(), await generate({ seed: "2" })];
    expect(again).toEqual(first);
    expect(other.tokens).not.toEqual(first.tokens);
    expect(new Set(first.tokens).size).toBeGreaterThan(3);
  });

  it("ends before the token that ends a text", async () => {
    const { tokens } = await generate();
    const endOfText = tokens[7]!;
    const ended = await generate({ endOfText });
    expect(ended).toEqual({ tokens: tokens.slice(0, tokens.indexOf(endOfText)), end: "end-of-text" });
  });

  it("never draws an id that no token has", async () => {
    const { tokens } = await generate({ temperature: 100, vocabularySize: 5, maxTokens: 200 });
    expect(new Set(tokens)).toEqual(new Set([0, 1, 2, 3, 4]));
  });

  it("stops when it is told to", async () => {
    const controller = new AbortController();
    controller.abort(new Error("enough"));
    await expect(generate({}, controller.signal)).rejects.toThrow("enough");
  });
});
