// Runs the optimizer's passes over all parts of a model: on this thread, or with a helper's on two.
import type { StepFactors } from "../optim/adamw-kernel.ts";
import type { OptimizerPart } from "../optim/optimizer-part.ts";
import type { HelperThread } from "./helper-thread.ts";

export class HostOptimizer {
  readonly #parts: readonly OptimizerPart[];
  readonly #helper: HelperThread | undefined;

  /** Parts go by their places from here on. `helper` knows the same parts. */
  constructor(parts: readonly OptimizerPart[], helper: HelperThread | undefined) {
    this.#parts = parts;
    this.#helper = helper;
  }

  /** Sum of squares over the gradients of these parts, the same to the last bit on one thread and on two. */
  squares(parts: readonly number[]): number {
    const helper = this.#begin("squares", new Map(parts.map((part) => [part, undefined])));
    const firsts = parts.map((part) => this.#parts[part]!.squares(0));
    helper?.finish();
    const second = (part: number) => helper?.squares(part) ?? this.#parts[part]!.squares(1);
    return parts.reduce((sum, part, at) => sum + (firsts[at]! + second(part)), 0);
  }

  /** Moves each of these parts by its factors. */
  update(factorsOf: ReadonlyMap<number, StepFactors>): void {
    const helper = this.#begin("update", factorsOf);
    for (const [part, factors] of factorsOf) this.#parts[part]!.update(0, factors);
    if (helper !== undefined) helper.finish();
    else for (const [part, factors] of factorsOf) this.#parts[part]!.update(1, factors);
  }

  /** The helper, if it does the second halves. */
  #begin(
    task: "squares" | "update",
    factorsOf: ReadonlyMap<number, StepFactors | undefined>,
  ): HelperThread | undefined {
    return this.#helper?.beginPass(task, factorsOf) ? this.#helper : undefined;
  }
}
