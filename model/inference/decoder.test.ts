import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { bodyTensors, EMBEDDING_NAME } from "../architecture.ts";
import { TokenOutOfRangeError } from "../errors.ts";
import { elementCount } from "../graph/ops.ts";
import { createSession, type DeviceTensor, hostData, hostTensor, type Session } from "../runtime/session.ts";
import { randomWeights } from "../testing/random-weights.ts";
import { referenceLogits } from "../testing/reference-logits.ts";
import type { ModelConfig } from "../types.ts";
import { Decoder } from "./decoder.ts";
import { buildDecoder, CACHE_PARTS, decoderNames } from "./decoder-graph.ts";

/** Of the largest logit: float32 against float64. */
const TOLERANCE = 1e-5;
const CONFIGS: readonly ModelConfig[] = [
  { blocks: 2, width: 24, heads: 3, sequenceLength: 8, vocabularySize: 61 },
  { blocks: 3, width: 16, heads: 4, sequenceLength: 8, vocabularySize: 45 },
  { blocks: 1, width: 6, heads: 1, sequenceLength: 8, vocabularySize: 13 },
];

describe.each(CONFIGS)("the decoder of $blocks blocks with $heads heads", (config) => {
  const { vocabularySize } = config;
  const weights = randomWeights(config, "decoder");
  // Three times as long as what was trained on.
  const tokens = Array.from({ length: 24 }, (_, at) => (at * at * 31 + at * 7 + 5) % vocabularySize);
  const expected = referenceLogits(config, weights, tokens);
  const rowOf = (at: number) => expected.subarray(at * vocabularySize, (at + 1) * vocabularySize);
  const scale = Math.max(...expected.map(Math.abs));
  const worst = (actual: Float32Array, reference: Float64Array) => {
    expect(actual.length).toBe(reference.length);
    return Math.max(...reference.map((value, at) => Math.abs(value - actual[at]!))) / scale;
  };

  describe("with a cache", () => {
    let decoder: Decoder;
    beforeAll(async () => {
      decoder = await Decoder.create({ config, ...weights, threads: 1 });
    });
    afterAll(() => decoder.dispose());

    it("gives the training graph's logits token by token", async () => {
      let step = await decoder.read(tokens.slice(0, 1));
      expect(worst(step.logits, rowOf(0))).toBeLessThan(TOLERANCE);
      for (let at = 1; at < tokens.length; at++) {
        step = await decoder.read([tokens[at]!], step.cache);
        expect(step.cache.length).toBe(at + 1);
        expect(worst(step.logits, rowOf(at)), `token ${at}`).toBeLessThan(TOLERANCE);
      }
    });

    it.each([[[5, 1, 9, 9]], [[1, 23]], [[12, 12]], [[24]]])(
      "gives them for pieces of %j tokens",
      async (lengths) => {
        let at = 0;
        let cache: Parameters<Decoder["read"]>[1];
        for (const length of lengths) {
          const step = await decoder.read(tokens.slice(at, at + length), cache);
          at += length;
          cache = step.cache;
          expect(worst(step.logits, rowOf(at - 1)), `after ${at}`).toBeLessThan(TOLERANCE);
        }
      },
    );

    it("lets several texts go on from one cache", async () => {
      const { cache } = await decoder.read(tokens.slice(0, 10));
      for (const next of [1, 2, 1]) {
        const branch = await decoder.read([next], cache);
        const reference = referenceLogits(config, weights, [...tokens.slice(0, 10), next]);
        expect(worst(branch.logits, reference.subarray(10 * vocabularySize))).toBeLessThan(TOLERANCE);
      }
    });

    it("refuses tokens that it does not have", async () => {
      for (const token of [-1, vocabularySize, Number.NaN]) {
        await expect(decoder.read([0, token])).rejects.toThrow(TokenOutOfRangeError);
      }
      await expect(decoder.read([])).rejects.toThrow(RangeError);
    });
  });

  describe("as it is exported", () => {
    let session: Session;
    beforeAll(async () => {
      const data = new Map([[EMBEDDING_NAME, weights.embedding]]);
      let offset = 0;
      for (const { name, shape } of bodyTensors(config)) {
        data.set(name, weights.body.slice(offset, offset + elementCount(shape)));
        offset += elementCount(shape);
      }
      const bytes = buildDecoder({
        config,
        declareWeight: (model, { name, shape }) => model.initializer(name, shape, data.get(name)!),
        logits: "all",
      });
      session = await createSession(bytes, { device: "cpu", threads: 1 });
    });
    afterAll(() => session.dispose());

    /** Runs rows of equal length behind a cache for as many rows; gives logits [rows, length, v]. */
    async function run(
      rows: readonly (readonly number[])[],
      mask: readonly (readonly number[])[],
      past?: Past,
    ) {
      const [batch, length, headSize] = [rows.length, rows[0]!.length, config.width / config.heads];
      const int64 = (lists: readonly (readonly number[])[]) =>
        hostTensor(BigInt64Array.from(lists.flat(), BigInt), [lists.length, lists[0]!.length]);
      const entries = Array.from({ length: config.blocks }, (_, block) =>
        CACHE_PARTS.map(
          (part) => [decoderNames.past(block, part), decoderNames.present(block, part)] as const,
        ),
      ).flat();
      const empty = hostTensor(new Float32Array(0), [batch, config.heads, 0, headSize]);
      const outputs = await session.run(
        {
          [decoderNames.inputIds]: int64(rows),
          [decoderNames.attentionMask]: int64(mask),
          ...Object.fromEntries(entries.map(([name, present]) => [name, past?.[present] ?? empty])),
        },
        Object.fromEntries(
          [decoderNames.logits, ...entries.map(([, name]) => name)].map((name) => [name, null]),
        ),
      );
      expect(outputs.logits!.dims).toEqual([batch, length, vocabularySize]);
      expect(outputs[entries[0]![1]]!.dims).toEqual([batch, config.heads, mask[0]!.length, headSize]);
      return { logits: hostData(outputs.logits!), outputs };
    }
    type Past = Readonly<Record<string, DeviceTensor>>;
    const ones = (length: number) => new Array<number>(length).fill(1);

    it("gives the logits of every token of a text at once", async () => {
      const { logits } = await run([tokens], [ones(tokens.length)]);
      expect(worst(logits, expected)).toBeLessThan(TOLERANCE);
    });

    it.each(["left", "right"])(
      "gives texts padded on the %s what each has alone, now and a step later",
      async (side) => {
        const texts = [tokens.slice(0, 11), tokens.slice(3, 10), tokens.slice(20, 21)];
        const pad = <T>(list: readonly T[], filler: T, length: number) => {
          const padding = new Array<T>(length - list.length).fill(filler);
          return side === "left" ? [...padding, ...list] : [...list, ...padding];
        };
        const rows = texts.map((text) => pad(text, 2, 11));
        const mask = texts.map((text) => pad(ones(text.length), 0, 11));
        const first = await run(rows, mask);
        expect(first.logits.every(Number.isFinite)).toBe(true);
        const next = [[4], [7], [9]];
        const second = await run(
          next,
          mask.map((row) => [...row, 1]),
          first.outputs,
        );
        texts.forEach((text, row) => {
          const alone = referenceLogits(config, weights, text);
          const begin = (row * 11 + (side === "left" ? 11 - text.length : 0)) * vocabularySize;
          expect(worst(first.logits.subarray(begin, begin + alone.length), alone), `row ${row}`).toBeLessThan(
            TOLERANCE,
          );
          if (side === "right" && row > 0) return; // a hole within a text: its distances count the padding
          const longer = referenceLogits(config, weights, [...text, ...next[row]!]).subarray(alone.length);
          const actual = second.logits.subarray(row * vocabularySize, (row + 1) * vocabularySize);
          expect(worst(actual, longer), `row ${row}, a step later`).toBeLessThan(TOLERANCE);
        });
      },
    );
  });
});

it("reads a text longer than a piece as it reads a short one", async () => {
  const config = CONFIGS[2]!;
  const weights = randomWeights(config, "long");
  const decoder = await Decoder.create({ config, ...weights, threads: 1 });
  const tokens = Array.from({ length: 600 }, (_, at) => (at * 5 + (at >> 4)) % config.vocabularySize);
  const { logits, cache } = await decoder.read(tokens);
  expect(cache.length).toBe(600);
  const expected = referenceLogits(config, weights, tokens).subarray(599 * config.vocabularySize);
  const scale = Math.max(...expected.map(Math.abs));
  expected.forEach((value, at) => {
    expect(Math.abs(logits[at]! - value) / scale).toBeLessThan(TOLERANCE);
  });
  const controller = new AbortController();
  controller.abort(new Error("enough"));
  await expect(decoder.read(tokens, undefined, controller.signal)).rejects.toThrow("enough");
  await decoder.dispose();
});
