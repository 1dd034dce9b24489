// Runs one cell from its description to its result. Everything it needs besides comes from the store, where an earlier cell
// left it, or is a function of the cell.
import { bodyLength } from "#model/architecture.ts";
import { mix32 } from "#model/data/permutation.ts";
import { NonFiniteStepError } from "#model/errors.ts";
import { genesisBody } from "#model/genesis.ts";
import type { ModelConfig, OptimizerConfig } from "#model/types.ts";
import { loadBaselineCheckpoint, saveBaselineCheckpoint } from "#node/single-machine/baseline-checkpoint.ts";
import { type Evaluated, trainBaseline } from "#node/single-machine/train-baseline.ts";
import { readIfPresent, writeAtomic } from "#node/storage/atomic-file.ts";
import { parseRunConfig, type RunConfig } from "#protocol/core/run-config.ts";
import { type Cell, type Experiment, type Pretraining, sourcesOf } from "./cells.ts";
import { trainDept } from "./dept.ts";
import { decodeDeptCheckpoint, encodeDeptCheckpoint } from "./dept-checkpoint.ts";
import { evaluateSources, type HeldOutText, lookAtModel } from "./held-out.ts";
import { ActivationProbe } from "./norms.ts";
import type { CellResult, CurvePoint } from "./results.ts";
import { stepsOf } from "./settings.ts";
import type { CellStore, MadeModel } from "./store.ts";
import type { Vocabularies } from "./vocabularies.ts";

export interface CellContext {
  readonly experiment: Experiment;
  readonly vocabularies: Vocabularies;
  readonly store: CellStore;
  readonly checkpointIntervalMs: number;
  /** Optimizer steps done, of cell.steps. */
  readonly onSteps: (done: number) => void;
  readonly nowMs: () => number;
}

/** A cell needs the body that another one makes, and that is not there: cells are run in the order of the list. */
export class CellMissingError extends Error {
  readonly code = "CELL_MISSING";

  constructor(id: string) {
    super(`The body of cell ${id} is not there: run that cell first, or leave out --only.`);
    this.name = "CellMissingError";
  }
}

interface Ran {
  readonly result: CellResult;
  readonly model?: MadeModel;
}

/** Runs the cell, or the rest of it where an earlier start was cut off, and keeps the result in the store. */
export async function runCell(cell: Cell, context: CellContext, signal: AbortSignal): Promise<void> {
  const startedMs = context.nowMs();
  const { result, model } = await ran(cell, context, signal).catch((error: unknown): Ran => {
    // Instability is a result.
    if (error instanceof NonFiniteStepError) return diverged(error);
    throw error;
  });
  const seconds = (context.nowMs() - startedMs) / 1000;
  await context.store.finish({ cell, result, seconds }, model);
}

const diverged = ({ step }: NonFiniteStepError): Ran => ({
  result: { bitsPerByte: {}, curve: [], peers: {}, divergedAtStep: step },
});

function ran(cell: Cell, context: CellContext, signal: AbortSignal): Promise<Ran> {
  const { phase, pretraining } = cell;
  if (phase !== "pretrain") return continueFrom(cell, context, signal);
  if (pretraining === undefined) throw new RangeError("there is nothing to pre-train");
  return "codec" in pretraining
    ? pretrainTogether(cell, pretraining, context, signal)
    : pretrainAlone(cell, pretraining, context, signal);
}

type Together = Extract<Pretraining, { codec: unknown }>;
type Alone = Exclude<Pretraining, Together>;

