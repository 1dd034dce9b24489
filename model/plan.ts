// What training a model will take, before anything runs: parameters, arithmetic, and memory at the peak. Estimates from the
// very graphs that will run. Measures nothing and decides nothing.
import { bodyLength, embeddingLength } from "./architecture.ts";
import { peakLiveBytes } from "./graph/liveness.ts";
import {
  buildEvaluation,
  buildGradientStep,
  buildTrainStep,
  buildUpdateStep,
  stepInputs,
  stepOutputs,
} from "./train-step.ts";
import type { ModelConfig, OptimizerConfig } from "./types.ts";

/** How a step is computed: the choices that memory depends on. */
export interface StepPlan {
  readonly batchSize: number;
  readonly microBatchSize: number;
  readonly recompute: boolean;
}

export interface MemoryPlan {
  /** Weights; on the host two copies, which a step reads and writes in turn. */
  readonly parametersBytes: number;
  /** Both of AdamW's moments, likewise. */
  readonly momentsBytes: number;
  /** One gradient of each parameter. */
  readonly gradientsBytes: number;
  /** Values between the parameters and the loss, and temporaries of the optimizer. */
  readonly activationsBytes: number;
  /** Node, onnxruntime, the compiled graphs, and what an allocator loses between values of different sizes. */
  readonly runtimeBytes: number;
  readonly totalBytes: number;
}

const BYTES_PER_PARAMETER = 4;
const STATE_COPIES = 2;
/** Resident size of a peer's trainer before a model is there: Node 24 with its heap, onnxruntime's library. */
const PROCESS_BYTES = 120 * 2 ** 20;
/** Measured resident size over live values; see docs/decisions.md for the table. */
const ALLOCATOR_OVERHEAD = 0.25;

/** Any: no number depends on it. */
const OPTIMIZER: OptimizerConfig = {
  learningRate: 1e-3,
  beta1: 0.9,
  beta2: 0.95,
  epsilon: 1e-8,
  weightDecay: 0.1,
  gradientClip: 1,
  warmupSteps: 0,
  totalSteps: 1,
  finalLearningRateRatio: 0.1,
};

/** Peak memory of training with evaluation now and then, in bytes, all of it in one address space. */
export function planMemory(config: ModelConfig, plan: StepPlan): MemoryPlan {
  const groups = ["body", "embedding"] as const;
  const { batchSize, microBatchSize, recompute } = plan;
  const modelBytes = BYTES_PER_PARAMETER * (bodyLength(config) + embeddingLength(config));
  const gradientsBytes = modelBytes;

  let activationsBytes: number;
  if (microBatchSize === batchSize) {
    const step = buildTrainStep(config, OPTIMIZER, batchSize, groups, { recompute });
    activationsBytes = peakLiveBytes(step) - gradientsBytes;
  } else {
    const isSum = new Set(["gradient"]);
    void isSum;
    const addition = buildGradientStep(config, batchSize, microBatchSize, groups, { recompute });
    // Each session keeps the memory it once had.
    activationsBytes = peakLiveBytes(addition) + peakLiveBytes(buildUpdateStep(config, OPTIMIZER, groups));
  }
  activationsBytes += peakLiveBytes(buildEvaluation(config, microBatchSize));

  const parametersBytes = STATE_COPIES * modelBytes;
  const momentsBytes = 2 * STATE_COPIES * modelBytes;
  const runtimeBytes = PROCESS_BYTES + Math.round(ALLOCATOR_OVERHEAD * activationsBytes);
  return {
    parametersBytes,
    momentsBytes,
    gradientsBytes,
    activationsBytes,
    runtimeBytes,
    totalBytes: parametersBytes + momentsBytes + gradientsBytes + activationsBytes + runtimeBytes,
  };
}
void stepInputs;
void stepOutputs;
