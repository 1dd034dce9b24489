import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { LengthMismatchError, RoundNotHeldError, WeightError } from "../errors.ts";
import { ReplicatedBody } from "./averaging.ts";
import { codecs } from "./codec/registry.ts";
import { bytesFromHex, floatsFromHex, pseudoRandom, vectors } from "./golden/vectors.ts";
import { GRID_UNITS, type GridUpdate, gridValues } from "./grid.ts";
import type { Hash } from "./hash.ts";
import { parameterLayout } from "./layout.ts";
import { bodyRoot } from "./merkle.ts";

const sha256: Hash = (bytes) => createHash("sha256").update(bytes).digest();
const layout = parameterLayout(vectors.layout.tensors, sha256);
const genesis = pseudoRandom(77, layout.total, 0.0625);

function decode(payload: Uint8Array): GridUpdate {
  const result = codecs.int8.decode(payload, layout);
  if (!result.ok) throw new Error(result.rejection.detail);
  return result.update;
}

const update = (seed: number): GridUpdate =>
  decode(codecs.int8.encode(pseudoRandom(seed, layout.total, 2 ** -(seed % 9)), layout));

const constant = (grid: number, length = layout.total): GridUpdate => ({
  length,
  forEachChunk: (visit) => visit(0, new Float64Array(length).fill(grid)),
});

const replica = (closedRound = 0, closedBody = genesis) =>
  new ReplicatedBody({ closedRound, closedBody, layout });

const bits = (body: Float32Array) => new Uint32Array(body.buffer, body.byteOffset, body.length);

describe("the body", () => {
  it("has the bits of an independent implementation after every round", () => {
    const golden = vectors.averaging;
    const body = replica(0, floatsFromHex(golden.bodies[0]!));
    for (const { round, author, weight, payload } of golden.updates) {
      expect(body.add(round, author, decode(bytesFromHex(payload)), weight)).toBe("added");
    }
    golden.bodies.forEach((expected, round) => {
      expect(bits(body.bodyAt(round))).toEqual(bits(floatsFromHex(expected)));
      expect(bodyRoot(body.bodyAt(round), sha256)).toBe(golden.roots[round]);
    });
  });

  it.each(vectors.outerRate)(
    "has them with an outer learning rate of $outerLearningRate too",
    ({ outerLearningRate, roots }) => {
      const { bodies, updates } = vectors.averaging;
      const closedBody = floatsFromHex(bodies[0]!);
      const body = new ReplicatedBody({ closedRound: 0, closedBody, layout, outerLearningRate });
      for (const { round, author, weight, payload } of updates) {
        body.add(round, author, decode(bytesFromHex(payload)), weight);
      }
      expect(roots.map((_, round) => bodyRoot(body.bodyAt(round + 1), sha256))).toEqual(roots);
    },
  );

  it("moves by the outer learning rate times the mean, and by no more than the sum of the updates", () => {
    const body = new ReplicatedBody({ closedRound: 0, closedBody: genesis, layout, outerLearningRate: 2.5 });
    const moved = (by: number) => expect(body.bodyAt(1)[0]).toBe(Math.fround(genesis[0]! - by));
    body.add(0, "a", constant(0.5 * GRID_UNITS), 1);
    moved(0.5);
    body.add(0, "b", constant(0.25 * GRID_UNITS), 1);
    moved(0.75);
    body.add(0, "c", constant(0), 1);
    moved(2.5 * 0.25);
    body.remove(0, "b", constant(0.25 * GRID_UNITS));
    moved(0.5);
  });

  it("moves against the weighted mean of its updates", () => {
    const body = replica();
    body.add(0, "a", constant(0.5 * GRID_UNITS), 1);
    body.add(0, "b", constant(-0.25 * GRID_UNITS), 2);
    const mean = (0.5 - 2 * 0.25) / 3;
    body.bodyAt(1).forEach((value, index) => {
      expect(value).toBe(Math.fround(genesis[index]! - mean));
    });
    body.add(0, "c", constant(GRID_UNITS), 1);
    expect(body.bodyAt(1)[0]).toBe(Math.fround(genesis[0]! - 0.25));
  });

  it.each([
    [1, -1],
    [-1, 0],
    [3, -2],
    [-3, 1],
  ])("rounds a mean of %s halves of a grid unit upwards", (halves, expected) => {
    const body = replica(0, new Float32Array(layout.total));
    body.add(0, "a", constant(halves), 1);
    body.add(0, "b", constant(0), 1);
    expect(body.bodyAt(1)[0]! * GRID_UNITS + 0).toBe(expected);
  });

  it("is the same array, to the bit, after a round without updates", () => {
    const body = replica();
    expect(body.bodyAt(3)).toBe(genesis);
  });

  it("keeps a negative zero where the mean is zero from either side, as integers would", () => {
    const zero = new Float32Array(layout.total).fill(-0);
    const body = replica(0, zero);
    body.add(0, "a", constant(-1), 3);
    body.add(0, "b", constant(0), 5);
    expect(Object.is(body.bodyAt(1)[0], -0)).toBe(true);
  });
});

