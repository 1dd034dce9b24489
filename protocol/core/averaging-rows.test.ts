// Averaging where updates hold some rows of the embedding, and error feedback of such updates.
import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { HeldRowsError } from "../errors.ts";
import { ReplicatedBody } from "./averaging.ts";
import { CODEC_NAMES, type CodecName } from "./codec/registry.ts";
import { compressUpdate } from "./error-feedback.ts";
import { bytesFromHex, floatsFromHex, pseudoRandom, vectors } from "./golden/vectors.ts";
import { GRID_UNITS, type GridUpdate, gridValues } from "./grid.ts";
import type { Hash } from "./hash.ts";
import { parameterLayout } from "./layout.ts";
import { bodyRoot } from "./merkle.ts";
import { parseRunConfig } from "./run-config.ts";
import { type UpdateCodec, updateCodec } from "./update-codec.ts";

const sha256: Hash = (bytes) => createHash("sha256").update(bytes).digest();
const ROWS = 24;
const WIDTH = 8;
const layout = parameterLayout(
  [
    { name: "norm", shape: [WIDTH] },
    { name: "matrix", shape: [2, WIDTH] },
    { name: "transformer.wte.weight", shape: [ROWS, WIDTH] },
  ],
  sha256,
);
const embedding = layout.tensors[2]!;
const genesis = pseudoRandom(77, layout.total, 0.0625);

const codecOf = (variant: "trim" | "glob", codec: CodecName = "int8"): UpdateCodec =>
  updateCodec(
    parseRunConfig({
      variant,
      vocabulary: { tokenizer: "ab".repeat(32), size: ROWS },
      model: { width: WIDTH, heads: 2 },
      averaging: { codec },
    }),
    layout,
  );
const trim = codecOf("trim");
const glob = codecOf("glob");

function sent(codec: UpdateCodec, values: Float32Array, heldRows?: Int32Array): GridUpdate {
  const result = codec.decode(codec.encode(values, heldRows));
  if (!result.ok) throw new Error(result.rejection.detail);
  return result.update;
}

interface Contribution {
  readonly round: number;
  readonly key: string;
  readonly weight: number;
  readonly update: GridUpdate;
}

const rowSet = fc
  .uniqueArray(fc.nat(ROWS - 1), { minLength: 1, maxLength: ROWS })
  .map((rows) => Int32Array.from(rows).sort());

/** Up to ten updates in three rounds, each with rows and a weight of its own. */
const contributions: fc.Arbitrary<Contribution[]> = fc
  .array(fc.tuple(fc.nat(2), fc.integer({ min: 1, max: 2047 }), rowSet, fc.nat(10_000)), {
    minLength: 1,
    maxLength: 10,
  })
  .map((drawn) =>
    drawn.map(([round, weight, rows, seed], at) => ({
      round,
      key: `peer-${at}`,
      weight,
      update: sent(trim, pseudoRandom(seed, layout.total, 2 ** -(seed % 9)), rows),
    })),
  );

const replica = (codec = trim, closedBody = genesis) =>
  new ReplicatedBody({ closedRound: 0, closedBody, layout, rowsOf: codec.rowsOf });

const bits = (body: Float32Array) => new Uint32Array(body.buffer, body.byteOffset, body.length);

const add = (body: ReplicatedBody, { round, key, update, weight }: Contribution) =>
  body.add(round, key, update, weight);

/** The body after all rounds, in whole numbers and said once more: value by value, over those that hold it. */
function oracle(items: readonly Contribution[]): Float32Array {
  let body = genesis;
  for (const round of [0, 1, 2]) {
    const updates = items.filter((item) => item.round === round);
    const grids = updates.map(({ update }) => gridValues(update));
    body = body.map((value, index) => {
      const row = index < embedding.offset ? undefined : Math.floor((index - embedding.offset) / WIDTH);
      let numerator = 0n;
      let weight = 0n;
      updates.forEach(({ update, weight: own }, at) => {
        if (row !== undefined && update.heldRows?.includes(row) === false) return;
        numerator += BigInt(own) * BigInt(grids[at]![index]!);
        weight += BigInt(own);
      });
      if (weight === 0n) return value;
      return value - Math.floor(Number(numerator) / Number(weight) + 0.5) / GRID_UNITS;
    });
  }
  return body;
}

