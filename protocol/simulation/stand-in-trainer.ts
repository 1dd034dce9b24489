// What stands in for a model and its text: each peer has an optimum of its own near a common one, and every segment of a
// round walks a share of the way there, with noise. It learns nothing about language; it shows what the body does when
// updates are late, lost or false, and it takes virtual time.
//   theta <- theta - rate * (theta - own optimum) + noise          loss = mean((theta - common optimum)^2) / 2
import type { ClockPort, RoundTraining, TrainerPort } from "../ports.ts";
import type { Power } from "./power.ts";
import { seededRandom, seedOf } from "./random.ts";

/** What outlives a crash. */
export interface StandInDisk {
  round: number;
  segment: number;
  start: Float32Array;
  theta: Float32Array;
  warmUpSegments: number;
  /** Segments whose progress is in theta: not handed over yet, and handed over last, which a carried round takes back. */
  pending: number;
  handedOver: number;
}

export const blankDisk = (values: number): StandInDisk => ({
  round: -1,
  segment: 0,
  start: new Float32Array(values),
  theta: new Float32Array(values),
  warmUpSegments: 0,
  pending: 0,
  handedOver: 0,
});

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

  constructor(options: StandInOptions, disk: StandInDisk, clock: ClockPort, power: Power) {
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
    this.#enter(round, body, carry);
    const { segments, segmentMs, endRound, tokensPerSegment, distort, name, seed } = this.#options;
    const memory = this.#memory;
    try {
      if (round >= endRound) await this.#wait(Number.POSITIVE_INFINITY, signal);
      while (memory.segment < segments) {
        await this.#wait(segmentMs, signal);
        this.#options.onComputed(segmentMs);
        this.#move(round, memory.segment);
        memory.segment++;
        memory.pending++;
        onStep(memory.segment, 1);
      }
    } finally {
      this.#save();
    }
    const honest = memory.start.map((value, index) => value - memory.theta[index]!);
    const delta = distort?.(honest, seededRandom(seedOf(seed, name, "distort", round))) ?? honest;
    const tokens = memory.pending * tokensPerSegment;
    memory.handedOver = memory.pending;
    memory.pending = 0;
    this.#save();
    return {
      delta,
      tokens,
      bytes: 4 * tokens,
      lossNatsPerToken: 1,
      bitsPerByte: 1,
      computeMs: segments * segmentMs,
    };
  }

  async evaluate(): Promise<number> {
    return 1;
  }

  #enter(round: number, body: Float32Array, carry: boolean): void {
    const memory = this.#memory;
    const resumes = memory.round === round;
    if (resumes || carry) {
      memory.theta = body.map((value, index) => value - (memory.start[index]! - memory.theta[index]!));
    } else {
      memory.theta = body.slice();
      memory.pending = 0;
    }
    memory.start = body;
    if (resumes) return;
    if (carry) memory.pending += memory.handedOver;
    memory.handedOver = 0;
    memory.round = round;
    memory.segment = 0;
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
    if (this.#power.on) Object.assign(this.#disk, structuredClone(this.#memory));
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
