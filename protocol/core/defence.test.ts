import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ReplicatedBody } from "./averaging.ts";
import { codecs } from "./codec/registry.ts";
import { DEFENCES, type Defence } from "./defence.ts";
import { bytesFromHex, pseudoRandom, vectors } from "./golden/vectors.ts";
import { GRID_UNITS, type GridUpdate, gridValues, toGrid } from "./grid.ts";
import { type Hash, hexSha256 } from "./hash.ts";
import { type ParameterLayout, parameterLayout } from "./layout.ts";
import { bodyRoot } from "./merkle.ts";
import { parseRunConfig } from "./run-config.ts";
import { updateCodec } from "./update-codec.ts";
import { scaledUpdate } from "./update-traits.ts";

const sha256: Hash = (bytes) => createHash("sha256").update(bytes).digest();
const ON = DEFENCES.filter((rule) => rule !== "none");

const layout = parameterLayout(
  [
    { name: "first", shape: [40, 50] },
    { name: "norm", shape: [30] },
    { name: "second", shape: [700] },
  ],
  sha256,
);
const genesis = pseudoRandom(5, layout.total, 0.0625);

/** An update of any values, not only of those that a codec has; its chunks cross tensors. */
function dense(values: Float32Array): GridUpdate {
  const grid = Float64Array.from(values, toGrid);
  return {
    length: values.length,
    forEachChunk(visit) {
      for (let at = 0; at < grid.length; at += 900) visit(at, grid.slice(at, at + 900));
    },
  };
}

const common = pseudoRandom(11, layout.total, 1 / 64);
/** Half of it is common to all, half an update's own. */
const honest = (seed: number): Float32Array => {
  const own = pseudoRandom(1000 * seed + 3, layout.total, 1 / 64);
  return common.map((value, index) => 0.5 * value + 0.5 * own[index]!);
};
/** Nothing is common. */
const lonely = (seed: number) => pseudoRandom(1000 * seed + 3, layout.total, 1 / 64);

const replica = (rule: Defence, of: ParameterLayout = layout) =>
  new ReplicatedBody({
    ...{ closedRound: 0, closedBody: of === layout ? genesis : new Float32Array(of.total), layout: of },
    defence: { rule, hash: sha256 },
  });

function averaged(rule: Defence, updates: readonly (readonly [string, GridUpdate, number?])[]) {
  const body = replica(rule);
  // The end of a key stands for the id of the payload.
  for (const [key, update, weight = 1] of updates) body.add(0, key, update, weight, key.split("/").at(-1));
  return { root: bodyRoot(body.bodyAt(1), sha256), body: body.bodyAt(1), restraints: body.restraints(0) };
}

const moved = (body: Float32Array, along: Float32Array): number =>
  body.reduce((sum, value, index) => sum + (genesis[index]! - value) * along[index]!, 0) /
  along.reduce((sum, value) => sum + value * value, 0);

