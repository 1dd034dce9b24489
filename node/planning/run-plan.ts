// What a run will take of this peer: the model's plan, what keeping and sharing it adds, and the traffic of a round. Pure;
// the machine's memory is an argument.
import {
  bodyLength,
  bodyTensors,
  embeddingLength,
  validateMicroBatchSize,
  validateModelConfig,
} from "#model/architecture.ts";
import { findFittingPlan, flopsPerToken, type MemoryPlan, planMemory, type StepPlan } from "#model/plan.ts";
import type { ModelConfig } from "#model/types.ts";
import { codecFor } from "#protocol/core/codec/registry.ts";
import { parameterLayout } from "#protocol/core/layout.ts";
import { type RunConfig, tokensPerRound } from "#protocol/core/run-config.ts";
import { sha256 } from "#protocol/net/hash.ts";

const BYTES_PER_PARAMETER = 4;

export interface RunPlan {
  readonly config: ModelConfig;
  readonly step: StepPlan;
  readonly bodyParameters: number;
  readonly embeddingParameters: number;
  readonly memory: PeerMemory;
  readonly flopsPerToken: number;
  readonly tokensPerRound: number;
  /** What a peer sends of its own in a round at most, once; whoever fetches it makes it more. */
  readonly updateBytesPerRound: number;
  readonly codec: string;
  readonly machineBytes: number;
  readonly fits: boolean;
  /** How the same batch fits, where this plan does not; undefined where it does, or where nothing helps. */
  readonly instead: StepPlan | undefined;
}

export interface PeerMemory extends MemoryPlan {
  /** Copies of the body for averaging, and of the state while a checkpoint is written. Counted, not measured. */
  readonly sharing: number;
}

export interface RunPlanOptions {
  readonly vocabularySize: number;
  /** Sequences at once; undefined takes the run's batch. */
  readonly microBatch: number | undefined;
  readonly recompute: boolean;
  readonly machineBytes: number;
}

/** The run does not fit into this machine's memory as it is asked for. */
export class PlanDoesNotFitError extends Error {
  readonly code = "PLAN_DOES_NOT_FIT";
  readonly neededBytes: number;
  readonly machineBytes: number;
  constructor(plan: RunPlan, remedy: string, size: (bytes: number) => string) {
    const { total } = plan.memory;
    super(
      `The run needs ${size(total)} of memory where this machine has ${size(plan.machineBytes)}: ${remedy}.`,
    );
    this.name = "PlanDoesNotFitError";
    this.neededBytes = total;
    this.machineBytes = plan.machineBytes;
  }
}

/** @throws ModelConfigError where the model cannot be built or the micro-batch does not divide the batch */
export function planRun(run: RunConfig, options: RunPlanOptions): RunPlan {
  const { vocabularySize, recompute, machineBytes } = options;
  const config: ModelConfig = { ...run.model, vocabularySize };
  validateModelConfig(config);
  const { batchSize } = run.training;
  const step: StepPlan = { batchSize, microBatchSize: options.microBatch ?? batchSize, recompute };
  validateMicroBatchSize(step.microBatchSize, batchSize);
  const bodyParameters = bodyLength(config);
  const embeddingParameters = embeddingLength(config);
  const sharing = sharingBytes(bodyParameters, embeddingParameters);
  const planned = planMemory(config, step);
  const memory: PeerMemory = { ...planned, sharing, total: planned.total + sharing };
  const fits = memory.total <= machineBytes;
  return {
    config,
    step,
    bodyParameters,
    embeddingParameters,
    memory,
    flopsPerToken: flopsPerToken(config, recompute),
    tokensPerRound: tokensPerRound(run),
    updateBytesPerRound: codecFor(run.averaging).maxPayloadBytes(
      parameterLayout(bodyTensors(config), sha256),
    ),
    codec: run.averaging.codec,
    machineBytes,
    fits,
    instead: fits ? undefined : findFittingPlan(config, batchSize, machineBytes - sharing),
  };
}

/**
 * Five bodies (the common one, that of the round's start in trainer and protocol, the update and what its encoding left
 * over), and for a checkpoint all state once read back and once encoded, of which the plan of a step has three parts.
 */
function sharingBytes(body: number, embedding: number): number {
  return BYTES_PER_PARAMETER * (9 * body + 3 * embedding);
}