describe("a row's mean", () => {
  it("has the bits of an independent implementation", () => {
    const golden = vectors.rows;
    const goldenLayout = parameterLayout(golden.tensors, sha256);
    const [size, width] = golden.tensors.at(-1)!.shape as [number, number];
    const config = parseRunConfig({
      variant: "trim",
      vocabulary: { tokenizer: "ab".repeat(32), size },
      model: { width },
    });
    const codec = updateCodec(config, goldenLayout);
    const closedBody = floatsFromHex(golden.averaging.bodies[0]!);
    const body = new ReplicatedBody({
      closedRound: 0,
      closedBody,
      layout: goldenLayout,
      rowsOf: codec.rowsOf,
    });
    for (const { round, author, weight, payload } of golden.averaging.updates) {
      const result = codec.decode(bytesFromHex(payload));
      if (!result.ok) throw new Error(result.rejection.detail);
      expect(body.add(round, author, result.update, weight)).toBe("added");
    }
    golden.averaging.bodies.forEach((expected, round) => {
      expect(bits(body.bodyAt(round))).toEqual(bits(floatsFromHex(expected)));
      expect(bodyRoot(body.bodyAt(round), sha256)).toBe(golden.averaging.roots[round]);
    });
  });

  it("runs over the updates of the round that hold the row, weighted, and the body's over all", () => {
    fc.assert(
      fc.property(contributions, (items) => {
        const body = replica();
        for (const item of items) expect(add(body, item)).toBe("added");
        expect(bits(body.bodyAt(3))).toEqual(bits(oracle(items)));
      }),
      { numRuns: 150 },
    );
  });

  it("has the same bits in any order, with repetitions, and with others counted and taken back meanwhile", () => {
    const scenario = contributions.chain((items) =>
      fc.record({
        items: fc.constant(items),
        order: fc.shuffledSubarray(items, { minLength: items.length }),
        again: fc.subarray(items),
        others: contributions,
      }),
    );
    fc.assert(
      fc.property(scenario, ({ items, order, again, others }) => {
        const body = replica();
        const strangers = others.map((item) => ({ ...item, key: `stranger-${item.key}` }));
        for (const item of strangers) add(body, item);
        for (const item of order) add(body, item);
        for (const item of again) expect(add(body, item)).toBe("duplicate");
        for (const { round, key, update } of strangers.reverse()) {
          expect(body.remove(round, key, update)).toBe(true);
        }
        expect(bits(body.bodyAt(3))).toEqual(bits(oracle(items)));
      }),
      { numRuns: 80 },
    );
  });

  it("has the same bits on both sides of a partition once each has heard the other, closing as it goes", () => {
    const scenario = contributions.chain((items) => fc.tuple(fc.constant(items), fc.subarray(items)));
    fc.assert(
      fc.property(scenario, ([items, here]) => {
        const there = items.filter((item) => !here.includes(item));
        const [a, b] = [replica(), replica()];
        for (const item of here) add(a, item);
        for (const item of there) add(b, item);
        const heard = (body: ReplicatedBody, from: readonly Contribution[]) => {
          body.bodyAt(3);
          for (const round of [0, 1, 2]) {
            for (const item of from) if (item.round === round) add(body, item);
            body.closeThrough(round);
          }
          return body.closedBody;
        };
        const expected = bits(oracle(items));
        expect(bits(heard(a, there))).toEqual(expected);
        expect(bits(heard(b, here))).toEqual(expected);
      }),
      { numRuns: 60 },
    );
  });

  it("is that of variant glob, to the bit, where all hold all rows", () => {
    const all = Int32Array.from({ length: ROWS }, (_, row) => row);
    const updates = fc.array(fc.tuple(fc.nat(2), fc.integer({ min: 1, max: 2047 }), fc.nat(10_000)), {
      minLength: 1,
      maxLength: 6,
    });
    fc.assert(
      fc.property(updates, fc.constantFrom(...CODEC_NAMES), (drawn, name) => {
        const [withRows, whole] = [replica(), replica(glob)];
        drawn.forEach(([round, weight, seed], at) => {
          const values = pseudoRandom(seed, layout.total, 2 ** -4);
          withRows.add(round, `${at}`, sent(codecOf("trim", name), values, all), weight);
          whole.add(round, `${at}`, sent(codecOf("glob", name), values), weight);
        });
        expect(bits(withRows.bodyAt(3))).toEqual(bits(whole.bodyAt(3)));
      }),
      { numRuns: 80 },
    );
  });
});

describe("a row that nobody holds", () => {
  it("keeps its bits, a negative zero too", () => {
    const start = genesis.slice();
    const [held, free] = [3, 9].map((row) => embedding.offset + row * WIDTH) as [number, number];
    start.fill(-0, held, held + WIDTH).fill(-0, free, free + WIDTH);
    const body = replica(trim, start);
    body.add(
      0,
      "a",
      sent(codecOf("trim", "float32"), new Float32Array(layout.total).fill(0.5), Int32Array.of(3)),
      1,
    );
    const after = body.bodyAt(1);
    const rest = start.map((value, at) =>
      at < embedding.offset || (at >= held && at < held + WIDTH) ? Math.fround(value - 0.5) : value,
    );
    expect(bits(after)).toEqual(bits(rest));
  });

  it("is one that an update left again when it was taken back", () => {
    const body = replica();
    const item = sent(trim, pseudoRandom(1, layout.total, 1), Int32Array.of(0, 5));
    body.add(0, "a", item, 2047);
    body.add(0, "b", sent(trim, pseudoRandom(2, layout.total, 1), Int32Array.of(5)), 1);
    body.remove(0, "a", item);
    const after = bits(body.bodyAt(1)).subarray(embedding.offset, embedding.offset + WIDTH);
    expect(after).toEqual(bits(genesis).subarray(embedding.offset, embedding.offset + WIDTH));
  });
});

