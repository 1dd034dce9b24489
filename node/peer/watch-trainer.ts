// What becomes known of the trainer's process: its crashes and returns as events, lines of the log and numbers, and what
// libraries print in it as lines of the log.
import type { PeerEvent } from "../observability/events.ts";
import type { Logger } from "../observability/log.ts";
import type { TrainerOptions } from "../trainer/trainer.ts";
import type { Measurements } from "./measurements.ts";

export interface TrainerWatchers {
  readonly log: Logger;
  readonly emit: (event: PeerEvent) => void;
  readonly measurements: Measurements;
}

export function watchTrainer({ log, emit, measurements }: TrainerWatchers): TrainerOptions {
  return {
    onStart: (pid) => log.info({ pid }, "trainer started"),
    onLine: (line) => log.warn({ from: "trainer" }, line),
    onCrash({ cause, ending, crashes, restartInMs }) {
      const signal = ending.signal ?? undefined;
      const exitCode = ending.exitCode ?? undefined;
      measurements.trainerCrashed(cause.clause, restartInMs !== undefined);
      log.error(
        { kind: cause.kind, signal, exitCode, crashes, restartInMs },
        `trainer crashed: ${cause.clause}`,
      );
      emit({ event: "trainer-crashed", cause: cause.clause, signal, exitCode, crashes, restartInMs });
    },
    onTextChanged(change) {
      log.warn(change, "the text has changed: tokenizer and embeddings stay, and a new pass over it begins");
      emit({ event: "text-changed", ...change });
    },
    onSkipped(steps, total) {
      measurements.stepsSkipped(total);
      log.info({ steps, total }, "the loss was scaled too far for float16: skipped");
      emit({ event: "steps-skipped", steps, total });
    },
    onResume(progress) {
      measurements.trainerResumed(progress);
      if (progress === undefined) log.info("trainer begins again: nothing had been saved yet");
      else log.info({ round: progress.round, step: progress.step }, "trainer resumed from its checkpoint");
    },
  };
}
