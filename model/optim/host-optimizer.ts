// Runs the optimizer's passes over all parts of a model: on this thread, or, for a model that is worth it, on two.
import type { StepFactors } from "./adamw-kernel.ts";
import type { OptimizerPart } from "./optimizer-part.ts";
import type { SecondThread } from "./second-thread.ts";

/** Below this many parameters a thread of its own saves less than a millisecond a step, and costs megabytes. */
export const MIN_PARAMETERS_OF_TWO_THREADS = 2_000_000;

export class HostOptimizer {
  readonly #parts: readonly OptimizerPart[];
  readonly #second: SecondThread | undefined;

  /** Parts go by their places from here on. `second` knows the same parts; it is disposed of with this. */
  constructor(parts: readonly OptimizerPart[], second: SecondThread | undefined) {
    this.#parts = parts;
    this.#second = second;
  }

  /** Sum of squares over the gradients of these parts, the same to the last bit on one thread and on two. */
  squares(parts: readonly number[]): number {
    const begun = this.#second?.begin("squares", new Map(parts.map((part) => [part, undefined]))) ?? false;
    const firsts = parts.map((part) => this.#parts[part]!.squares(0));
    const second = begun ? this.#second!.finish() : (part: number) => this.#parts[part]!.squares(1);
    return parts.reduce((sum, part, at) => sum + (firsts[at]! + second(part)), 0);
  }

  /** Moves each of these parts by its factors. */
  update(factorsOf: ReadonlyMap<number, StepFactors>): void {
    const begun = this.#second?.begin("update", factorsOf) ?? false;
    for (const [part, factors] of factorsOf) this.#parts[part]!.update(0, factors);
    if (begun) this.#second!.finish();
    else for (const [part, factors] of factorsOf) this.#parts[part]!.update(1, factors);
  }

  async dispose(): Promise<void> {
    await this.#second?.dispose();
  }
}
