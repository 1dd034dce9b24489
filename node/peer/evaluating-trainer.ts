// A trainer that looks at held-out text before it trains a round: the common body together with this peer's embeddings,
// both as they are at the round's start. Everything else it passes on.
import type { RoundTraining, TrainerPort } from "#protocol/ports.ts";

export interface EvaluatingTrainerOptions {
  /** Evaluate before every n-th round; 0 never does. */
  readonly everyRounds: number;
  readonly onEvaluated: (round: number, bitsPerByte: number) => void;
}

export class EvaluatingTrainer implements TrainerPort {
  readonly #trainer: TrainerPort;
  readonly #options: EvaluatingTrainerOptions;
  #evaluatedRound = -1;

  constructor(trainer: TrainerPort, options: EvaluatingTrainerOptions) {
    this.#trainer = trainer;
    this.#options = options;
  }

  get progressRound(): number | undefined {
    return this.#trainer.progressRound;
  }

  warmUp(...args: Parameters<TrainerPort["warmUp"]>): Promise<void> {
    return this.#trainer.warmUp(...args);
  }

  async trainRound(...args: Parameters<TrainerPort["trainRound"]>): Promise<RoundTraining> {
    const [round, body, , , signal] = args;
    const { everyRounds } = this.#options;
    // A call that is cancelled already only asks the trainer where it stands.
    const isDue =
      !signal.aborted && everyRounds > 0 && (this.#evaluatedRound < 0 || round % everyRounds === 0);
    if (isDue && round !== this.#evaluatedRound) await this.#evaluate(round, body, signal);
    return this.#trainer.trainRound(...args);
  }

  trainAhead(...args: Parameters<TrainerPort["trainAhead"]>): Promise<void> {
    return this.#trainer.trainAhead(...args);
  }

  endRound(round: number): void {
    this.#trainer.endRound(round);
  }

  evaluate(body: Float32Array, signal: AbortSignal): Promise<number> {
    return this.#trainer.evaluate(body, signal);
  }

  async #evaluate(round: number, body: Float32Array, signal: AbortSignal): Promise<void> {
    const bitsPerByte = await this.#trainer.evaluate(body, signal);
    this.#evaluatedRound = round;
    this.#options.onEvaluated(round, bitsPerByte);
  }
}
