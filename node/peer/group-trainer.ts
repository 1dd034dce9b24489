// The trainer as a group's driver sees it. Nothing is trained for a group: the run's own rounds go on, and a round of the
// group takes what the embedding has learnt when one of them ends. When the run is over, what is left is handed out, and
// then only as much as those need who still go on.
import type { RoundTraining, TrainerPort } from "#protocol/ports.ts";
import type { SharedParameters } from "../trainer/shared-parameters.ts";
import type { Trainer } from "../trainer/trainer.ts";

export interface GroupTrainerOptions {
  /** Between the group's whole embedding and this peer's rows of it. */
  readonly parameters: SharedParameters;
  /** What a presence shows as steps of a round: all of them say that nothing more comes. */
  readonly localSteps: number;
}

export class GroupTrainer implements TrainerPort {
  readonly #trainer: Pick<Trainer, "enterGroup" | "collectGroup">;
  readonly #options: GroupTrainerOptions;
  readonly #ended = new AbortController();
  #idleRound: number | undefined;
  #newestForeignRound = -1;
  #wake: () => void = () => {};

  constructor(trainer: Pick<Trainer, "enterGroup" | "collectGroup">, options: GroupTrainerOptions) {
    this.#trainer = trainer;
    this.#options = options;
  }

  /** The group's round in which nothing is left to hand out; undefined before the end of the run. */
  get idleRound(): number | undefined {
    return this.#idleRound;
  }

  /** The run is over: no local round follows. */
  end(): void {
    this.#ended.abort();
  }

  /** Somebody else has made an update of `round`. */
  heard(round: number): void {
    this.#newestForeignRound = Math.max(this.#newestForeignRound, round);
    this.#wake();
  }

  /** A group's embedding is shared: there is nothing to fit. */
  async warmUp(): Promise<void> {}

  async trainRound(
    round: number,
    embedding: Float32Array,
    carry: boolean,
    onStep: (step: number, bitsPerByte: number) => void,
    signal: AbortSignal,
  ): Promise<RoundTraining> {
    const { parameters } = this.#options;
    this.#idleRound = undefined;
    await this.#trainer.enterGroup(round, parameters.gather(embedding), carry);
    signal.throwIfAborted();
    const result = await this.#collect(round, onStep, signal);
    return { ...result, delta: parameters.scatter(result.delta) };
  }

  /** A group's rounds end when the run's do. */
  async trainAhead(): Promise<void> {}

  endRound(): void {}

  /** The run evaluates; a group has no text of its own. */
  evaluate(): Promise<number> {
    return Promise.reject(new TypeError("a group evaluates nothing"));
  }

  async #collect(
    round: number,
    onStep: (step: number, bitsPerByte: number) => void,
    signal: AbortSignal,
  ): ReturnType<Trainer["collectGroup"]> {
    const ended = this.#ended.signal;
    try {
      if (!ended.aborted) {
        return await this.#trainer.collectGroup("round-end", AbortSignal.any([signal, ended]));
      }
    } catch (error) {
      if (signal.aborted || !ended.aborted) throw error;
    }
    const rest = await this.#trainer.collectGroup("now", signal);
    if (rest.tokens > 0) return rest;
    this.#idleRound = round;
    onStep(this.#options.localSteps, 0);
    await this.#othersGoOn(round, signal);
    this.#idleRound = undefined;
    return rest;
  }

  /** Resolves once somebody else has made an update of `round`, who then waits for ours. */
  #othersGoOn(round: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const leave = () => reject(signal.reason);
      this.#wake = () => {
        if (this.#newestForeignRound < round) return;
        signal.removeEventListener("abort", leave);
        resolve();
      };
      if (signal.aborted) return leave();
      signal.addEventListener("abort", leave, { once: true });
      this.#wake();
    });
  }
}
