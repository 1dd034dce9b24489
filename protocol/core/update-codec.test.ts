import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { HeldRowsError, LayoutError, LengthMismatchError, NonFiniteUpdateError } from "../errors.ts";
import { CODEC_NAMES, type CodecName, codecs } from "./codec/registry.ts";
import { floatsFromHex, pseudoRandom, vectors } from "./golden/vectors.ts";
import { gridValues } from "./grid.ts";
import { type Hash, toHex } from "./hash.ts";
import { parameterLayout } from "./layout.ts";
import { encodeRows } from "./rows.ts";
import { gatherRows, subLayout } from "./rows-update.ts";
import { parseRunConfig, type Variant } from "./run-config.ts";
import { updateCodec } from "./update-codec.ts";

const sha256: Hash = (bytes) => createHash("sha256").update(bytes).digest();
const WIDTH = 40;
/** More values than a visitor gets at once, in rows that its pieces cut. */
const ROWS = 900;
const BODY = [
  { name: "norm", shape: [WIDTH] },
  { name: "matrix", shape: [3, WIDTH] },
];
const bodyLayout = parameterLayout(BODY, sha256);
const layout = parameterLayout([...BODY, { name: "transformer.wte.weight", shape: [ROWS, WIDTH] }], sha256);
const embedding = layout.tensors[2]!;
const values = pseudoRandom(3, layout.total, 2 ** -6);

const configOf = (variant: Variant, codec: CodecName = "int8") =>
  parseRunConfig({
    variant,
    ...(variant !== "spec-opt" && { vocabulary: { tokenizer: "ab".repeat(32), size: ROWS } }),
    model: { width: WIDTH, heads: 4 },
    averaging: { codec },
  });
const codecOf = (variant: Variant, codec?: CodecName) => updateCodec(configOf(variant, codec), layout);

const everyThird = Int32Array.from({ length: ROWS / 3 }, (_, at) => 3 * at + 1);
const clustered = Int32Array.from({ length: 700 }, (_, at) => (at < 600 ? at : at + 150));
const rowSets: [string, Int32Array][] = [
  ["a single row", Int32Array.of(ROWS - 1)],
  ["every third row", everyThird],
  ["two clusters of rows", clustered],
  ["all rows but the first", Int32Array.from({ length: ROWS - 1 }, (_, at) => at + 1)],
];
const rows = fc
  .uniqueArray(fc.nat(ROWS - 1), { minLength: 1, maxLength: 60 })
  .map((ids) => Int32Array.from(ids).sort());

function decoded(codec: ReturnType<typeof codecOf>, payload: Uint8Array) {
  const result = codec.decode(payload);
  if (!result.ok) throw new Error(result.rejection.detail);
  return result.update;
}

describe("an update with rows", () => {
  const golden = vectors.rows;
  const goldenLayout = parameterLayout(golden.tensors, sha256);
  const [size, width] = golden.tensors.at(-1)!.shape as [number, number];

  it.each(golden.payloads)("in codec $codec has the bytes of an independent implementation", (expected) => {
    const config = parseRunConfig({
      variant: "trim",
      vocabulary: { tokenizer: "ab".repeat(32), size },
      model: { width },
      averaging: { codec: expected.codec as CodecName },
    });
    const codec = updateCodec(config, goldenLayout);
    const held = expected.heldRows === null ? undefined : Int32Array.from(expected.heldRows);
    const payload = codec.encode(floatsFromHex(golden.values), held);
    expect(toHex(payload)).toBe(expected.payload);
    const update = decoded(codec, payload);
    expect(update.heldRows).toEqual(held);
    const grid = BigInt64Array.from(gridValues(update), BigInt);
    expect(toHex(sha256(new Uint8Array(grid.buffer)))).toBe(expected.gridDigest);
  });
});

