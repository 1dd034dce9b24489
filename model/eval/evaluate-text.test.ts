// Evaluation on onnxruntime against an MPT in plain float64 loops that shares no code with the engine.
import { describe, expect, test } from "vitest";
import { blockTensorNames, bodyTensors, FINAL_NORM_NAME } from "../architecture.ts";
import { genesisBody, initialEmbedding } from "../genesis.ts";
import { Tokenizer } from "../tokenizer/tokenizer.ts";
import { trainTokenizer } from "../tokenizer/train-tokenizer.ts";
import type { ModelConfig } from "../types.ts";
import { evaluateText } from "./evaluate-text.ts";
import { createScorer } from "./scorer.ts";

const DOCUMENTS = [
  "Call me Ishmael. Some years ago, never mind how long precisely, having little or no money in my purse, and nothing particular to interest me on shore, I thought I would sail about a little.",
  "短",
  "The sea, ¡el mar!, 海. It is a way I have of driving off the spleen.",
];
const tokenizer = await trainTokenizer(DOCUMENTS, { vocabularySize: 270 });
const config: ModelConfig = { blocks: 2, width: 12, heads: 3, sequenceLength: 16, vocabularySize: 270 };
const body = genesisBody(config, 3).map((value) => value * 6);
const embedding = initialEmbedding(config, 4).map((value) => value * 12);

async function evaluate(batchSize: number, stride?: number, weights = { body, embedding }) {
  const scorer = await createScorer({ config, batchSize, ...weights, device: "cpu", threads: 1 });
  try {
    return await evaluateText(scorer, tokenizer, DOCUMENTS, { stride });
  } finally {
    await scorer.dispose();
  }
}

/** erf by its power series: exact enough where its terms are small, and beyond that erf is 1 in float64. */
function erf(x: number): number {
  if (Math.abs(x) > 5.5) return Math.sign(x);
  let term = x;
  let sum = x;
  for (let n = 1; n < 200; n++) {
    term *= -(x * x) / n;
    sum += term / (2 * n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * sum;
}

/** Nats of `next` after `context`, by the formulas of the MPT paper's code, token by token. */
function naiveNats(context: readonly number[], next: number): number {
  const { blocks, width: d, heads } = config;
  const weights = new Map<string, Float32Array>();
  let offset = 0;
  for (const { name, shape } of bodyTensors(config)) {
    const length = shape.reduce((product, size) => product * size, 1);
    weights.set(name, body.subarray(offset, offset + length));
    offset += length;
  }
  const linear = (name: string, x: number[]) => {
    const w = weights.get(name)!;
    return Array.from({ length: w.length / x.length }, (_, row) =>
      x.reduce((sum, value, column) => sum + value * w[row * x.length + column]!, 0),
    );
  };
  const norm = (name: string, x: number[]) => {
    const mean = x.reduce((sum, value) => sum + value, 0) / d;
    const variance = x.reduce((sum, value) => sum + (value - mean) ** 2, 0) / d;
    return x.map((value, at) => ((value - mean) / Math.sqrt(variance + 1e-5)) * weights.get(name)![at]!);
  };
  // ALiBi's slopes for 3 heads: every second one of 4 heads' comes last (MPT's way with heads that are no power of two).
  const powers = [1, 2, 3, 4].map((head) => 2 ** -((8 * head) / 4));
  const slopes = [powers[1]!, powers[3]!, powers[0]!];
  const size = d / heads;
  let states = context.map((id) => [...embedding.subarray(id * d, (id + 1) * d)]);
  for (let block = 0; block < blocks; block++) {
    const names = blockTensorNames(block);
    const projected = states.map((x) => linear(names.queryKeyValue, norm(names.norm1, x)));
    states = states.map((x, at) => {
      const mixed = Array.from({ length: heads }, (_, head) => {
        const part = (row: number[], role: number) =>
          row.slice(role * d + head * size, role * d + (head + 1) * size);
        const scores = projected.slice(0, at + 1).map((row, other) => {
          const product = part(projected[at]!, 0).reduce(
            (sum, q, index) => sum + q * part(row, 1)[index]!,
            0,
          );
          return Math.exp(product / Math.sqrt(size) - slopes[head]! * (at - other));
        });
        const total = scores.reduce((sum, score) => sum + score, 0);
        return Array.from({ length: size }, (_, index) =>
          scores.reduce((sum, score, other) => sum + (score / total) * part(projected[other]!, 2)[index]!, 0),
        );
      }).flat();
      const middle = linear(names.outProjection, mixed).map((value, index) => value + x[index]!);
      const up = linear(names.upProjection, norm(names.norm2, middle));
      const active = up.map((value) => (value / 2) * (1 + erf(value / Math.SQRT2)));
      return linear(names.downProjection, active).map((value, index) => value + middle[index]!);
    });
  }
  const last = norm(FINAL_NORM_NAME, states.at(-1)!);
  const logits = Array.from({ length: config.vocabularySize }, (_, id) =>
    last.reduce((sum, value, at) => sum + value * embedding[id * d + at]!, 0),
  );
  const largest = Math.max(...logits);
  return (
    Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - largest), 0)) + largest - logits[next]!
  );
}

