// A training of unit size: ten peers, each drawn to an optimum of its own near a common one, two of them liars. Without a
// defence the liars win; with it the body ends about where it would without them.
import { describe, expect, it } from "vitest";
import { sha256 } from "../net/hash.ts";
import { DISTORT, type Distortion } from "../simulation/distortions.ts";
import { seededRandom, seedOf } from "../simulation/random.ts";
import { ReplicatedBody } from "./averaging.ts";
import { codecs } from "./codec/registry.ts";
import type { Defence } from "./defence.ts";
import { parameterLayout } from "./layout.ts";

const PEERS = 10;
const LIARS = [2, 7];
const ROUNDS = 20;
const RATE = 0.3;
const layout = parameterLayout([{ name: "a.weight", shape: [40, 50] }], sha256);

const drawn = (...seed: (string | number)[]) => {
  const random = seededRandom(seedOf(1, ...seed));
  return Float32Array.from({ length: layout.total }, () => 2 * random() - 1);
};
const common = drawn("common");
const optima = Array.from({ length: PEERS }, (_, at) => {
  const own = drawn("own", at);
  return common.map((value, index) => value + 0.5 * own[index]!);
});

type Attack = Distortion | "reverse" | "none";

/** Mean squared distance to the common optimum, where 1/3 is the begin. */
function train(attack: Attack, defence: Defence): number {
  let body = new Float32Array(layout.total);
  for (let round = 0; round < ROUNDS; round++) {
    const replica = new ReplicatedBody({
      ...{ closedRound: 0, closedBody: body, layout },
      defence: { rule: defence, hash: sha256 },
    });
    const deltas = optima.map((optimum, at) => {
      const noise = drawn("noise", at, round);
      return body.map((value, index) => RATE * (value - optimum[index]!) + 0.05 * noise[index]!);
    });
    const truths = deltas.filter((_, at) => !LIARS.includes(at));
    for (const [at, delta] of deltas.entries()) {
      const lies = attack !== "none" && LIARS.includes(at);
      const sent = lies ? lie(attack, delta, truths, seededRandom(seedOf(2, at, round))) : delta;
      const decoded = codecs.int8.decode(codecs.int8.encode(sent, layout), layout);
      if (!decoded.ok) throw new Error(decoded.rejection.detail);
      replica.add(0, `0/${at}`, decoded.update, 1);
    }
    replica.closeThrough(0);
    body = replica.closedBody.slice();
  }
  return body.reduce((sum, value, index) => sum + (value - common[index]!) ** 2, 0) / body.length;
}

function lie(
  attack: Exclude<Attack, "none">,
  delta: Float32Array,
  truths: readonly Float32Array[],
  random: () => number,
): Float32Array {
  if (attack !== "reverse") return DISTORT[attack](delta, random);
  return delta.map((_, index) => -truths.reduce((sum, truth) => sum + truth[index]!, 0));
}

describe("two liars of ten", () => {
  const clean = train("none", "none");

  it("do nothing to an honest training: not a bit changes", () => {
    expect(train("none", "majority")).toBe(clean);
    expect(clean).toBeLessThan(0.02);
  });

  it.each(["x100", "random", "reverse"] as const)(
    "that send %s ruin it without a defence, and not with it",
    (attack) => {
      expect(train(attack, "none")).toBeGreaterThan(5 * clean);
      expect(train(attack, "majority")).toBeLessThan(2.5 * clean);
    },
  );

  it("that turn their signs cost some of it, whose own optimum is then pushed away", () => {
    expect(train("sign-flip", "majority")).toBeLessThan(3 * clean);
    expect(train("sign-flip", "majority")).toBeLessThan(train("sign-flip", "none"));
  });
});