/** Everything that may happen to a peer's view of the same ten updates in three rounds. */
const history = Array.from({ length: 10 }, (_, at) => ({
  round: at % 3,
  key: `author-${at}`,
  update: update(at + 1),
  weight: [1, 256, 2047, 13][at % 4]!,
}));
type Event = { kind: "add"; at: number } | { kind: "read"; round: number } | { kind: "undo"; at: number };

const events: fc.Arbitrary<Event[]> = fc
  .tuple(
    fc.shuffledSubarray(
      history.map((_, at) => at),
      { minLength: history.length },
    ),
    fc.array(
      fc.oneof(
        fc.record({ kind: fc.constant("add" as const), at: fc.nat(history.length - 1) }),
        fc.record({ kind: fc.constant("read" as const), round: fc.nat(3) }),
        fc.record({ kind: fc.constant("undo" as const), at: fc.nat(history.length - 1) }),
      ),
      { maxLength: 30 },
    ),
    fc.infiniteStream(fc.nat()),
  )
  .map(([order, noise, random]) => {
    // All updates in some order, with repeats, reads and retractions strewn in; retracted ones come again at the end.
    const mixed: Event[] = order.map((at) => ({ kind: "add", at }));
    for (const event of noise) mixed.splice(random.next().value % (mixed.length + 1), 0, event);
    return [...mixed, ...order.map((at): Event => ({ kind: "add", at }))];
  });

function play(body: ReplicatedBody, all: readonly Event[]): void {
  for (const event of all) {
    if (event.kind === "read") {
      body.bodyAt(event.round);
      continue;
    }
    const { round, key, update: item, weight } = history[event.at]!;
    if (event.kind === "add") body.add(round, key, item, weight);
    else body.remove(round, key, item);
  }
}

describe("the same set of updates", () => {
  const expected = replica();
  for (const { round, key, update: item, weight } of history) expected.add(round, key, item, weight);
  const roots = [0, 1, 2, 3].map((round) => bodyRoot(expected.bodyAt(round), sha256));

  it("gives the same roots in any order, with any repeats, reads and retractions between", () => {
    fc.assert(
      fc.property(events, (all) => {
        const body = replica();
        play(body, all);
        expect([0, 1, 2, 3].map((round) => bodyRoot(body.bodyAt(round), sha256))).toEqual(roots);
      }),
      { numRuns: 60 },
    );
  });

  it("gives the same roots whether rounds close early or late, as long as their updates came before", () => {
    fc.assert(
      fc.property(fc.shuffledSubarray(history, { minLength: history.length }), (order) => {
        const body = replica();
        for (const round of [0, 1, 2]) {
          // Later rounds' updates may come first; this round's must be in before it closes.
          for (const item of order.slice(0, order.length >> 1)) {
            body.add(item.round, item.key, item.update, item.weight);
          }
          for (const item of order) {
            if (item.round === round) body.add(item.round, item.key, item.update, item.weight);
          }
          body.closeThrough(round);
          expect(bodyRoot(body.closedBody, sha256)).toBe(roots[round + 1]);
        }
      }),
      { numRuns: 30 },
    );
  });

  it("gives the same bits whether sparse updates are added entry by entry or value by value", () => {
    const chunksOnly = ({ length, forEachChunk }: GridUpdate): GridUpdate => ({ length, forEachChunk });
    const sparse = history.map(({ round, key, weight }, at) => {
      const result = codecs.topk.decode(
        codecs.topk.encode(pseudoRandom(at, layout.total, 1), layout),
        layout,
      );
      if (!result.ok) throw new Error(result.rejection.detail);
      expect(result.update.forEachEntry).toBeDefined();
      return { round, key, weight, update: result.update };
    });
    const [byEntry, byValue] = [replica(), replica()];
    for (const item of sparse) {
      byEntry.add(item.round, item.key, item.update, item.weight);
      byValue.add(item.round, item.key, chunksOnly(item.update), item.weight);
    }
    expect(bits(byEntry.bodyAt(3))).toEqual(bits(byValue.bodyAt(3)));
    expect(bits(byEntry.bodyAt(3))).not.toEqual(bits(genesis));
    for (const item of sparse) byEntry.remove(item.round, item.key, item.update);
    for (const item of sparse) byValue.remove(item.round, item.key, chunksOnly(item.update));
    expect([bits(byEntry.bodyAt(3)), bits(byValue.bodyAt(3))]).toEqual([bits(genesis), bits(genesis)]);
  });

  it("would give other bits with float32 sums, which is why the grid exists", () => {
    const updates = history.map(({ update: item, weight }) => ({ values: gridValues(item), weight }));
    const float32Mean = (order: typeof updates) => {
      const sum = new Float32Array(layout.total);
      let total = 0;
      for (const { values, weight } of order) {
        total += weight;
        values.forEach((value, index) => {
          sum[index]! += Math.fround((value / GRID_UNITS) * weight);
        });
      }
      return sum.map((value) => value / total);
    };
    const forward = float32Mean(updates);
    const backward = float32Mean([...updates].reverse());
    const different = forward.filter((value, index) => value !== backward[index]).length;
    expect(different).toBeGreaterThan(layout.total / 4);
  });

  it("is exact at the very bounds: 1,024 updates of weight 2,047 and magnitude 4", () => {
    const tiny = parameterLayout([{ name: "a", shape: [1] }], sha256);
    const body = new ReplicatedBody({ closedRound: 0, closedBody: new Float32Array(1), layout: tiny });
    const most = 2 ** 32;
    for (let at = 0; at < 1023; at++) body.add(0, `${at}`, constant(most, 1), 2047);
    // One unit less in one update: float64 must still tell the difference after all the sums.
    expect(body.add(0, "last", constant(most - 1024 * 4, 1), 2047)).toBe("added");
    expect(body.bodyAt(1)[0]).toBe(Math.fround(-(4 - 4 / GRID_UNITS)));
    expect(body.add(0, "one more", constant(0, 1), 1)).toBe("full");
    for (let at = 0; at < 1023; at++) body.remove(0, `${at}`, constant(most, 1));
    expect(body.bodyAt(1)[0]).toBe(Math.fround(-(4 - 4096 / GRID_UNITS)));
  });
});

