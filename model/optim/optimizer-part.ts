// The optimizer's two passes over arrays that move together, each in two halves that do not depend on one another: one thread
// does both, or two threads one each, to the same bits.
import type { OptimizerConfig } from "../types.ts";
import { AdamWKernel, type OptimizedArrays, type StepFactors } from "./adamw-kernel.ts";

/** Values [start, end), of which all or none decay. */
export interface Range {
  readonly start: number;
  readonly end: number;
  readonly decays: boolean;
}

export type Half = 0 | 1;

export class OptimizerPart {
  readonly arrays: OptimizedArrays;
  readonly ranges: readonly Range[];
  readonly #kernel: AdamWKernel;

  /** `ranges` cover the arrays in order. */
  constructor(
    betas: Pick<OptimizerConfig, "beta1" | "beta2">,
    arrays: OptimizedArrays,
    ranges: readonly Range[],
  ) {
    this.arrays = arrays;
    this.ranges = ranges;
    this.#kernel = new AdamWKernel(betas, arrays);
  }

  /** Sum of squares of half the gradient. The gradient's is the first half's plus the second's, always added so. */
  squares(half: Half): number {
    return this.#kernel.squares(...this.#bounds(half));
  }

  update(half: Half, factors: StepFactors): void {
    const [from, to] = this.#bounds(half);
    for (const { start, end, decays } of this.ranges) {
      const [first, last] = [Math.max(start, from), Math.min(end, to)];
      if (first < last) this.#kernel.update(first, last, factors, decays);
    }
  }

  #bounds(half: Half): [from: number, to: number] {
    const { length } = this.arrays.weights.values;
    // On a cache line, so that no two threads write to one.
    const middle = Math.floor(length / 2 / CACHE_LINE_VALUES) * CACHE_LINE_VALUES;
    return half === 0 ? [0, middle] : [middle, length];
  }
}

const CACHE_LINE_VALUES = 16;
