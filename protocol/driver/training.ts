// Local training on behalf of the round logic: one call of the trainer at a time, abortable, results kept until they
// are published.
import type { EffectOf } from "../core/round-events.ts";
import { goesAhead } from "../core/rules.ts";
import type { DriverContext } from "./context.ts";

/**
 * After a restart of a trainer that cannot say what it stands in, before anything else is trained: has it stand in the
 * round that was not published yet, with the progress it has of that very round or with none. A later `carry` then carries
 * nothing that was published, also where the trainer's last checkpoint is older than the protocol's.
 */
export function reclaimProgress(context: DriverContext, round: number): void {
  const { trainingLane, ledger, modules } = context;
  trainingLane.enqueue(async () => {
    try {
      await modules.trainer.trainRound(round, ledger.body(), false, () => {}, AbortSignal.abort());
    } catch (error) {
      if (!(error instanceof Error && error.name === "AbortError")) throw error;
    }
  });
}

export function train(context: DriverContext, { round, carry }: EffectOf<"train">): void {
  const { trainingLane, ledger, modules, dispatch, trained, state } = context;
  const task = async (signal: AbortSignal) => {
    const baseRoot = ledger.roots().root;
    const onStep = (step: number, bitsPerByte: number) =>
      dispatch({ type: "stepped", round, step, bitsPerByte });
    const goOn = goesAhead(state().rules, round + 1);
    const result = await modules.trainer.trainRound(round, ledger.body(), carry, onStep, signal, goOn);
    // Finished although it was told to stop: the trainer carries this progress into its next round.
    if (signal.aborted) return;
    // What was not drawn is handed over again, with more.
    for (const older of [...trained.keys()]) if (older < round) trained.delete(older);
    trained.set(round, { ...result, baseRoot });
    dispatch({ type: "trained", round });
  };
  // Told to stop before it began, the trainer has to stand in this round all the same: what it has of the last one is
  // published, and to carry that would count it twice.
  trainingLane.enqueue(task, { must: true });
}

/**
 * Takes steps of `round` while the update of the one before is on its way. Beside the training lane: `train` of that
 * round, or of another, takes over from it.
 */
export function trainAhead(context: DriverContext, { round }: EffectOf<"train-ahead">): void {
  const { aheadLane, modules, dispatch } = context;
  const onStep = (step: number, bitsPerByte: number) =>
    dispatch({ type: "stepped", round, step, bitsPerByte });
  aheadLane.enqueue((signal) => modules.trainer.trainAhead(round, onStep, signal));
}

export function abortTraining({ trainingLane, aheadLane }: DriverContext): void {
  trainingLane.abort();
  aheadLane.abort();
}

export function warmUp(context: DriverContext): void {
  const { trainingLane, ledger, modules, dispatch, note, options } = context;
  const steps = options.config.training.embeddingWarmupSteps;
  trainingLane.enqueue(async (signal) => {
    const onStep = (step: number) => {
      note({ type: "warm-up-step", step, steps });
      dispatch({ type: "advanced" });
    };
    await modules.trainer.warmUp(ledger.body(), steps, onStep, signal);
    if (!signal.aborted) dispatch({ type: "warmed" });
  });
}
