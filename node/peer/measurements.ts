// What this peer has measured of itself, kept as events pass: the numbers behind `glossa stats`, the metrics and the row
// in the table at the end. Pure bookkeeping; reads no clock and no network.
import { type RunConfig, sharesEmbedding } from "#protocol/core/run-config.ts";
import type { ProtocolEvent } from "#protocol/driver.ts";
import type { TrainingFacts } from "../observability/status.ts";
import type { CreateResult, PrepareResult } from "../trainer/messages.ts";
import type { RoundProgress } from "../trainer/round-progress.ts";

export class Measurements {
  readonly #run: Pick<RunConfig, "variant" | "vocabulary">;
  readonly #tokensPerStep: number;
  #created: CreateResult | undefined;
  #vocabularySize = 0;
  #steps = 0;
  /** Of the last step that was heard of: its round and its place there. */
  #round = -1;
  #stepInRound = 0;
  #bitsPerByteStart: number | undefined;
  #bitsPerByte: number | undefined;
  #stepsBefore = 0;
  #skippedSteps = 0;
  #trainerRestarts = 0;
  #lastTrainerCrash: string | undefined;
  #last: Extract<ProtocolEvent, { type: "published" }> | undefined;

  constructor(run: RunConfig) {
    this.#run = run;
    this.#tokensPerStep = run.model.sequenceLength * run.training.batchSize;
  }

  trainerCreated(created: CreateResult, { vocabularySize }: PrepareResult): void {
    this.#created = created;
    this.#vocabularySize = vocabularySize;
    this.#stepsBefore = (created.resumed?.totalTokens ?? 0) / this.#tokensPerStep;
    this.#steps = this.#stepsBefore;
    this.#skippedSteps = created.resumed?.skippedSteps ?? 0;
    this.#resumeAt(created.resumed);
  }

  stepsSkipped(total: number): void {
    this.#skippedSteps = total;
  }

  trainerCrashed(cause: string, isRestarted: boolean): void {
    this.#lastTrainerCrash = cause;
    if (isRestarted) this.#trainerRestarts++;
  }

  /** Steps after the checkpoint are taken again, and count once. */
  trainerResumed(progress: RoundProgress | undefined): void {
    this.#steps = (progress?.totalTokens ?? 0) / this.#tokensPerStep;
    this.#resumeAt(progress);
  }

  #resumeAt(progress: RoundProgress | undefined): void {
    this.#round = progress?.round ?? -1;
    this.#stepInRound = progress?.step ?? 0;
  }

  evaluated(bitsPerByte: number): void {
    this.#bitsPerByteStart ??= bitsPerByte;
    this.#bitsPerByte = bitsPerByte;
  }

  record(event: ProtocolEvent): void {
    switch (event.type) {
      case "step":
        // A new round counts from one again, also before the last one's update is made; within a round the difference is
        // what was trained.
        if (event.round !== this.#round) this.#stepInRound = 0;
        this.#round = event.round;
        this.#steps += event.step >= this.#stepInRound ? event.step - this.#stepInRound : event.step;
        this.#stepInRound = event.step;
        break;
      case "published":
        this.#last = event;
        break;
      default:
    }
  }

  facts(): TrainingFacts {
    const last = this.#last;
    return {
      device: this.#created?.device ?? "none yet",
      variant: this.#run.variant,
      vocabularySize: this.#vocabularySize,
      commonVocabularySize: this.#run.vocabulary?.size,
      heldRows: sharesEmbedding(this.#run) ? this.#vocabularySize : undefined,
      embeddingParameters: this.#created?.embeddingParameters ?? 0,
      bodyParameters: this.#created?.bodyParameters ?? 0,
      steps: this.#steps,
      tokens: this.#steps * this.#tokensPerStep,
      stepsThisProcess: this.#steps - this.#stepsBefore,
      tokensPerSecond: last === undefined ? undefined : (1000 * last.tokens) / last.computeMs,
      lossNatsPerToken: last?.lossNatsPerToken,
      bitsPerByteStart: this.#bitsPerByteStart,
      bitsPerByte: this.#bitsPerByte,
      skippedSteps: this.#skippedSteps,
      trainerRestarts: this.#trainerRestarts,
      lastTrainerCrash: this.#lastTrainerCrash,
    };
  }
}
