import { expect, it } from "vitest";
import { AdamWKernel, MEMORIES, type OptimizedArrays, stepFactors } from "../optim/adamw-kernel.ts";
import { OptimizerPart, type Range } from "../optim/optimizer-part.ts";
import { canShareMemory } from "../runtime/session.ts";
import { normal } from "../testing/op-samples.ts";
import type { OptimizerConfig } from "../types.ts";
import { allocateFlat } from "../wasm/flat-array.ts";
import { HelperThread } from "./helper-thread.ts";
import { HostOptimizer } from "./host-optimizer.ts";

const config: OptimizerConfig = {
  learningRate: 0.03,
  beta1: 0.8,
  beta2: 0.93,
  epsilon: 1e-3,
  weightDecay: 0.4,
  gradientClip: 1.5,
  warmupSteps: 0,
  totalSteps: 1,
  finalLearningRateRatio: 1,
};
const factors = stepFactors(config, 0.03, 3, 2);
/** Lengths of three parts; of the helper one's ranges, one lies across the middle. */
const lengths = [5000, 7777, 21];

function makeParts(shared: boolean): OptimizerPart[] {
  return lengths.map((length) => {
    const arrays = Object.fromEntries(
      MEMORIES.map((name, lane) => {
        const flat = allocateFlat(length, lane, shared);
        flat.values.set(normal(`${name} ${length}`, [length], 0.7, 1.5).data.map(Math.abs));
        return [name, flat];
      }),
    ) as unknown as OptimizedArrays;
    const cuts = [0, Math.floor(length / 5), Math.floor(0.7 * length), length];
    const ranges: Range[] = [0, 1, 2].map((at) => ({
      start: cuts[at]!,
      end: cuts[at + 1]!,
      decays: at === 1,
    }));
    return new OptimizerPart(config, arrays, ranges);
  });
}

const valuesOf = (parts: readonly OptimizerPart[]) =>
  parts.map(({ arrays }) => MEMORIES.map((name) => Float32Array.from(arrays[name].values)));

it("moves the halves of a part as its ranges say, whatever lies across the middle", () => {
  const [halved, inRanges] = [makeParts(false), makeParts(false)];
  for (const part of halved) {
    part.update(1, factors);
    part.update(0, factors);
  }
  for (const { arrays, ranges } of inRanges) {
    const kernel = new AdamWKernel(config, arrays);
    for (const { start, end, decays } of ranges) kernel.update(start, end, factors, decays);
  }
  expect(valuesOf(halved)).toEqual(valuesOf(inRanges));
});

it("gives the same bits on two threads as on one, for the parts that are asked for", async () => {
  expect(await canShareMemory(), "this Node's tensors may be shared").toBe(true);
  const [alone, together] = [makeParts(false), makeParts(true)];
  const helper = new HelperThread(config, together, undefined);
  const untouched = valuesOf(alone)[1];
  const one = new HostOptimizer(alone, undefined);
  const two = new HostOptimizer(together, helper);
  await expect.poll(() => helper.isReady, { timeout: 20_000 }).toBe(true);
  for (let step = 0; step < 3; step++) {
    expect(two.squares([0, 2])).toBe(one.squares([0, 2]));
    const moved = new Map([
      [0, factors],
      [2, { ...factors, stepSize: 0.5 }],
    ]);
    one.update(moved);
    two.update(moved);
    expect(valuesOf(together)).toEqual(valuesOf(alone));
  }
  expect(valuesOf(together)[1]).toEqual(untouched);
  expect(valuesOf(together)[0]).not.toEqual(valuesOf(makeParts(false))[0]);
  await helper.dispose();
});

it("goes on alone until the helper thread is there, and after it has left", async () => {
  const parts = makeParts(true);
  const helper = new HelperThread(config, parts, undefined);
  const optimizer = new HostOptimizer(parts, helper);
  const expected = new HostOptimizer(makeParts(false), undefined).squares([1]);
  // Nothing has let the thread's start be seen yet: this thread has not waited since.
  expect(optimizer.squares([1])).toBe(expected);
  await helper.dispose();
  expect(helper.isReady).toBe(false);
  expect(optimizer.squares([1])).toBe(expected);
});