const tokens = DOCUMENTS.flatMap((text) => [...tokenizer.encode(text), tokenizer.endOfText]);

/** Nats of all tokens, each with the context that the convention gives it. */
function naiveEvaluation(stride: number): number {
  const stream = [tokenizer.endOfText, ...tokens];
  const { sequenceLength } = config;
  const nats = tokens.map((next, position) => {
    const window = Math.max(0, Math.ceil((position + 1 - sequenceLength) / stride));
    return naiveNats(stream.slice(window * stride, position + 1), next);
  });
  return nats.reduce((sum, value) => sum + value, 0);
}

const BYTES = DOCUMENTS.reduce((sum, text) => sum + Buffer.byteLength(text), 0);

describe("evaluation of a text", () => {
  test.each([16, 5])("equals a naive model in float64 that sees windows every %i tokens", async (stride) => {
    const nats = naiveEvaluation(stride);
    // Far from what a model without weights would say, so that agreement means something.
    expect(Math.abs(nats / tokens.length - Math.log(270))).toBeGreaterThan(0.3);
    // Not a multiple of the window: the tail counts, and so does the document that is shorter than a window.
    expect(tokens.length % config.sequenceLength).not.toBe(0);
    const found = await evaluate(3, stride);
    expect(found).toMatchObject({ tokens: tokens.length, bytes: BYTES, documents: 3 });
    expect(found.natsPerToken / (nats / tokens.length)).toBeCloseTo(1, 6);
    expect(found.bitsPerByte).toBeCloseTo(nats / Math.LN2 / BYTES, 5);
    expect(found.perplexity / Math.exp(nats / tokens.length)).toBeCloseTo(1, 5);
  });

  test("does not depend on how many windows are computed at once", async () => {
    const [one, ...others] = await Promise.all([1, 2, 3, 4, 8].map((size) => evaluate(size)));
    for (const other of others) expect(other).toEqual(one);
  });

  test("is the same the next time", async () => {
    expect(await evaluate(4)).toEqual(await evaluate(4));
  });

  test("of a model that finds all tokens equally likely is log2(vocabulary) bits a token", async () => {
    const uniform = { body, embedding: new Float32Array(embedding.length) };
    const { natsPerToken, perplexity, bitsPerByte, bytes } = await evaluate(2, undefined, uniform);
    expect(natsPerToken / Math.LN2).toBeCloseTo(Math.log2(270), 6);
    expect(perplexity).toBeCloseTo(270, 3);
    expect(bitsPerByte).toBeCloseTo((Math.log2(270) * tokens.length) / bytes, 6);
  });

  test("takes the text's own token frequencies off the loss", async () => {
    const counts = Map.groupBy(tokens, (id) => id);
    const entropy = [...counts.values()].reduce((sum, { length }) => {
      return sum - (length / tokens.length) * Math.log(length / tokens.length);
    }, 0);
    const found = await evaluate(4);
    expect(found.unigramNatsPerToken).toBeCloseTo(entropy, 12);
    expect(found.normalizedNatsPerToken).toBeCloseTo(found.natsPerToken - entropy, 12);
    expect(found.normalizedPerplexity / (found.perplexity / Math.exp(entropy))).toBeCloseTo(1, 9);
  });

  test("counts the bytes of the text, also where the tokenizer normalises them away", async () => {
    const definition = JSON.parse(tokenizer.toJson());
    const normalising = Tokenizer.fromJson(JSON.stringify({ ...definition, normalizer: { type: "NFC" } }));
    const scorer = await createScorer({ config, batchSize: 1, body, embedding, device: "cpu", threads: 1 });
    const { bytes } = await evaluateText(scorer, normalising, ["e\u0301"]);
    await scorer.dispose();
    expect(bytes).toBe(3);
  });

  test("of no text, or when told to stop, is refused", async () => {
    const scorer = await createScorer({ config, batchSize: 1, body, embedding, device: "cpu", threads: 1 });
    await expect(evaluateText(scorer, tokenizer, [])).rejects.toThrow(RangeError);
    const reason = new Error("stop");
    const stopped = evaluateText(scorer, tokenizer, DOCUMENTS, { signal: AbortSignal.abort(reason) });
    await expect(stopped).rejects.toBe(reason);
    await scorer.dispose();
  });
});
