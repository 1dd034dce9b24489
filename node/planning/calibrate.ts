// How fast this machine does a training step's arithmetic: a few real steps of a small model of the same make. What is
// left out of it is said where the number is shown.

import { setImmediate as nextTurn } from "node:timers/promises";
import { genesisBody, initialEmbedding } from "#model/genesis.ts";
import { ANY_OPTIMIZER } from "#model/optim/any-optimizer.ts";
import { flopsPerToken } from "#model/plan.ts";
import { RandomStream } from "#model/random.ts";
import type { Batch, Device, ModelConfig, Precision } from "#model/types.ts";
import { createOnDevice } from "../trainer/device.ts";

/** Ceilings of the small model: a step of it takes about a second on two cores. */
const MOST_WIDTH = 1024;
const MOST_SEQUENCE = 512;
const MOST_VOCABULARY = 4096;
const TOKENS = 1024;
/** The first step allocates and packs. */
const WARM_UP_RUNS = 1;
/** The third run and those after it have as many steps as pay, where one alone would not (cuda). */
const TIMED_RUNS = 3;

export interface Calibration {
  readonly device: Device;
  /** Of the matrix products of a whole step, from its fastest one. */
  readonly flopsPerSecond: number;
  /** The model whose steps were timed, and its sequences a step. */
  readonly config: ModelConfig;
  readonly batchSize: number;
  readonly steps: number;
}

export interface CalibrationOptions {
  readonly device: Device | "auto";
  readonly precision?: Precision | undefined;
  readonly threads: number;
  readonly signal: AbortSignal;
}

/** One block of the model's width and heads, with sequences and vocabulary up to a ceiling. */
export function smallModelOf(config: ModelConfig): ModelConfig {
  const headSize = config.width / config.heads;
  const heads = Math.max(1, Math.min(config.heads, Math.floor(MOST_WIDTH / headSize)));
  return {
    blocks: 1,
    heads,
    width: heads * headSize,
    sequenceLength: Math.min(config.sequenceLength, MOST_SEQUENCE),
    vocabularySize: Math.min(config.vocabularySize, MOST_VOCABULARY),
  };
}

/** @throws DeviceUnavailableError where the device is not there, AbortError */
export async function calibrate(config: ModelConfig, options: CalibrationOptions): Promise<Calibration> {
  const small = smallModelOf(config);
  const batchSize = Math.max(1, Math.round(TOKENS / small.sequenceLength));
  const { model, device } = await createOnDevice(options.device, {
    config: small,
    optimizer: ANY_OPTIMIZER,
    batchSize,
    threads: options.threads,
    precision: options.precision,
    body: genesisBody(small, "calibration"),
    embedding: initialEmbedding(small, "calibration"),
  });
  try {
    const batch = randomBatch(small, batchSize);
    let steps = 0;
    let fastestMs = Number.POSITIVE_INFINITY;
    for (let run = 0; run < WARM_UP_RUNS + TIMED_RUNS; run++) {
      // A step blocks this thread: signals are heard between two of them.
      await nextTurn(undefined, { signal: options.signal });
      const batches = Array.from({ length: model.stepsPerRun("whole") }, () => batch);
      const startedMs = performance.now();
      await model.trainSteps(batches, steps);
      const stepMs = (performance.now() - startedMs) / batches.length;
      steps += batches.length;
      if (run >= WARM_UP_RUNS) fastestMs = Math.min(fastestMs, stepMs);
    }
    const flops = batch.inputs.length * flopsPerToken(small);
    return {
      device,
      flopsPerSecond: (1000 * flops) / fastestMs,
      config: small,
      batchSize,
      steps,
    };
  } finally {
    await model.dispose();
  }
}

function randomBatch({ sequenceLength, vocabularySize }: ModelConfig, batchSize: number): Batch {
  const stream = RandomStream.fromSeed("calibration/tokens");
  const ids = () =>
    Int32Array.from({ length: batchSize * sequenceLength }, () => stream.nextUint32() % vocabularySize);
  return { inputs: ids(), targets: ids(), batchSize, sequenceLength };
}
