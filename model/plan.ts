// What training a model will take, before anything runs: arithmetic, and memory at the peak from the very graphs that will
// run. Estimates only: it measures nothing.

import { bodyLength, embeddingLength } from "./architecture.ts";
import { peakLiveBytes } from "./graph/liveness.ts";
import { ANY_OPTIMIZER } from "./optim/any-optimizer.ts";
import { buildEvaluation, buildGradientStep, buildTrainStep, buildUpdateStep } from "./train-step.ts";
import type { Device, ModelConfig, Precision } from "./types.ts";

/** How a step is computed: what memory depends on besides the model. */
export interface StepPlan {
  readonly batchSize: number;
  /** A divisor of the batch. */
  readonly microBatchSize: number;
  readonly recompute: boolean;
  /** Default float32. */
  readonly precision?: Precision | undefined;
}

/** Bytes at the peak; the parts add up to the total. */
export interface MemoryPlan {
  /** Weights, in as many copies as the device takes (COPIES_OF_STATE). */
  readonly parameters: number;
  /** Both of AdamW's moments, likewise. */
  readonly moments: number;
  /** A gradient of every parameter for each share of a step. */
  readonly gradients: number;
  /** Values between parameters and loss, and temporaries of the optimizer. */
  readonly activations: number;
  /** The process itself, what the parameters were loaded from, and gaps between an allocator's blocks. */
  readonly runtime: number;
  readonly total: number;
}

const BYTES_PER_PARAMETER = 4;
/**
 * The cpu changes parameters in place. On webgpu a step reads one copy and writes the other. With cuda the host has two like
 * that, and the device what it was given, what a round of the loop reads and what it writes.
 */
const COPIES_OF_STATE: Readonly<Record<Device, number>> = { cpu: 1, webgpu: 2, cuda: 5 };
/** Node 24 with onnxruntime's library, before there is a model. */
const PROCESS_BYTES = 120 * 2 ** 20;
/** What an arena takes beyond the values alive in it: a share of them and a part that is always there. Fitted, see the tests. */
const ARENA_OVERHEAD = 0.3;
const ARENA_SLACK_BYTES = 32 * 2 ** 20;

/** Below this many operations a step a second thread is not worth its start and its memory: 2.5 ms of a core at 100 GFLOP/s. */
const MIN_FLOPS_OF_SHARES = 2.5e8;
/** Node's own part of a thread and onnxruntime's of a session. */
const HELPER_BYTES = 40 * 2 ** 20;

/** In how many shares a micro-batch is computed at once where there are two threads for it (cpu): 1 or 2. */
export function sharesOf(config: ModelConfig, { batchSize, microBatchSize, recompute }: StepPlan): 1 | 2 {
  const flops = batchSize * config.sequenceLength * flopsPerToken(config, recompute);
  return microBatchSize % 2 === 0 && flops >= MIN_FLOPS_OF_SHARES ? 2 : 1;
}

/** Peak memory of a process that trains and evaluates. On a GPU: what device and host need together. */
export function planMemory(config: ModelConfig, plan: StepPlan, device: Device = "cpu"): MemoryPlan {
  const groups = ["body", "embedding"] as const;
  const { batchSize, microBatchSize, recompute, precision } = plan;
  const modelBytes = BYTES_PER_PARAMETER * (bodyLength(config) + embeddingLength(config));
  const passes = [peakLiveBytes(buildEvaluation(config, microBatchSize))];
  const copies = COPIES_OF_STATE[device];
  const isInGraph = device !== "cpu";
  const shares = isInGraph ? 1 : sharesOf(config, plan);
  if (isInGraph && microBatchSize === batchSize) {
    const step = buildTrainStep(config, ANY_OPTIMIZER, batchSize, groups, { recompute, precision });
    // In one pass gradients are values of the graph like others.
    passes.push(Math.max(0, peakLiveBytes(step) - modelBytes));
  } else {
    const options = { recompute, precision, rowsApart: !isInGraph, addsUp: microBatchSize < batchSize };
    const part = buildGradientStep(config, batchSize, microBatchSize / shares, groups, options);
    passes.push(...Array.from({ length: shares }, () => peakLiveBytes(part)));
    if (isInGraph) passes.push(peakLiveBytes(buildUpdateStep(config, ANY_OPTIMIZER, groups)));
  }
  // Every compiled graph keeps the memory that it once had.
  const activations = passes.reduce((sum, bytes) => sum + bytes, 0);
  const parameters = copies * modelBytes;
  const moments = 2 * parameters;
  const gradients = shares * modelBytes;
  const slack = passes.length * ARENA_SLACK_BYTES + ARENA_OVERHEAD * activations;
  const runtime = Math.round(PROCESS_BYTES + (shares - 1) * HELPER_BYTES + modelBytes + slack);
  const total = parameters + moments + gradients + activations + runtime;
  return { parameters, moments, gradients, activations, runtime, total };
}

/**
 * The plan for this batch that fits into `bytes` and costs least time: the largest micro-batch, without computing anything
 * again if that is possible at all. Undefined where none fits.
 */
export function findFittingPlan(config: ModelConfig, batchSize: number, bytes: number): StepPlan | undefined {
  const sizes = Array.from({ length: batchSize }, (_, index) => index + 1);
  for (const recompute of [false, true]) {
    let fitting: StepPlan | undefined;
    // Upwards, because the largest ones take longest to plan.
    for (const microBatchSize of sizes.filter((size) => batchSize % size === 0)) {
      const plan: StepPlan = { batchSize, microBatchSize, recompute };
      if (planMemory(config, plan).total > bytes) break;
      fitting = plan;
    }
    if (fitting !== undefined) return fitting;
  }
  return undefined;
}

/**
 * Multiplications and additions of the matrix products for one token: 2 per weight forward and 4 backward (Kaplan et al.
 * 2020, section 2.1; the head counts, the embedding's look-up does not), and 12 T d per block for attention's own two
 * products, which are counted in full, masked or not. Recomputation adds a forward pass of the blocks.
 */
export function flopsPerToken(
  { blocks, width, sequenceLength, vocabularySize }: ModelConfig,
  recompute = false,
): number {
  const blockForward = blocks * (2 * 12 * width * width + 4 * sequenceLength * width);
  return (recompute ? 4 : 3) * blockForward + 6 * vocabularySize * width;
}