describe("a defence", () => {
  it.each(
    vectors.defence.cases.flatMap((golden) =>
      ON.map((rule) => [golden.variant, golden.codec, golden.updates.length, rule, golden] as const),
    ),
  )("has the bits of an independent implementation: %s, %s, %i updates, %s", (...[, , , rule, golden]) => {
    const of = parameterLayout(golden.tensors, sha256);
    const embedding = golden.tensors.at(-1)!;
    const config = parseRunConfig({
      variant: golden.variant,
      ...(golden.variant === "trim" && {
        vocabulary: { tokenizer: "ab".repeat(32), size: embedding.shape[0] },
        model: { width: embedding.shape[1], heads: 1 },
      }),
      averaging: { codec: golden.codec, defence: rule },
    });
    const codec = updateCodec(config, of);
    const body = new ReplicatedBody({
      ...{ closedRound: 0, closedBody: pseudoRandom(vectors.defence.bodySeed, of.total, 2 ** -4) },
      ...{ layout: of, rowsOf: codec.rowsOf, defence: { rule, hash: sha256 } },
    });
    for (const { key, weight, payload } of golden.updates) {
      const decoded = codec.decode(bytesFromHex(payload));
      if (!decoded.ok) throw new Error(decoded.rejection.detail);
      body.add(0, key, decoded.update, weight, hexSha256(bytesFromHex(payload), sha256));
    }
    const why = Object.fromEntries(body.restraints(0).map(({ key, why: cause }) => [key, cause]));
    expect(why).toEqual(golden.outcomes[rule as "clip"].why);
    expect(bodyRoot(body.bodyAt(1), sha256)).toBe(golden.outcomes[rule as "clip"].root);
  });

  it.each(ON)("changes no bit of a round of equals: %s", (rule) => {
    const updates = Array.from({ length: 7 }, (_, at) => [`a/${at}`, dense(honest(1))] as const);
    expect(averaged(rule, updates)).toMatchObject({ root: averaged("none", updates).root, restraints: [] });
  });

  it.each(ON)(
    "changes no bit where honest updates have nothing in common, or are of unlike size: %s",
    (rule) => {
      const sizes = [0.8, 0.9, 1, 1.1, 1.2, 1.3, 1.4];
      for (const kind of [honest, lonely]) {
        const updates = sizes.map((size, at) => {
          return [`a/${at}`, dense(kind(at).map((value) => size * value))] as const;
        });
        expect(averaged(rule, updates)).toMatchObject({
          root: averaged("none", updates).root,
          restraints: [],
        });
      }
    },
  );

  it("leaves an honest minority in that points another way than the majority", () => {
    const updates = Array.from(
      { length: 8 },
      (_, at) => [`a/${at}`, dense(at < 6 ? honest(at) : lonely(at))] as const,
    );
    expect(averaged("majority", updates).restraints).toEqual([]);
  });

  it.each(ON)("bounds what a loud update does, in one tensor or in all: %s", (rule) => {
    const quiet = Array.from({ length: 4 }, (_, at) => [`a/${at}`, dense(lonely(at))] as const);
    const target = lonely(9);
    const loudNorm = target.map((value, index) => (index >= 2000 && index < 2030 ? 100 * value : value));
    for (const [loud, part] of [
      [target.map((value) => 100 * value), target],
      [loudNorm, target.map((value, index) => (index >= 2000 && index < 2030 ? value : 0))],
    ] as const) {
      const updates = [...quiet, ["a/loud", dense(loud)] as const];
      const undefended = moved(averaged("none", updates).body, part);
      const { body, restraints } = averaged(rule, updates);
      expect(undefended).toBeGreaterThan(15);
      expect(moved(body, part)).toBeLessThan(1);
      expect(restraints).toMatchObject([{ key: "a/loud", why: "clipped" }]);
      expect(restraints[0]!.kept).toBeLessThan(0.5);
    }
  });

  it.each(ON)("counts copies once, with the greatest of their weights: %s", (rule) => {
    const others = [2, 3, 4, 5].map((seed) => [`0/a/${seed}`, dense(honest(seed)), 10] as const);
    const once = averaged(rule, [...others, ["0/victim/same", dense(honest(1)), 20]]);
    const often = averaged(rule, [
      ...[["0/thief/same", dense(honest(1)), 7] as const, ...others],
      ...[["0/victim/same", dense(honest(1)), 20] as const, ["0/zoe/same", dense(honest(1)), 20] as const],
    ]);
    expect(often.root).toBe(once.root);
    expect(often.restraints).toEqual(
      ["0/thief/same", "0/zoe/same"].map((key) => ({ key, why: "copied", kept: 0 })),
    );
  });

  it("leaves out what pushes against the others, as long as that is less than half of them", () => {
    const against = (at: number) => dense(honest(at).map((value, index) => -value - common[index]!));
    const round = (liars: number) =>
      Array.from({ length: 9 }, (_, at) => {
        return [`a/${at}`, at < liars ? against(at) : dense(honest(at))] as const;
      });
    for (const liars of [1, 2, 4]) {
      const { root, restraints } = averaged("majority", round(liars));
      const keys = Array.from({ length: liars }, (_, at) => `a/${at}`);
      expect(restraints).toEqual(keys.map((key) => ({ key, why: "opposed", kept: 0 })));
      expect(root).toBe(averaged("majority", round(liars).slice(liars)).root);
    }
    const few = round(1).slice(0, 4);
    expect(averaged("majority", few).restraints).toMatchObject([{ why: "clipped" }]);
  });

  it("does not let many tiny values hide what few large ones do", () => {
    const hidden = common.map((value, index) => (index % 5 === 0 ? -4 * value : value / 100));
    const updates = Array.from(
      { length: 7 },
      (_, at) => [`a/${at}`, dense(at === 0 ? hidden : honest(at))] as const,
    );
    expect(averaged("majority", updates).restraints).toMatchObject([{ key: "a/0", why: "opposed" }]);
  });

  it.each(ON)("clips nobody where two cannot say who of them is loud: %s", (rule) => {
    const loud = dense(honest(2).map((value) => 30 * value));
    const pair = [
      ["a/1", dense(honest(1))],
      ["a/2", loud],
    ] as const;
    expect(averaged(rule, pair)).toMatchObject({ root: averaged("none", pair).root, restraints: [] });
  });

  it("is not moved by updates of nothing", () => {
    const zero = dense(new Float32Array(layout.total));
    const updates = Array.from(
      { length: 5 },
      (_, at) => [`a/${at}`, at < 2 ? dense(honest(at)) : zero] as const,
    );
    for (const rule of ON) expect(averaged(rule, updates).restraints).toEqual([]);
    expect(averaged("majority", updates.slice(2)).body).toEqual(genesis);
  });
});