describe.each(CODEC_NAMES)("an update with rows in codec %s", (name) => {
  const trim = codecOf("trim", name);
  const inner = codecs[name];

  it("is that of variant glob, byte for byte, where all rows are held", () => {
    const all = Int32Array.from({ length: ROWS }, (_, row) => row);
    const glob = codecOf("glob", name);
    const payload = glob.encode(values);
    expect(trim.encode(values, all)).toEqual(payload);
    expect(trim.encode(values)).toEqual(payload);
    const update = decoded(trim, payload);
    expect(update.heldRows).toBeUndefined();
    expect(gridValues(update)).toEqual(gridValues(decoded(glob, payload)));
  });

  it.each(rowSets)("of %s says of them what the codec says, and nothing of the others", (_, held) => {
    const payload = trim.encode(values, held);
    const update = decoded(trim, payload);
    expect(update.heldRows).toEqual(held);
    expect(update.length).toBe(layout.total);
    const sub = subLayout(layout, embedding, held.length);
    const alone = inner.decode(inner.encode(gatherRows(values, embedding, held), sub), sub);
    if (!alone.ok) throw new Error(alone.rejection.detail);
    const grid = gridValues(alone.update);
    const expected = new Float64Array(layout.total);
    expected.set(grid.subarray(0, embedding.offset));
    held.forEach((row, at) => {
      const from = embedding.offset + at * WIDTH;
      expected.set(grid.subarray(from, from + WIDTH), embedding.offset + row * WIDTH);
    });
    expect(gridValues(update)).toEqual(expected);
    // Nothing of the other rows is in the payload.
    const elsewhere = new Float32Array(layout.total).fill(1);
    const same = gatherRows(values, embedding, held);
    elsewhere.set(same.subarray(0, embedding.offset));
    held.forEach((row, at) => {
      const from = embedding.offset + at * WIDTH;
      elsewhere.set(same.subarray(from, from + WIDTH), embedding.offset + row * WIDTH);
    });
    expect(trim.encode(elsewhere, held)).toEqual(payload);
  });

  it.each(rowSets)("of %s is visited in ascending runs that cover the held places once", (_, held) => {
    const update = decoded(trim, trim.encode(values, held));
    const visits = new Uint8Array(layout.total);
    let last = 0;
    update.forEachChunk((offset, grid) => {
      expect(offset).toBeGreaterThanOrEqual(last);
      last = offset + grid.length;
      for (let at = 0; at < grid.length; at++) visits[offset + at]!++;
    });
    const held01 = new Uint8Array(layout.total).fill(1, 0, embedding.offset);
    for (const row of held) {
      const from = embedding.offset + row * WIDTH;
      held01.fill(1, from, from + WIDTH);
    }
    expect(visits).toEqual(held01);
    if (update.forEachEntry === undefined) return;
    const byEntry = new Float64Array(layout.total);
    update.forEachEntry((index, grid) => {
      byEntry[index] = grid;
    });
    expect(byEntry).toEqual(gridValues(update));
  });

  it("never exceeds the run's bound, and the bound is not far", () => {
    for (const [, held] of rowSets) {
      expect(trim.encode(values, held).length).toBeLessThanOrEqual(trim.maxPayloadBytes);
    }
    expect(trim.maxPayloadBytes).toBeLessThanOrEqual(codecOf("glob", name).maxPayloadBytes + ROWS / 8 + 5);
  });

  it("is refused or read whole when its bytes are changed, never with an exception", () => {
    fc.assert(
      fc.property(rows, fc.nat(), fc.integer({ min: 1, max: 255 }), fc.nat(), (held, place, flip, cut) => {
        const payload = trim.encode(values, held);
        // The header and the rows are where bytes mean lengths: both are hit often.
        const last = payload.length - 1;
        const at = place % 2 === 0 ? last - ((place >> 1) % Math.min(60, last)) : place % payload.length;
        payload[at]! ^= flip;
        const bytes = cut % 4 === 0 ? payload.subarray(0, cut % payload.length) : payload;
        const result = trim.decode(bytes);
        if (result.ok) expect(gridValues(result.update).every(Number.isInteger)).toBe(true);
        else expect(result.rejection.detail).not.toBe("");
      }),
      { numRuns: 250 },
    );
  });
});

