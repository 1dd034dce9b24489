// What stands in for a model and its text: each peer has an optimum of its own near a common one, and every segment of a
// round walks a share of the way there, with noise. It learns nothing about language; it shows what the body does when
// updates are late, lost or false, and it takes virtual time.
//   theta <- theta - rate * (theta - own optimum) + noise          loss = mean((theta - common optimum)^2) / 2
import type { ClockPort, RoundTraining, TrainerPort } from "../ports.ts";
import { deltaOf, enterAhead, enterRound, type LocalProgress, noProgress } from "./local-progress.ts";
import type { Power } from "./power.ts";
import { seededRandom, seedOf } from "./random.ts";

/** What outlives a crash. */
export interface StandInDisk extends LocalProgress {
  warmUpSegments: number;
}

export const blankDisk = (values: number): StandInDisk => ({
  ...noProgress(values),
  warmUpSegments: 0,
});

/** Only theta is ever written to. */
const copyOf = (disk: StandInDisk): StandInDisk => ({ ...disk, theta: disk.theta.slice() });

export interface StandInOptions {
  readonly name: string;
  readonly seed: number;
  readonly segments: number;
  readonly segmentMs: number;
  readonly optimum: Float32Array;
  /** Rounds from this one on are not trained: the swarm comes to rest. */
  readonly endRound: number;
  readonly tokensPerSegment: number;
  /** What a peer does to its update before it hands it over. */
  readonly distort?: ((delta: Float32Array, random: () => number) => Float32Array) | undefined;
  /** Hears of each segment computed. */
  readonly onComputed: (ms: number) => void;
}

const RATE = 0.1;
const NOISE = 0.01;

export class StandInTrainer implements TrainerPort {
  readonly #options: StandInOptions;
  readonly #disk: StandInDisk;
  readonly #clock: ClockPort;
  readonly #power: Power;
  #memory: StandInDisk;
  #isTraining = false;
  #enoughFor = -1;
  #ahead: { superseded: boolean; readonly ended: Promise<unknown> } | undefined;

  constructor(options: StandInOptions, disk: StandInDisk, clock: ClockPort, power: Power) {
    this.#options = options;
    this.#disk = disk;
    this.#clock = clock;
    this.#power = power;
    this.#memory = copyOf(disk);
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
    while (this.#memory.warmUpSegments < steps) {
      await this.#wait(this.#options.segmentMs, signal);
      this.#memory.warmUpSegments++;
      onStep(this.#memory.warmUpSegments);
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
    const { segments, segmentMs, endRound, tokensPerSegment, distort, name, seed } = this.#options;
    try {
      if (round >= endRound) await this.#wait(Number.POSITIVE_INFINITY, signal);
      while (memory.step < segments && !(this.#enoughFor === round && memory.step > 0)) {
        await this.#train(onStep, signal);
      }
    } finally {
      this.#isTraining = false;
      this.#save();
    }
    const honest = deltaOf(memory);
    const delta = distort?.(honest, seededRandom(seedOf(seed, name, "distort", round))) ?? honest;
    const tokens = memory.pending * tokensPerSegment;
    return {
      delta,
      tokens,
      bytes: 4 * tokens,
      lossNatsPerToken: 1,
      bitsPerByte: 1,
      computeMs: memory.pending * segmentMs,
    };
  }

  async trainAhead(
    round: number,
    onStep: (step: number, bitsPerByte: number) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const { segments, endRound } = this.#options;
    if (this.#isTraining || round >= endRound) return;
    enterAhead(this.#memory, round);
    const { promise: ended, resolve } = Promise.withResolvers<void>();
    const ahead = { superseded: false, ended };
    this.#ahead = ahead;
    try {
      while (this.#memory.step < segments && !ahead.superseded) await this.#train(onStep, signal);
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
    return 1;
  }

  async #train(onStep: (step: number, bitsPerByte: number) => void, signal: AbortSignal): Promise<void> {
    const memory = this.#memory;
    const { segmentMs, onComputed } = this.#options;
    await this.#wait(segmentMs, signal);
    onComputed(segmentMs);
    this.#move(memory.round, memory.step);
    memory.step++;
    memory.pending++;
    onStep(memory.step, 1);
  }

  #move(round: number, segment: number): void {
    const { name, seed, optimum } = this.#options;
    const random = seededRandom(seedOf(seed, name, round, segment));
    const { theta } = this.#memory;
    for (let index = 0; index < theta.length; index++) {
      const gradient = theta[index]! - optimum[index]!;
      theta[index] = theta[index]! - RATE * gradient + NOISE * (2 * random() - 1);
    }
  }

  #save(): void {
    if (this.#power.on) Object.assign(this.#disk, copyOf(this.#memory));
  }

  async #wait(ms: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    await this.#power.through(
      new Promise<void>((resolve, reject) => {
        const abort = () => {
          cancel();
          reject(signal.reason);
        };
        const done = () => {
          signal.removeEventListener("abort", abort);
          resolve();
        };
        const cancel = ms === Number.POSITIVE_INFINITY ? () => {} : this.#clock.after(ms, done);
        signal.addEventListener("abort", abort, { once: true });
      }),
    );
  }
}

/** Half the mean squared distance. */
export function standInLoss(body: Float32Array, optimum: Float32Array): number {
  let sum = 0;
  for (let index = 0; index < body.length; index++) sum += (body[index]! - optimum[index]!) ** 2;
  return sum / (2 * body.length);
}
