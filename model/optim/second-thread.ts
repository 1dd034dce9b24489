// A thread that does the second halves of the optimizer's passes while this one does the first. They share memory and take
// turns by atomics: a step is too short for messages. second-thread-worker.ts is what runs there.
import { Worker } from "node:worker_threads";
import type { OptimizerConfig } from "../types.ts";
import { MEMORIES, type StepFactors } from "./adamw-kernel.ts";
import type { OptimizerPart, Range } from "./optimizer-part.ts";

/** What the thread is told at its start. */
export interface SecondThreadData {
  readonly betas: Pick<OptimizerConfig, "beta1" | "beta2">;
  readonly parts: readonly {
    readonly length: number;
    readonly ranges: readonly Range[];
    readonly memories: readonly { readonly memory: WebAssembly.Memory; readonly byteOffset: number }[];
  }[];
  readonly turns: Int32Array;
  readonly orders: Float64Array;
}

/** Places in `turns`. */
export const TURNS = { ordered: 0, finished: 1, isReady: 2, pass: 3, length: 4 } as const;
export const PASSES = { squares: 1, update: 2, leave: 3 } as const;
/** Numbers of each part in `orders`: whether it takes part, its factors, and the answer. */
export const ORDER = {
  isActive: 0,
  gradientFactor: 1,
  squareFactor: 2,
  epsilon: 3,
  stepSize: 4,
  keep: 5,
  squares: 6,
  length: 7,
} as const;

export class SecondThread {
  readonly #worker: Worker;
  readonly #turns = new Int32Array(new SharedArrayBuffer(4 * TURNS.length));
  readonly #orders: Float64Array;

  /** The parts' arrays are shared. */
  constructor(betas: SecondThreadData["betas"], parts: readonly OptimizerPart[]) {
    this.#orders = new Float64Array(new SharedArrayBuffer(8 * ORDER.length * parts.length));
    const workerData: SecondThreadData = {
      betas: { beta1: betas.beta1, beta2: betas.beta2 },
      parts: parts.map(({ arrays, ranges }) => ({
        length: arrays.weights.values.length,
        ranges,
        memories: MEMORIES.map((name) => ({
          memory: arrays[name].memory,
          byteOffset: arrays[name].byteOffset,
        })),
      })),
      turns: this.#turns,
      orders: this.#orders,
    };
    const url = new URL("./second-thread-worker.ts", import.meta.url);
    this.#worker = new Worker(url, { name: "glossa-optimizer", workerData });
    // Where it cannot start, this thread goes on alone; it keeps no process from ending.
    this.#worker.on("error", () => Atomics.store(this.#turns, TURNS.isReady, 0));
    this.#worker.unref();
  }

  /** False until the thread has started, and after it has ended. */
  get isReady(): boolean {
    return Atomics.load(this.#turns, TURNS.isReady) === 1;
  }

  /** Begins the second halves of some parts; false where the thread is not there (yet), and all is left to the caller. */
  begin(pass: "squares" | "update", factorsOf: ReadonlyMap<number, StepFactors | undefined>): boolean {
    if (!this.isReady) return false;
    this.#orders.fill(0);
    for (const [part, factors] of factorsOf) {
      const order = this.#orders.subarray(part * ORDER.length, (part + 1) * ORDER.length);
      order[ORDER.isActive] = 1;
      if (factors === undefined) continue;
      for (const [name, value] of Object.entries(factors)) order[ORDER[name as keyof StepFactors]] = value;
    }
    this.#order(PASSES[pass]);
    return true;
  }

  /** Waits for what was begun; gives each part's sum of squares, by its place among the parts. */
  finish(): (part: number) => number {
    const turn = Atomics.load(this.#turns, TURNS.ordered);
    for (;;) {
      const finished = Atomics.load(this.#turns, TURNS.finished);
      if (finished === turn) break;
      Atomics.wait(this.#turns, TURNS.finished, finished);
    }
    return (part) => this.#orders[part * ORDER.length + ORDER.squares]!;
  }

  async dispose(): Promise<void> {
    this.#order(PASSES.leave);
    await this.#worker.terminate();
    Atomics.store(this.#turns, TURNS.isReady, 0);
  }

  #order(pass: number): void {
    Atomics.store(this.#turns, TURNS.pass, pass);
    Atomics.add(this.#turns, TURNS.ordered, 1);
    Atomics.notify(this.#turns, TURNS.ordered);
  }
}
