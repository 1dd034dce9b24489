// A thread that works beside this one: it computes the second half of a micro-batch's gradients, and does the second halves of
// the optimizer's passes. The two share memory and take turns by atomics: a step is too short for messages, which only bring
// what is to be compiled. helper-thread-worker.ts is what runs there.
import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from "node:worker_threads";
import { MEMORIES, type StepFactors } from "../optim/adamw-kernel.ts";
import type { OptimizerPart, Range } from "../optim/optimizer-part.ts";
import type { SessionOptions } from "../runtime/session.ts";
import type { ParameterGroup } from "../train-step.ts";
import type { OptimizerConfig } from "../types.ts";
import type { ShareMemory } from "./share.ts";

type Betas = Pick<OptimizerConfig, "beta1" | "beta2">;

/** What the thread is told at its start. */
export interface HelperData {
  readonly betas: Betas;
  readonly parts: readonly {
    readonly length: number;
    readonly ranges: readonly Range[];
    readonly memories: Readonly<Record<string, { memory: WebAssembly.Memory; byteOffset: number }>>;
  }[];
  readonly share: ShareMemory | undefined;
  readonly turns: Int32Array;
  readonly orders: Float64Array;
  readonly port: MessagePort;
}

/** A gradient step to be compiled. */
export interface HelperSession {
  readonly trained: readonly ParameterGroup[];
  readonly bytes: Uint8Array;
  readonly options: SessionOptions;
}

/** Places in `turns`. */
export const TURNS = {
  ordered: 0,
  finished: 1,
  isReady: 2,
  task: 3,
  session: 4,
  addsUp: 5,
  length: 6,
} as const;
export const TASKS = { leave: 0, compile: 1, gradients: 2, squares: 3, update: 4 } as const;
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

export class HelperThread {
  readonly #worker: Worker;
  readonly #turns = new Int32Array(new SharedArrayBuffer(4 * TURNS.length));
  readonly #orders: Float64Array;
  readonly #port: MessagePort;
  readonly #sessions: string[] = [];
  readonly #asked = new Set<string>();
  readonly #ended: Promise<void>;

  /** Arrays of the parts and the share are in shared memory. Without a share it only helps the optimizer. */
  constructor(betas: Betas, parts: readonly OptimizerPart[], share: ShareMemory | undefined) {
    this.#orders = new Float64Array(new SharedArrayBuffer(8 * ORDER.length * parts.length));
    const { port1, port2 } = new MessageChannel();
    this.#port = port1;
    const workerData: HelperData = {
      betas: { beta1: betas.beta1, beta2: betas.beta2 },
      parts: parts.map(({ arrays, ranges }) => ({
        length: arrays.weights.values.length,
        ranges,
        memories: Object.fromEntries(
          [...MEMORIES, "addend" as const].flatMap((name) => {
            const flat = arrays[name];
            return flat === undefined ? [] : [[name, { memory: flat.memory, byteOffset: flat.byteOffset }]];
          }),
        ),
      })),
      share,
      turns: this.#turns,
      orders: this.#orders,
      port: port2,
    };
    const url = new URL("./helper-thread-worker.ts", import.meta.url);
    this.#worker = new Worker(url, { name: "glossa-helper", workerData, transferList: [port2] });
    // Where it cannot start, this thread goes on alone; it keeps no process from ending.
    this.#worker.on("error", () => Atomics.store(this.#turns, TURNS.isReady, 0));
    this.#ended = new Promise((resolve) => {
      this.#worker.once("exit", () => resolve());
    });
    this.#worker.unref();
    this.#port.unref();
  }

  /** False until the thread has started, and after it has ended. */
  get isReady(): boolean {
    return Atomics.load(this.#turns, TURNS.isReady) === 1;
  }

  /** Whether the gradient step of these groups has been compiled there, or could not be. */
  knows(trained: readonly ParameterGroup[]): boolean {
    return this.#asked.has(`${trained}`);
  }

  /** Compiles a gradient step there; false where that does not succeed, and this thread is to go on alone. */
  async compile(session: HelperSession): Promise<boolean> {
    this.#asked.add(`${session.trained}`);
    const answered = new Promise<boolean>((resolve) => {
      this.#port.once("message", ({ error }: { error?: string }) => resolve(error === undefined));
    });
    this.#worker.ref();
    this.#port.postMessage(session);
    this.#order(TASKS.compile);
    try {
      const isCompiled = await Promise.race([answered, this.#ended.then(() => false)]);
      if (isCompiled) this.#sessions.push(`${session.trained}`);
      return isCompiled;
    } finally {
      this.#worker.unref();
      this.#port.unref();
    }
  }

  /** Begins the second share's gradients; false where it cannot, and they are left to the caller. */
  beginGradients(trained: readonly ParameterGroup[], addsUp: boolean): boolean {
    const session = this.#sessions.indexOf(`${trained}`);
    if (!this.isReady || session === -1) return false;
    Atomics.store(this.#turns, TURNS.session, session);
    Atomics.store(this.#turns, TURNS.addsUp, Number(addsUp));
    this.#order(TASKS.gradients);
    return true;
  }

  /** Begins the second halves of some parts; false where it cannot. */
  beginPass(task: "squares" | "update", factorsOf: ReadonlyMap<number, StepFactors | undefined>): boolean {
    if (!this.isReady) return false;
    this.#orders.fill(0);
    for (const [part, factors] of factorsOf) {
      const order = this.#orders.subarray(part * ORDER.length, (part + 1) * ORDER.length);
      order[ORDER.isActive] = 1;
      if (factors === undefined) continue;
      for (const [name, value] of Object.entries(factors)) order[ORDER[name as keyof StepFactors]] = value;
    }
    this.#order(TASKS[task]);
    return true;
  }

  /** Waits for what was begun, and throws what it threw. */
  finish(): void {
    const turn = Atomics.load(this.#turns, TURNS.ordered);
    for (;;) {
      const finished = Atomics.load(this.#turns, TURNS.finished);
      if (finished === turn) break;
      Atomics.wait(this.#turns, TURNS.finished, finished);
    }
    const { error } = receiveMessageOnPort(this.#port)?.message ?? {};
    if (error !== undefined) throw new Error(error);
    if (!this.isReady)
      throw new Error("the thread that computes half of a step has ended, as where memory ran out");
  }

  /** The answer of a pass over squares, by the part's place among the parts. */
  squares(part: number): number {
    return this.#orders[part * ORDER.length + ORDER.squares]!;
  }

  async dispose(): Promise<void> {
    this.#worker.ref();
    this.#order(TASKS.leave);
    // It frees its sessions first; one that has never started will not hear of it.
    if (this.isReady) await this.#ended;
    else await this.#worker.terminate();
    this.#port.close();
    Atomics.store(this.#turns, TURNS.isReady, 0);
  }

  #order(task: number): void {
    Atomics.store(this.#turns, TURNS.task, task);
    Atomics.add(this.#turns, TURNS.ordered, 1);
    Atomics.notify(this.#turns, TURNS.ordered);
  }
}