describe("the rows of an update", () => {
  const trim = codecOf("trim");
  const held = Int32Array.of(2, 3, 500);
  const payload = trim.encode(values, held);
  const section = encodeRows(held, ROWS);

  const changed = (change: (payload: Uint8Array, view: DataView) => Uint8Array | undefined): Uint8Array => {
    const copy = payload.slice();
    return change(copy, new DataView(copy.buffer)) ?? copy;
  };
  const endOf = (bytes: Uint8Array) => bytes.length - 4;
  const joined = (...parts: Uint8Array[]) => Uint8Array.from(parts.flatMap((part) => [...part]));

  it("come after the codec's payload, with their length behind them", () => {
    const sub = subLayout(layout, embedding, 3);
    const inner = codecs.int8.encode(gatherRows(values, embedding, held), sub);
    expect(payload).toEqual(joined(inner, section, Uint8Array.of(section.length, 0, 0, 0)));
  });

  it.each<[string, Uint8Array]>([
    [
      "longer than the payload",
      changed((bytes, view) => view.setUint32(endOf(bytes), 2 ** 32 - 1, true) as undefined),
    ],
    [
      "that reach into the header",
      changed((bytes, view) => view.setUint32(endOf(bytes), endOf(bytes) - 23, true) as undefined),
    ],
    ["of no bytes", changed((bytes, view) => view.setUint32(endOf(bytes), 0, true) as undefined)],
    ["with a byte too many", joined(payload.subarray(0, -4), Uint8Array.of(0, section.length + 1, 0, 0, 0))],
    [
      "of another number than the header says",
      changed((_, view) => view.setUint32(20, layout.total - 890 * WIDTH, true) as undefined),
    ],
    [
      "of part of a row",
      changed((_, view) => view.setUint32(20, embedding.offset + 3 * WIDTH + 1, true) as undefined),
    ],
    ["of none", changed((_, view) => view.setUint32(20, embedding.offset, true) as undefined)],
    [
      "of more than there are",
      changed((_, view) => view.setUint32(20, layout.total + WIDTH, true) as undefined),
    ],
    ["left out", payload.subarray(0, payload.length - 4 - section.length)],
    [
      "left out with a header that claims all",
      changed((_, view) => view.setUint32(20, layout.total, true) as undefined),
    ],
    ["of a header alone", payload.subarray(0, 24)],
    ["of less than a header", payload.subarray(0, 23)],
    [
      "spelt out although all are held",
      (() => {
        const all = Int32Array.from({ length: ROWS }, (_, row) => row);
        const bytes = encodeRows(all, ROWS);
        return joined(trim.encode(values), bytes, Uint8Array.of(bytes.length, 0, 0, 0));
      })(),
    ],
  ])("%s make the payload undecodable", (_, bytes) => {
    expect(trim.decode(bytes)).toMatchObject({ ok: false, rejection: { offence: "undecodable-payload" } });
  });

  it("are read from the middle of a larger buffer too", () => {
    const buffer = new Uint8Array(payload.length + 7);
    buffer.set(payload, 5);
    expect(gridValues(decoded(trim, buffer.subarray(5, 5 + payload.length)))).toEqual(
      gridValues(decoded(trim, payload)),
    );
  });

  it("do not hide what is wrong with the values", () => {
    const bytes = changed((_, view) => view.setFloat32(24, Number.NaN, true) as undefined);
    expect(trim.decode(bytes)).toMatchObject({ ok: false, rejection: { offence: "non-finite-update" } });
  });

  it("are needed as ids in order, of an update of the layout's length", () => {
    expect(() => trim.encode(values, Int32Array.of(3, 2))).toThrow(HeldRowsError);
    expect(() => trim.encode(values, Int32Array.of(ROWS))).toThrow(HeldRowsError);
    expect(() => trim.encode(values.subarray(1), held)).toThrow(LengthMismatchError);
  });

  it("are named by their place in the embedding where a value is not finite, and ignored where not held", () => {
    const broken = values.slice();
    broken[embedding.offset + 4 * WIDTH] = Number.NaN;
    expect(() => trim.encode(broken, held)).not.toThrow();
    broken[embedding.offset + 500 * WIDTH + 7] = Number.POSITIVE_INFINITY;
    expect(() => trim.encode(broken, held)).toThrow(NonFiniteUpdateError);
    try {
      trim.encode(broken, held);
    } catch (error) {
      expect(error).toMatchObject({ tensor: "transformer.wte.weight", index: 500 * WIDTH + 7 });
    }
  });
});

describe.each(["spec-opt", "spec"] as const)("an update of variant %s", (variant) => {
  it("has no vocabulary axis: its bytes follow from the body alone", () => {
    const body = values.subarray(0, bodyLayout.total);
    const payloads = [2, 50_257, 1_048_576].map((size) => {
      const config = configOf(variant);
      const vocabulary = variant === "spec" ? { tokenizer: "cd".repeat(32), size } : undefined;
      return updateCodec({ ...config, vocabulary }, bodyLayout).encode(body);
    });
    expect(payloads).toEqual(payloads.map(() => codecs.int8.encode(body, bodyLayout)));
    expect(payloads[0]!.length).toBe(codecs.int8.maxPayloadBytes(bodyLayout));
  });

  it("has no rows", () => {
    const codec = updateCodec(configOf(variant), bodyLayout);
    expect(codec.rowsOf).toBeUndefined();
    expect(() => codec.encode(values.subarray(0, bodyLayout.total), Int32Array.of(0))).toThrow(HeldRowsError);
  });
});

describe("an update of variant glob", () => {
  it("has all rows always", () => {
    const glob = codecOf("glob");
    expect(() => glob.encode(values, everyThird)).toThrow(HeldRowsError);
    const partial = codecOf("trim").encode(values, everyThird);
    expect(glob.decode(partial)).toMatchObject({ ok: false, rejection: { offence: "undecodable-payload" } });
  });
});

describe.each(["trim", "glob"] as const)("the codec of variant %s", (variant) => {
  it("is not to be had for a layout without the embedding", () => {
    expect(() => updateCodec(configOf(variant), bodyLayout)).toThrow(LayoutError);
  });
});