async function pretrainTogether(
  cell: Cell,
  { method, codec, learningRate }: Together,
  context: CellContext,
  signal: AbortSignal,
): Promise<Ran> {
  const { experiment, vocabularies, store, checkpointIntervalMs, onSteps, nowMs } = context;
  const { scale } = experiment;
  const global = await vocabularies.global(cell.heldOut, signal);
  const { batchSize, localSteps, rounds, warmupSteps, momentsAcrossRounds, model } = scale;
  const run: RunConfig = parseRunConfig({
    seed: cell.seed,
    variant: method,
    ...(method !== "spec-opt" && {
      vocabulary: { tokenizer: global.tokenizer.fingerprint, size: global.tokenizer.vocabularySize },
    }),
    model,
    training: { batchSize, localSteps, rounds, warmupSteps, momentsAcrossRounds, learningRate },
    averaging: { codec },
  });
  const path = store.partialPath(cell.id);
  const kept = await readIfPresent(path);
  const { shared, curve, direct, peers } = await trainDept(
    {
      run,
      sources: sourcesOf(experiment, cell.heldOut),
      heldOut: cell.heldOut,
      curveBytes: scale.curveBytes,
      evaluationBytes: scale.evaluationBytes,
      checkpointIntervalMs,
    },
    {
      vocabularies,
      checkpoint: kept && decodeDeptCheckpoint(kept),
      save: (checkpoint) => writeAtomic(path, encodeDeptCheckpoint(checkpoint)),
      onSteps,
      nowMs,
    },
    signal,
  );
  const body = bodyLength(model);
  const embedding = shared.length === body ? undefined : shared.slice(body);
  return { result: { bitsPerByte: direct, curve, peers }, model: { body: shared.slice(0, body), embedding } };
}

async function pretrainAlone(
  cell: Cell,
  pretraining: Alone,
  context: CellContext,
  signal: AbortSignal,
): Promise<Ran> {
  const { experiment, vocabularies } = context;
  const { scale } = experiment;
  const steps = cell.steps;
  const isLocal = pretraining.method === "local";
  const sources = isLocal ? [pretraining.source] : sourcesOf(experiment, cell.heldOut);
  const { tokenizer } = isLocal
    ? await vocabularies.own(pretraining.source, signal)
    : await vocabularies.global(cell.heldOut, signal);
  const { result, model } = await trainOne(
    cell,
    {
      method: isLocal ? "std" : pretraining.method,
      temperature: isLocal ? 1 : pretraining.temperature,
      // A longer training rises as long in proportion.
      schedule: {
        steps,
        warmupSteps: Math.round((scale.warmupSteps * steps) / stepsOf(scale)),
        learningRate: pretraining.learningRate,
      },
      // As many points as DEPT has rounds; act's cycles are as long as DEPT's rounds, however many there are.
      pointSteps: pretraining.method === "act" ? scale.localSteps : steps / scale.rounds,
      sources,
      evaluated: isLocal ? sources : experiment.corpora.map(({ name }) => name),
      tokenizer,
    },
    {},
    context,
    signal,
  );
  return { result, model: isLocal ? { body: model.body, embedding: undefined } : model };
}

/** Phase 2 and adapting: a body, somebody's or nobody's, trained on with new or kept embeddings in the global vocabulary. */
async function continueFrom(cell: Cell, context: CellContext, signal: AbortSignal): Promise<Ran> {
  const { experiment, vocabularies, store } = context;
  const { scale } = experiment;
  const { tokenizer } = await vocabularies.global(cell.heldOut, signal);
  let made: MadeModel | undefined;
  if (cell.from !== undefined) {
    const source = await store.finished(cell.from);
    const step = source?.result.divergedAtStep;
    if (step !== undefined)
      return { result: { bitsPerByte: {}, curve: [], peers: {}, divergedAtStep: step } };
    made = await store.model(cell.from);
    if (made === undefined) throw new CellMissingError(cell.from);
  }
  const keeps = cell.phase === "kept";
  const adapts = cell.phase === "adapt";
  const { result } = await trainOne(
    cell,
    {
      method: "std",
      temperature: 0,
      // The paper's phase 2: from the peak down, half of it where the embedding is a trained one.
      schedule: {
        steps: cell.steps,
        warmupSteps: 0,
        learningRate: scale.learningRate * (keeps ? 0.5 : 1),
      },
      pointSteps: scale.curveSteps,
      sources: adapts ? [cell.heldOut] : sourcesOf(experiment, cell.heldOut),
      evaluated: adapts ? [cell.heldOut] : experiment.corpora.map(({ name }) => name),
      tokenizer,
    },
    {
      body: made?.body ?? genesisBody(scale.model, cell.seed),
      ...(keeps && made?.embedding && { embedding: made.embedding }),
    },
    context,
    signal,
  );
  return { result: { ...result, peers: {} } };
}

