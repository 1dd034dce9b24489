// Runs a list of cells in order, those that are finished left out, and says how far it is. With several jobs each runs its
// cells in a process of its own.
import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { duration } from "#node/terminal/format.ts";
import type { Output } from "#node/terminal/output.ts";
import { type Cell, labelOf } from "./cells.ts";
import { type CellContext, runCell } from "./run-cell.ts";

export interface RunnerOptions {
  readonly jobs: number;
  /** What a child needs to build the same context: the command's own arguments. */
  readonly childArguments: readonly string[];
}

/** What a child says to its parent. */
export type ChildMessage = { readonly done: number } | { readonly failed: string };

/** A cell that could not be finished, with its name. */
export class CellFailedError extends Error {
  readonly code = "CELL_FAILED";

  constructor(cell: Cell, why: string) {
    super(`${nameOf(cell)} failed: ${why}`);
    this.name = "CellFailedError";
  }
}

export const nameOf = ({ seed, phase, pretraining }: Cell): string =>
  `seed ${seed}, ${labelOf(pretraining)}, ${phase}`;

/** @throws CellFailedError with the first failure, once the cells beside it are through; the signal's reason */
export async function runCells(
  cells: readonly Cell[],
  { jobs, childArguments }: RunnerOptions,
  context: Omit<CellContext, "onSteps">,
  output: Output,
  signal: AbortSignal,
): Promise<void> {
  const left: Cell[] = [];
  for (const cell of cells) if ((await context.store.finished(cell.id)) === undefined) left.push(cell);
  const progress = new Progress(left, cells.length, output, context.nowMs);
  const running = new Map<string, Promise<void>>();
  const stop = new AbortController();
  const all = AbortSignal.any([signal, stop.signal]);
  let failure: unknown;
  while ((left.length > 0 && failure === undefined) || running.size > 0) {
    // A cell waits while the one that makes its body runs.
    const next = left.findIndex(({ from }) => from === undefined || !isPending(from, left, running));
    if (failure === undefined && next !== -1 && running.size < jobs && !all.aborted) {
      const [cell] = left.splice(next, 1) as [Cell];
      const onSteps = (done: number) => progress.steps(cell, done);
      const work =
        jobs === 1
          ? runCell(cell, { ...context, onSteps }, all)
          : runInChild(cell, childArguments, onSteps, all);
      const settled = work
        .then(() => progress.finished(cell))
        .catch((error: unknown) => {
          failure ??= signal.aborted ? signal.reason : new CellFailedError(cell, (error as Error).message);
          stop.abort();
        })
        .finally(() => running.delete(cell.id));
      running.set(cell.id, settled);
      continue;
    }
    if (running.size === 0) break;
    await Promise.race(running.values());
  }
  signal.throwIfAborted();
  if (failure !== undefined) throw failure;
}

const isPending = (id: string, left: readonly Cell[], running: ReadonlyMap<string, unknown>): boolean =>
  running.has(id) || left.some((cell) => cell.id === id);

/** A child that is killed leaves its partial state, as this process would. */
function runInChild(
  cell: Cell,
  childArguments: readonly string[],
  onSteps: (done: number) => void,
  signal: AbortSignal,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const path = fileURLToPath(new URL("./main.ts", import.meta.url));
    const child = fork(path, [...childArguments, "--cell", JSON.stringify(cell)]);
    const end = () => child.kill("SIGTERM");
    let why = "";
    signal.addEventListener("abort", end, { once: true });
    child.on("message", (message: ChildMessage) => {
      if ("done" in message) onSteps(message.done);
      else why = message.failed;
    });
    child.on("error", reject);
    child.on("exit", (code, killedBy) => {
      signal.removeEventListener("abort", end);
      if (code === 0) resolve();
      else reject(new Error(why === "" ? `its process ended with ${killedBy ?? `exit code ${code}`}` : why));
    });
  });
}

const REPORT_INTERVAL_MS = 10_000;

/** Lines such as `12 of 96  seed 1, glob, pretrain  31 s  (about 14 m left)`. */
class Progress {
  readonly #output: Output;
  readonly #nowMs: () => number;
  readonly #total: number;
  readonly #startedMs: number;
  readonly #startedAtMs = new Map<string, number>();
  readonly #stepsOf = new Map<string, number>();
  #stepsLeft: number;
  #stepsDone = 0;
  #cellsDone: number;
  #saidMs: number;

  constructor(left: readonly Cell[], total: number, output: Output, nowMs: () => number) {
    this.#output = output;
    this.#nowMs = nowMs;
    this.#total = total;
    this.#cellsDone = total - left.length;
    this.#stepsLeft = left.reduce((sum, { steps }) => sum + steps, 0);
    this.#startedMs = nowMs();
    this.#saidMs = this.#startedMs;
    if (total > 0) output.write(`${this.#cellsDone} of ${total} cells are there already\n`);
  }

  steps(cell: Cell, done: number): void {
    const before = this.#stepsOf.get(cell.id);
    // What an earlier start had done costs nothing now.
    if (before !== undefined) this.#stepsDone += done - before;
    else this.#startedAtMs.set(cell.id, this.#nowMs());
    this.#stepsLeft -= done - (before ?? 0);
    this.#stepsOf.set(cell.id, done);
    if (this.#nowMs() - this.#saidMs < REPORT_INTERVAL_MS) return;
    this.#say(cell, `${Math.floor((100 * done) / cell.steps)}%`);
  }

  finished(cell: Cell): void {
    this.#stepsLeft -= cell.steps - (this.#stepsOf.get(cell.id) ?? 0);
    this.#stepsOf.set(cell.id, cell.steps);
    this.#cellsDone += 1;
    this.#say(cell, duration(this.#nowMs() - (this.#startedAtMs.get(cell.id) ?? this.#nowMs())));
  }

  #say(cell: Cell, what: string): void {
    const elapsedMs = this.#nowMs() - this.#startedMs;
    const left =
      this.#stepsDone === 0
        ? ""
        : `  (about ${duration((elapsedMs / this.#stepsDone) * this.#stepsLeft)} left)`;
    this.#output.write(`${this.#cellsDone} of ${this.#total}  ${nameOf(cell)}  ${what}${left}\n`);
    this.#saidMs = this.#nowMs();
  }
}
