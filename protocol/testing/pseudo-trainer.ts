// A stand-in for training, for simulations only: it learns nothing. Each step moves the body by a seeded amount that
// depends on peer, round and step, takes virtual time, and is kept across a crash as the real trainer keeps its own.
import type { ClockPort, RoundTraining, TrainerPort } from "../ports.ts";
import {
  deltaOf,
  enterAhead,
  enterRound,
  type LocalProgress,
  noProgress,
} from "../simulation/local-progress.ts";
import type { Power } from "../simulation/power.ts";
import { seededRandom, seedOf } from "../simulation/random.ts";

/** What outlives a crash. `moved` is the sum of all steps ever kept: what error feedback must account for. */
export interface TrainerDisk extends LocalProgress {
  moved: Float64Array;
  warmUpSteps: number;
}

export const blankTrainerDisk = (values: number): TrainerDisk => ({
  ...noProgress(values),
  moved: new Float64Array(values),
  warmUpSteps: 0,
});

export interface PseudoTrainerOptions {
  readonly name: string;
  readonly localSteps: number;
  stepMs: number;
  /** Size of a step's largest movement. */
  scale: number;
  /** With 1 it goes where others with 1 go, each step by as much again as at random; with −1 against them. */
  leaning?: 1 | -1 | undefined;
  /** Which values it moves: all where it is left out. What a peer that holds some rows of an embedding does. */
  moves?: ((index: number) => boolean) | undefined;
}

export class PseudoTrainer implements TrainerPort {
  readonly #options: PseudoTrainerOptions;
  readonly #disk: TrainerDisk;
  readonly #clock: ClockPort;
  readonly #power: Power;
  #memory: TrainerDisk;
  #isTraining = false;
  #enoughFor = -1;
  #ahead: { superseded: boolean; readonly ended: Promise<unknown> } | undefined;

  constructor(options: PseudoTrainerOptions, disk: TrainerDisk, clock: ClockPort, power: Power) {
    this.#options = options;
    this.#disk = disk;
    this.#clock = clock;
    this.#power = power;
    this.#memory = structuredClone(disk);
  }

  get progressRound(): number {
    return this.#disk.handed?.round ?? this.#disk.round;
  }

  async warmUp(
    _body: Float32Array,
    steps: number,
    onStep: (step: number) => void,
    signal: AbortSignal,
  ): Promise<void> {
    while (this.#memory.warmUpSteps < steps) {
      await this.#step(signal);
      this.#memory.warmUpSteps++;
      onStep(this.#memory.warmUpSteps);
    }
    this.#save();
  }

  async trainRound(
    round: number,
    body: Float32Array,
    carry: boolean,
    onStep: (step: number, bitsPerByte: number) => void,
    signal: AbortSignal,
  ): Promise<RoundTraining> {
    this.#isTraining = true;
    if (this.#ahead !== undefined) {
      this.#ahead.superseded = true;
      await this.#ahead.ended;
    }
    const memory = this.#memory;
    enterRound(memory, round, body, carry);
    const { localSteps, stepMs } = this.#options;
    try {
      while (memory.step < localSteps && !(this.#enoughFor === round && memory.step > 0)) {
        await this.#train(onStep, signal);
      }
    } finally {
      this.#isTraining = false;
      this.#save();
    }
    const { pending } = memory;
    const figures = { tokens: 100 * pending, bytes: 400 * pending, computeMs: stepMs * pending };
    return { delta: deltaOf(memory), ...figures, lossNatsPerToken: 1, bitsPerByte: 8 / (1 + round) };
  }

  async trainAhead(
    round: number,
    onStep: (step: number, bitsPerByte: number) => void,
    signal: AbortSignal,
  ): Promise<void> {
    if (this.#isTraining) return;
    enterAhead(this.#memory, round);
    const { promise: ended, resolve } = Promise.withResolvers<void>();
    const ahead = { superseded: false, ended };
    this.#ahead = ahead;
    try {
      while (this.#memory.step < this.#options.localSteps && !ahead.superseded) {
        await this.#train(onStep, signal);
        // Somewhere in between the real one writes a checkpoint.
        if (this.#memory.step === 2) this.#save();
      }
    } finally {
      if (signal.aborted) this.#save();
      this.#ahead = undefined;
      resolve();
    }
  }

  endRound(round: number): void {
    this.#enoughFor = round;
  }

  async evaluate(): Promise<number> {
    return 8;
  }

  async #train(onStep: (step: number, bitsPerByte: number) => void, signal: AbortSignal): Promise<void> {
    const memory = this.#memory;
    await this.#step(signal);
    this.#move(memory.round, memory.step);
    memory.step++;
    memory.pending++;
    onStep(memory.step, 8 / (1 + memory.round));
  }

  #move(round: number, step: number): void {
    const random = seededRandom(seedOf(this.#options.name, round, step));
    const { theta, moved } = this.#memory;
    const { moves, leaning = 0 } = this.#options;
    const common = seededRandom(seedOf("common"));
    for (let index = 0; index < theta.length; index++) {
      const lean = leaning === 0 ? 0 : leaning * (common() < 0.5 ? -1 : 1);
      if (moves?.(index) === false) continue;
      const before = theta[index]!;
      theta[index] = before - this.#options.scale * (lean + 2 * random() - 1);
      moved[index] = moved[index]! + before - theta[index]!;
    }
  }

  #save(): void {
    if (this.#power.on) Object.assign(this.#disk, structuredClone(this.#memory));
  }

  async #step(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    await this.#power.through(
      new Promise<void>((resolve, reject) => {
        const abort = () => {
          cancel();
          reject(signal.reason);
        };
        const cancel = this.#clock.after(this.#options.stepMs, () => {
          signal.removeEventListener("abort", abort);
          resolve();
        });
        signal.addEventListener("abort", abort, { once: true });
      }),
    );
  }
}