describe("one peer alone", () => {
  it.each([
    ["trim", Int32Array.of(0, 1, 7, 23)],
    ["glob", undefined],
  ] as const)("in variant %s is plain training: what it holds moves by its delta", (variant, rows) => {
    // Multiples of 2^-20: codec float32 and the grid round nothing.
    const codec = codecOf(variant, "float32");
    const delta = pseudoRandom(5, layout.total, 2 ** -4).map(
      (value) => Math.round(value * 2 ** 20) / 2 ** 20,
    );
    const body = replica(codec);
    body.add(0, "alone", sent(codec, delta, rows), 1);
    const expected = genesis.map((value, index) => {
      const row = Math.floor((index - embedding.offset) / WIDTH);
      const held = row < 0 || rows === undefined || rows.includes(row);
      return held ? value - delta[index]! : value;
    });
    expect(bits(body.bodyAt(1))).toEqual(bits(expected));
  });
});

describe("an embedding without a body", () => {
  it("is averaged by rows all the same: what a group shares", () => {
    const alone = parameterLayout([{ name: "transformer.wte.weight", shape: [ROWS, WIDTH] }], sha256);
    const config = parseRunConfig({
      variant: "trim",
      vocabulary: { tokenizer: "ab".repeat(32), size: ROWS },
      model: { width: WIDTH, heads: 2 },
      averaging: { codec: "float32" },
    });
    const codec = updateCodec(config, alone);
    const start = genesis.subarray(0, alone.total);
    const body = new ReplicatedBody({
      closedRound: 0,
      closedBody: start,
      layout: alone,
      rowsOf: codec.rowsOf,
    });
    const [half, quarter] = [0.5, 0.25].map((value) => new Float32Array(alone.total).fill(value));
    body.add(0, "a", sent(codec, half!, Int32Array.of(0, 1)), 1);
    body.add(0, "b", sent(codec, quarter!, Int32Array.of(1, 5)), 1);
    const moved = new Map([
      [0, 0.5],
      [1, 0.375],
      [5, 0.25],
    ]);
    const expected = start.map((value, index) => value - (moved.get(Math.floor(index / WIDTH)) ?? 0));
    expect(bits(body.bodyAt(1))).toEqual(bits(expected));
  });
});

describe("updates with rows", () => {
  it("have no place in a body whose updates have all rows", () => {
    const update = sent(trim, genesis, Int32Array.of(1));
    expect(() => replica(glob).add(0, "a", update, 1)).toThrow(HeldRowsError);
  });
});

describe.each(CODEC_NAMES)("error feedback with rows in codec %s", (name) => {
  const codec = codecOf("trim", name);
  const zero = new Float32Array(layout.total);
  const delta = pseudoRandom(31, layout.total, 2 ** -5);
  const inRow = (index: number, rows: Int32Array) =>
    index < embedding.offset || rows.includes(Math.floor((index - embedding.offset) / WIDTH));

  it("keeps a residual in own rows only, whatever the delta has elsewhere", () => {
    const heldRows = Int32Array.of(2, 3, 17);
    const { residual, update } = compressUpdate(delta, zero, codec, { heldRows });
    const grid = gridValues(update);
    residual.forEach((kept, index) => {
      if (!inRow(index, heldRows)) expect([kept, grid[index]]).toEqual([0, 0]);
      else expect(Math.abs(grid[index]! / GRID_UNITS + kept - delta[index]!)).toBeLessThan(2 ** -26);
    });
  });

  it("lets a residual of rows that are no longer held wait, and sends it once they are held again", () => {
    const [first, other] = [Int32Array.of(2, 3), Int32Array.of(3, 4)];
    const owed = compressUpdate(delta, zero, codec, { heldRows: first }).residual;
    const meanwhile = compressUpdate(delta, owed, codec, { heldRows: other, decay: 0.5 });
    const row = embedding.offset + 2 * WIDTH;
    expect(meanwhile.residual.subarray(row, row + WIDTH)).toEqual(owed.subarray(row, row + WIDTH));
    const target = delta.slice();
    const within = compressUpdate(target, owed, codec, { heldRows: other, decay: 0.5, target });
    expect(within.residual).toEqual(meanwhile.residual);
    const again = compressUpdate(zero, meanwhile.residual, codec, { heldRows: first });
    const grid = gridValues(again.update);
    for (let index = row; index < row + WIDTH; index++) {
      expect(grid[index]! / GRID_UNITS + again.residual[index]!).toBeCloseTo(owed[index]!, 7);
    }
  });
});
