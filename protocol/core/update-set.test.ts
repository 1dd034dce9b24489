import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Cohort, cohortOf, EVERYBODY } from "./cohort.ts";
import { vectors } from "./golden/vectors.ts";
import { type Hash, hexSha256, utf8 } from "./hash.ts";
import type { UpdateAnnouncement } from "./types.ts";
import { statementOf, updateIdOf } from "./update-id.ts";
import { admitUpdate, type UpdateId, updateKey, updateSetDifference, updateSetDigest } from "./update-set.ts";

const sha256: Hash = (bytes) => createHash("sha256").update(bytes).digest();
const id = (round: number, author: string, statement: number): UpdateId => ({
  round,
  author,
  statement: hexSha256(utf8(`${statement}`), sha256),
});
const ids = fc.uniqueArray(
  fc.tuple(fc.nat(12), fc.constantFrom("Alice", "bob", "carol", "dave"), fc.nat(3)),
  { maxLength: 20, selector: (parts) => parts.join("/") },
);

describe("an update's id", () => {
  const said = vectors.statements.map(({ announcement }) => announcement as UpdateAnnouncement);

  it.each(
    vectors.statements.map(({ announcement, statement }, at) => [at, announcement, statement] as const),
  )("is that of an independent implementation (announcement %i)", (_, announcement, statement) => {
    const { round, author } = announcement;
    expect(updateIdOf(announcement, sha256)).toEqual({ round, author, statement });
  });

  it("changes with anything that is signed, and with nothing else", () => {
    const [first] = said as [UpdateAnnouncement];
    const statement = statementOf(first, sha256);
    const others: Required<UpdateAnnouncement> = {
      runId: "0b".repeat(32),
      round: 8,
      author: "somebody",
      payload: "0c".repeat(32),
      payloadBytes: 5,
      baseRoot: "0d".repeat(32),
      tokens: 1,
      lossNatsPerToken: 0.1,
      bitsPerByte: 0.1,
      probation: 1,
    };
    for (const [field, value] of Object.entries(others)) {
      expect(statementOf({ ...first, [field]: value }, sha256)).not.toBe(statement);
    }
    const backwards = Object.fromEntries(Object.entries(first).reverse()) as unknown as UpdateAnnouncement;
    expect(statementOf(backwards, sha256)).toBe(statement);
  });
});

describe("the digest of an update set", () => {
  it.each(Object.entries(vectors.updateSet.digests))(
    "is that of an independent implementation from round %s",
    (from, digest) => {
      expect(updateSetDigest(vectors.updateSet.ids, Number(from), sha256)).toBe(digest);
    },
  );

  it("depends neither on order nor on repeats", () => {
    fc.assert(
      fc.property(
        ids.chain((parts) =>
          fc.tuple(
            fc.constant(parts),
            fc.shuffledSubarray([...parts, ...parts], { minLength: parts.length * 2 }),
          ),
        ),
        ([parts, shuffled]) => {
          const all = parts.map((part) => id(...part));
          const mixed = shuffled.map((part) => id(...part));
          expect(updateSetDigest(mixed, 0, sha256)).toBe(updateSetDigest(all, 0, sha256));
        },
      ),
    );
  });

  it("sees rounds from the given one on, and changes with any of them", () => {
    const all = [id(9, "bob", 1), id(10, "bob", 2), id(11, "bob", 3)];
    const digest = updateSetDigest(all, 10, sha256);
    expect(updateSetDigest(all.slice(1), 10, sha256)).toBe(digest);
    expect(updateSetDigest(all.slice(0, 2), 10, sha256)).not.toBe(digest);
    expect(updateSetDigest([all[1]!, id(11, "bob", 4)], 10, sha256)).not.toBe(digest);
  });
});

describe("the difference of two update sets", () => {
  it("says what each side lacks: exchanging it makes both equal", () => {
    fc.assert(
      fc.property(ids, ids, (left, right) => {
        const own = left.map((part) => id(...part));
        const theirs = right.map((part) => id(...part));
        const { missing, extra } = updateSetDifference(own, theirs);
        const ours = updateSetDigest([...own, ...missing], 0, sha256);
        expect(updateSetDigest([...theirs, ...extra], 0, sha256)).toBe(ours);
        const ownKeys = new Set(own.map(updateKey));
        expect(missing.every((item) => !ownKeys.has(updateKey(item)))).toBe(true);
      }),
    );
  });

  it("lists older rounds first, numerically", () => {
    const theirs = [id(10, "bob", 1), id(9, "carol", 1), id(9, "bob", 1)];
    const { missing } = updateSetDifference([], theirs);
    expect(missing.map(({ round, author }) => [round, author])).toEqual([
      [9, "bob"],
      [9, "carol"],
      [10, "bob"],
    ]);
  });
});

describe("admitting updates to a round", () => {
  /** Plays a sequence and returns the counted set. */
  function count(sequence: readonly UpdateId[], cohort: Cohort = EVERYBODY): Map<string, UpdateId> {
    const counted = new Map<string, UpdateId>();
    for (const candidate of sequence) {
      const admission = admitUpdate(candidate, counted.values(), cohort);
      if (admission.outcome !== "counts") continue;
      if (admission.replaces !== undefined) counted.delete(updateKey(admission.replaces));
      counted.set(updateKey(candidate), candidate);
    }
    return counted;
  }

  it("lets the lowest statement of an author count, and reports the other as equivocation", () => {
    const [low, high] = [id(3, "bob", 1), id(3, "bob", 2)].sort((a, b) =>
      a.statement < b.statement ? -1 : 1,
    ) as [UpdateId, UpdateId];
    expect(admitUpdate(low, [], EVERYBODY)).toEqual({ outcome: "counts" });
    expect(admitUpdate(low, [low], EVERYBODY)).toEqual({ outcome: "known" });
    expect(admitUpdate(low, [high], EVERYBODY)).toEqual({
      outcome: "counts",
      replaces: high,
      equivocation: high,
    });
    expect(admitUpdate(high, [low], EVERYBODY)).toEqual({ outcome: "loses", to: low, equivocation: low });
    expect(admitUpdate(high, [id(3, "carol", 1)], EVERYBODY)).toEqual({ outcome: "counts" });
  });

  it("counts the same set in any order, however authors equivocate", () => {
    const authors = fc.tuple(fc.constant(3), fc.constantFrom("a", "b", "c", "d"), fc.nat(8));
    fc.assert(
      fc.property(
        fc
          .array(authors, { maxLength: 25 })
          .chain((parts) =>
            fc.tuple(fc.constant(parts), fc.shuffledSubarray(parts, { minLength: parts.length })),
          ),
        ([parts, shuffled]) => {
          const keys = (all: typeof parts) => [...count(all.map((part) => id(...part))).keys()].sort();
          expect(keys(shuffled)).toEqual(keys(parts));
        },
      ),
    );
  });

  it("counts as many updates as its cohort has places, the same ones in any order", () => {
    const many = Array.from({ length: 90 }, (_, at) => id(3, `author-${at % 80}`, at));
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 85 }),
        fc.shuffledSubarray(many, { minLength: many.length }),
        (size, shuffled) => {
          const cohort = cohortOf("c0".repeat(32), size, sha256);
          const counted = count(many, cohort);
          expect(counted.size).toBe(Math.min(size, 80));
          expect([...count(shuffled, cohort).keys()].sort()).toEqual([...counted.keys()].sort());
        },
      ),
    );
  });
});