describe("a replicated body", () => {
  it("counts an update once and says so", () => {
    const body = replica();
    expect(body.add(0, "a", update(1), 1)).toBe("added");
    expect(body.add(0, "a", update(1), 1)).toBe("duplicate");
    expect(body.updateKeys(0)).toEqual(["a"]);
  });

  it("takes back only what it counted", () => {
    const body = replica();
    body.add(0, "a", update(1), 5);
    expect(body.remove(0, "b", update(1))).toBe(false);
    expect(body.remove(1, "a", update(1))).toBe(false);
    expect(body.remove(0, "a", update(1))).toBe(true);
    expect(body.remove(0, "a", update(1))).toBe(false);
    expect(bits(body.bodyAt(1))).toEqual(bits(genesis));
  });

  it("refuses updates to closed rounds and to rounds too far ahead", () => {
    const body = replica(5);
    expect(body.add(4, "a", update(1), 1)).toBe("closed");
    expect(body.add(9, "a", update(1), 1)).toBe("too-early");
    expect(body.add(8, "a", update(1), 1)).toBe("added");
    body.closeThrough(5);
    expect(body.add(5, "a", update(1), 1)).toBe("closed");
    expect(body.add(9, "a", update(1), 1)).toBe("added");
    expect([body.closedRound, body.updateKeys(8)]).toEqual([6, ["a"]]);
  });

  it("closes what is open only once", () => {
    const body = replica();
    body.add(0, "a", update(1), 1);
    const after = body.bodyAt(1);
    body.closeThrough(0);
    body.closeThrough(0);
    body.closeThrough(-1);
    expect(body.closedRound).toBe(1);
    expect(body.closedBody).toBe(after);
    expect(body.bodyAt(1)).toBe(after);
  });

  it("keeps the bodies of open rounds that it has computed when an older round closes", () => {
    const body = replica();
    for (const round of [0, 1, 2]) body.add(round, "a", update(round + 1), 1);
    const [second, third] = [body.bodyAt(2), body.bodyAt(3)];
    body.closeThrough(0);
    expect(body.bodyAt(2)).toBe(second);
    expect(body.bodyAt(3)).toBe(third);
  });

  it("never writes to a body it has handed out", () => {
    const body = replica();
    body.add(0, "a", update(1), 1);
    const handed = body.bodyAt(1);
    const copy = handed.slice();
    body.add(0, "b", update(2), 1);
    expect(bits(body.bodyAt(1))).not.toEqual(bits(copy));
    expect(bits(handed)).toEqual(bits(copy));
  });

  it.each([0, -1, 1.5, 2048, Number.NaN])("refuses the weight %s", (weight) => {
    expect(() => replica().add(0, "a", update(1), weight)).toThrow(WeightError);
  });

  it("refuses bodies and updates of another layout", () => {
    expect(() => replica(0, new Float32Array(3))).toThrow(LengthMismatchError);
    expect(() => replica().add(0, "a", constant(1, 3), 1)).toThrow(LengthMismatchError);
  });

  it.each([4, 10, 5.5, Number.NaN])("does not know the body at round %s when it holds 5 to 9", (round) => {
    expect(() => replica(5).bodyAt(round)).toThrow(RoundNotHeldError);
    expect(replica(5).bodyAt(9)).toBe(genesis);
  });
});