describe("the same set of updates under a defence", () => {
  const codec = (name: "int8" | "topk" | "sign", values: Float32Array): GridUpdate => {
    const decoded = codecs[name].decode(codecs[name].encode(values, layout), layout);
    if (!decoded.ok) throw new Error(decoded.rejection.detail);
    return decoded.update;
  };
  const set = (name: "int8" | "topk" | "sign") =>
    Array.from({ length: 9 }, (_, at) => {
      const values = at === 3 ? common.map((value) => -value) : honest(at % 8);
      const loud = at === 5 ? values.map((value) => 50 * value) : values;
      return {
        key: `${at % 2}/author-${at}/${at % 8}`,
        round: at % 2,
        update: codec(name, loud),
        weight: 1 + 37 * at,
      };
    }).flatMap((update) => [update, { ...update, key: `${update.key}x`, round: 0 }]);

  it.each(["int8", "topk", "sign"] as const)(
    "gives the same bits in any order, with repeats, reads and retractions between, late and early: %s",
    (name) => {
      const all = set(name);
      const expected = replica("majority");
      for (const { round, key, update, weight } of all) expected.add(round, key, update, weight);
      const roots = [1, 2].map((round) => bodyRoot(expected.bodyAt(round), sha256));
      const taken = [0, 1].map((round) => expected.restraints(round));
      expect(taken[0]!.length).toBeGreaterThan(0);
      const order = fc.shuffledSubarray(all, { minLength: all.length });
      const disturbances = fc.array(fc.tuple(fc.nat(all.length - 1), fc.constantFrom("read", "undo")), {
        maxLength: 8,
      });
      fc.assert(
        fc.property(order, disturbances, (arrived, between) => {
          const body = replica("majority");
          const add = ({ round, key, update, weight }: (typeof all)[number]) =>
            body.add(round, key, update, weight);
          for (const [at, update] of arrived.entries()) {
            add(update);
            for (const [place, what] of between) {
              if (place !== at) continue;
              if (what === "read") body.bodyAt(2);
              else body.remove(update.round, update.key, update.update);
            }
          }
          for (const update of arrived) add(update);
          expect([1, 2].map((round) => bodyRoot(body.bodyAt(round), sha256))).toEqual(roots);
          expect([0, 1].map((round) => body.restraints(round))).toEqual(taken);
        }),
        { numRuns: 15 },
      );
    },
    20_000,
  );

  it("is one for who joins with a snapshot between the rounds", () => {
    const all = set("int8");
    const from = replica("majority");
    for (const { round, key, update, weight } of all) from.add(round, key, update, weight);
    const there = from.bodyAt(2);
    from.closeThrough(0);
    const taken = new ReplicatedBody({
      ...{ closedRound: 1, closedBody: from.closedBody.slice(), layout },
      defence: { rule: "majority", hash: sha256 },
    });
    for (const { round, key, update, weight } of all.toReversed()) taken.add(round, key, update, weight);
    expect(taken.bodyAt(2)).toEqual(there);
  });
});

describe("a scaled update", () => {
  it("is on the grid, tensor by tensor, entry by entry as chunk by chunk", () => {
    const values = pseudoRandom(8, layout.total, 1);
    const decoded = codecs.topk.decode(codecs.topk.encode(values, layout), layout);
    if (!decoded.ok) throw new Error(decoded.rejection.detail);
    const factors = Float64Array.of(0.3, 1, 1e-12);
    const scaled = scaledUpdate(decoded.update, layout, factors);
    const before = gridValues(decoded.update);
    const values2 = gridValues(scaled);
    const byEntry = new Float64Array(layout.total);
    scaled.forEachEntry!((index, grid) => {
      byEntry[index] = grid;
    });
    expect(byEntry).toEqual(values2);
    for (const { offset, length } of layout.tensors.slice(1, 2)) {
      expect(values2.subarray(offset, offset + length)).toEqual(before.subarray(offset, offset + length));
    }
    expect(values2.every((value) => Number.isInteger(value) && !Object.is(value, -0))).toBe(true);
    expect(Math.abs(values2[0]! - 0.3 * before[0]!)).toBeLessThanOrEqual(0.5);
    expect(Math.max(...values2.subarray(2030))).toBeLessThanOrEqual(Math.ceil(1e-12 * GRID_UNITS));
  });
});
