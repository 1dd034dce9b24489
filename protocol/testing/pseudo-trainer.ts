// A stand-in for training, for simulations only: it learns nothing. Each step moves the body by a seeded amount that
// depends on peer, round and step, takes virtual time, and is kept across a crash as the real trainer keeps its own.
import type { ClockPort, RoundTraining, TrainerPort } from "../ports.ts";
import type { Power } from "../simulation/power.ts";
import { seededRandom, seedOf } from "../simulation/random.ts";

/** What outlives a crash. `moved` is the sum of all steps ever kept: what error feedback must account for. */
export interface TrainerDisk {
  round: number;
  step: number;
  start: Float32Array;
  theta: Float32Array;
  moved: Float64Array;
  warmUpSteps: number;
}

export const blankTrainerDisk = (values: number): TrainerDisk => ({
  round: -1,
  step: 0,
  start: new Float32Array(values),
  theta: new Float32Array(values),
  moved: new Float64Array(values),
  warmUpSteps: 0,
});

export interface PseudoTrainerOptions {
  readonly name: string;
  readonly localSteps: number;
  stepMs: number;
  /** Size of a step's largest movement. */
  scale: number;
  /** Which values it moves: all where it is left out. What a peer that holds some rows of an embedding does. */
  moves?: ((index: number) => boolean) | undefined;
}

export class PseudoTrainer implements TrainerPort {
  readonly #options: PseudoTrainerOptions;
  readonly #disk: TrainerDisk;
  readonly #clock: ClockPort;
  readonly #power: Power;
  #memory: TrainerDisk;

  constructor(options: PseudoTrainerOptions, disk: TrainerDisk, clock: ClockPort, power: Power) {
    this.#options = options;
    this.#disk = disk;
    this.#clock = clock;
    this.#power = power;
    this.#memory = structuredClone(disk);
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
    this.#enter(round, body, carry);
    const { localSteps, stepMs } = this.#options;
    const memory = this.#memory;
    try {
      while (memory.step < localSteps) {
        await this.#step(signal);
        this.#move(round, memory.step);
        memory.step++;
        onStep(memory.step, 8 / (1 + round));
      }
    } finally {
      this.#save();
    }
    const delta = memory.start.map((value, index) => value - memory.theta[index]!);
    const figures = { tokens: 100 * localSteps, bytes: 400 * localSteps, computeMs: stepMs * localSteps };
    return { delta, ...figures, lossNatsPerToken: 1, bitsPerByte: 8 / (1 + round) };
  }

  async evaluate(): Promise<number> {
    return 8;
  }

  #enter(round: number, body: Float32Array, carry: boolean): void {
    const memory = this.#memory;
    const resumes = memory.round === round;
    memory.theta =
      resumes || carry
        ? body.map((value, index) => value - (memory.start[index]! - memory.theta[index]!))
        : body.slice();
    memory.start = body;
    if (!resumes) {
      memory.round = round;
      memory.step = 0;
    }
  }

  #move(round: number, step: number): void {
    const random = seededRandom(seedOf(this.#options.name, round, step));
    const { theta, moved } = this.#memory;
    const { moves } = this.#options;
    for (let index = 0; index < theta.length; index++) {
      if (moves?.(index) === false) continue;
      const before = theta[index]!;
      theta[index] = before - this.#options.scale * (2 * random() - 1);
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