/**
 * Phase 2 begins with an embedding that no pre-training began with, and with the text in another order: a body must not
 * meet again what it grew up with.
 */
const laterSeed = (seed: number): number => mix32(seed ^ 0x70683232);

interface OneTraining {
  readonly method: "std" | "act";
  readonly temperature: number;
  readonly schedule: { readonly steps: number; readonly warmupSteps: number; readonly learningRate: number };
  /** Steps between two points of the curve; act's cycle. */
  readonly pointSteps: number;
  readonly sources: readonly string[];
  readonly evaluated: readonly string[];
  readonly tokenizer: HeldOutText["tokenizer"];
}

async function trainOne(
  cell: Cell,
  training: OneTraining,
  initial: { readonly body?: Float32Array; readonly embedding?: Float32Array },
  context: CellContext,
  signal: AbortSignal,
): Promise<{ result: CellResult; model: Required<MadeModel> }> {
  const { experiment, vocabularies, store, nowMs } = context;
  const { scale } = experiment;
  const { tokenizer, schedule, sources, evaluated } = training;
  const config: ModelConfig = { ...scale.model, vocabularySize: tokenizer.vocabularySize };
  const { batchSize } = scale;
  const optimizer: OptimizerConfig = {
    ...parseRunConfig({}).training,
    ...schedule,
    totalSteps: schedule.steps,
  };
  const splits = await Promise.all(
    sources.map((name) => vocabularies.tokens(name, "train", tokenizer, signal)),
  );
  const texts = (bytes: number) =>
    Promise.all(
      evaluated.map(async (source): Promise<HeldOutText> => {
        return { source, tokenizer, ids: await vocabularies.heldOut(source, tokenizer, bytes, signal) };
      }),
    );
  const [curveTexts, wholeTexts] = [await texts(scale.curveBytes), await texts(scale.evaluationBytes)];
  const probe = await ActivationProbe.create(config, batchSize);
  const path = store.partialPath(cell.id);
  let whole: Evaluated = {};
  try {
    const { body, embedding, progress } = await trainBaseline(
      {
        method: training.method,
        config,
        optimizer,
        batchSize,
        localSteps: training.pointSteps,
        temperature: training.temperature,
        seed: cell.phase === "pretrain" ? cell.seed : laterSeed(cell.seed),
        device: "cpu",
        threads: 1,
        checkpointIntervalMs: context.checkpointIntervalMs,
      },
      {
        sources: splits,
        initial,
        checkpoint: await loadBaselineCheckpoint(path, cell.id),
        save: (checkpoint) => saveBaselineCheckpoint(path, cell.id, checkpoint),
        evaluate: (model) => lookAtModel(model, curveTexts, probe, signal),
        onEnd: async (model) => {
          whole = await evaluateSources(model, wholeTexts, { batchSize, ...scale.model }, signal);
        },
        onStep: (done) => context.onSteps(done),
        nowMs,
      },
      signal,
    );
    return {
      result: {
        bitsPerByte: whole,
        curve: progress.evaluations.map(({ step, values }) => pointOf(step, values)),
        peers: {
          all: {
            vocabularySize: config.vocabularySize,
            bodyParameters: body.length,
            embeddingParameters: embedding.length,
            sentParameters: 0,
            tokens: progress.tokens,
            payloadBytes: [],
          },
        },
      },
      model: { body, embedding },
    };
  } finally {
    await probe.dispose();
  }
}

/** The flat numbers that a baseline keeps, by their meaning. */
function pointOf(step: number, values: Evaluated): CurvePoint {
  const { activation, bodyNorm, embeddingRowNorm, ...bitsPerByte } = values;
  return {
    step,
    bitsPerByte,
    activation: activation!,
    bodyNorm: bodyNorm!,
    embeddingRowNorm: embeddingRowNorm!,
  };
}
