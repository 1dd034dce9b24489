import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { TokenFileWriter, type TokenSplit } from "#model/data/token-file.ts";
import { MixedBatches, samplingLaw } from "./mixed-batches.ts";

const shape = { batchSize: 4, sequenceLength: 8, seed: 7 };
/** Tokens of each source; a token is a byte, and says by its hundreds which source it is of. */
const SIZES = [4000, 1000, 250];

let directory: string;
let splits: TokenSplit[];

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "glossa-mixed-"));
  splits = [];
  for (const [source, size] of SIZES.entries()) {
    const tokenizer = { vocabularySize: 300, endOfText: 299, byteLengths: new Uint8Array(300).fill(1) };
    const writer = await TokenFileWriter.create(join(directory, `${source}.bin`), tokenizer);
    await writer.append(Uint32Array.from({ length: size }, (_, at) => 100 * source + (at % 100)));
    splits.push(await writer.finish());
  }
});
afterAll(() => rm(directory, { recursive: true }));

function sourcesOf(batches: MixedBatches, count: number): number[] {
  return Array.from({ length: count }, () => batches.next().inputs)
    .flatMap((inputs) => [0, 1, 2, 3].map((row) => inputs[row * shape.sequenceLength]!))
    .map((token) => Math.floor(token / 100));
}

describe("the sampling law", () => {
  it("is uniform at 0, proportional at 1, and flattened between", () => {
    expect(samplingLaw(SIZES, 0)).toEqual([1 / 3, 1 / 3, 1 / 3]);
    expect(samplingLaw(SIZES, 1)).toEqual(SIZES.map((size) => size / 5250));
    const [a, b, c] = samplingLaw(SIZES, 0.3) as [number, number, number];
    expect(a / b).toBeCloseTo(4 ** 0.3, 12);
    expect(a / c).toBeCloseTo(16 ** 0.3, 12);
    expect(a + b + c).toBeCloseTo(1, 12);
  });

  it.each([0, 0.3, 1])("decides at exponent %s how often each source is drawn", (temperature) => {
    const batches = new MixedBatches(splits, { ...shape, temperature });
    const draws = sourcesOf(batches, 2000);
    batches.close();
    for (const [source, share] of samplingLaw(SIZES, temperature).entries()) {
      const drawn = draws.filter((of) => of === source).length / draws.length;
      // Four standard deviations of a share of 8,000 draws.
      expect(Math.abs(drawn - share)).toBeLessThan(4 * Math.sqrt((share * (1 - share)) / draws.length));
    }
  });
});

describe("mixed batches", () => {
  it("are whole sequences of one source, with the next tokens as targets", () => {
    const batches = new MixedBatches(splits, { ...shape, temperature: 0 });
    const { inputs, targets } = batches.next();
    batches.close();
    for (let row = 0; row < shape.batchSize; row++) {
      const part = inputs.slice(row * 8, row * 8 + 8);
      expect(new Set(part.map((token) => Math.floor(token / 100))).size).toBe(1);
      expect(targets[row * 8]).toBe(part[1]);
    }
  });

  it("go on from a position with the very next sequence, and begin anew without one", () => {
    const options = { ...shape, temperature: 0.3 };
    const whole = new MixedBatches(splits, options);
    const first = whole.next();
    for (let at = 0; at < 100; at++) whole.next();
    const position = JSON.parse(JSON.stringify(whole.position));
    const rest = [whole.next(), whole.next()];
    const restored = new MixedBatches(splits, options, position);
    expect([restored.next(), restored.next()]).toEqual(rest);
    const again = new MixedBatches(splits, options);
    expect(again.next()).toEqual(first);
    const other = new MixedBatches(splits, { ...options, seed: 8 });
    expect(other.next()).not.toEqual(first);
    for (const batches of [whole, restored, again, other]) batches.close();
  });
});
