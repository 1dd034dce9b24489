// What a run will take of this peer: the model's plan, what keeping and sharing it adds, and the traffic of a round. Pure;
// the machine's memory is an argument.
import {
  bodyLength,
  bodyTensors,
  embeddingLength,
  embeddingTensors,
  validateMicroBatchSize,
  validateModelConfig,
} from "#model/architecture.ts";
import { ModelConfigError } from "#model/errors.ts";
import { findFittingPlan, flopsPerToken, type MemoryPlan, planMemory, type StepPlan } from "#model/plan.ts";
import type { ModelConfig, Precision } from "#model/types.ts";
import { codecFor } from "#protocol/core/codec/registry.ts";
import { parameterLayout } from "#protocol/core/layout.ts";
import { type RunConfig, sharesEmbedding, tokensPerRound, type Variant } from "#protocol/core/run-config.ts";
import { updateCodec } from "#protocol/core/update-codec.ts";
import { sha256 } from "#protocol/net/hash.ts";
import { sharedTensorsOf } from "../variants.ts";
import { type Costs, costsOf } from "./costs.ts";

const BYTES_PER_PARAMETER = 4;

export interface RunPlan {
  /** The model that this peer trains: its vocabulary has the rows that it holds. */
  readonly config: ModelConfig;
  /** Tokens of the vocabulary for all text together. */
  readonly vocabularySize: number;
  readonly step: StepPlan;
  readonly bodyParameters: number;
  readonly embeddingParameters: number;
  readonly memory: PeerMemory;
  readonly flopsPerToken: number;
  readonly tokensPerRound: number;
  /** What a peer sends of its own in a round at most, once; whoever fetches it makes it more. */
  readonly updateBytesPerRound: number;
  readonly codec: string;
  readonly variant: Variant;
  readonly localSteps: number;
  /** Of the run's variant, against plain data parallelism with the same body and the vocabulary for all text. */
  readonly costs: Costs;
  readonly machineBytes: number;
  readonly fits: boolean;
  /** How the same batch fits, where this plan does not; undefined where it does, or where nothing helps. */
  readonly instead: StepPlan | undefined;
}

export interface PeerMemory extends MemoryPlan {
  /** Copies of the body for averaging, and of the state while a checkpoint is written. Counted, not measured. */
  readonly sharing: number;
  /** Sums of the open rounds, and with a defence their updates. Measured: protocol/core/averaging.ts holds just that. */
  readonly rounds: number;
}

/** Of a round, where nobody says how many there will be; fewer where a cohort has fewer places. */
export const PLANNED_UPDATES = 8;

export interface RunPlanOptions {
  /** Of all text together; in spec-opt, where nothing is agreed, what std would need. */
  readonly vocabularySize: number;
  /** Tokens that this peer has of them: rows that its text uses (spec, trim), its own (spec-opt). Default: all. */
  readonly heldRows?: number | undefined;
  /** Sequences at once; undefined takes the run's batch. */
  readonly microBatch: number | undefined;
  /** Peers, whose updates a round counts up to its cohort. Default: PLANNED_UPDATES. */
  readonly peers?: number | undefined;
  readonly recompute: boolean;
  readonly precision?: Precision | undefined;
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
  const { vocabularySize, recompute, precision, machineBytes } = options;
  const heldRows = options.heldRows ?? vocabularySize;
  requireHeldRows(run, heldRows, vocabularySize);
  const config: ModelConfig = { ...run.model, vocabularySize: heldRows };
  validateModelConfig(config);
  const { batchSize } = run.training;
  const step: StepPlan = { batchSize, microBatchSize: options.microBatch ?? batchSize, recompute, precision };
  validateMicroBatchSize(step.microBatchSize, batchSize);
  const bodyParameters = bodyLength(config);
  const embeddingParameters = embeddingLength(config);
  const sharedParameters = bodyParameters + (sharesEmbedding(run) ? vocabularySize * config.width : 0);
  const updateBytesPerRound = updateBytes(run, config);
  const sharing = sharingBytes(sharedParameters, bodyParameters + embeddingParameters);
  const rounds = roundsBytes(run, sharedParameters, updateBytesPerRound, options.peers ?? PLANNED_UPDATES);
  const planned = planMemory(config, step);
  const memory: PeerMemory = { ...planned, sharing, rounds, total: planned.total + sharing + rounds };
  const fits = memory.total <= machineBytes;
  const { variant, training, model } = run;
  return {
    config,
    vocabularySize,
    step,
    bodyParameters,
    embeddingParameters,
    memory,
    flopsPerToken: flopsPerToken(config, recompute),
    tokensPerRound: tokensPerRound(run),
    updateBytesPerRound,
    codec: run.averaging.codec,
    variant,
    localSteps: training.localSteps,
    costs: costsOf({
      variant,
      bodyParameters,
      width: model.width,
      vocabularySize,
      heldRows,
      localSteps: training.localSteps,
    }),
    machineBytes,
    fits,
    instead: fits ? undefined : findFittingPlan(config, batchSize, machineBytes - sharing - rounds),
  };
}

function requireHeldRows({ variant }: RunConfig, heldRows: number, vocabularySize: number): void {
  const problem = `${heldRows} held rows of ${vocabularySize} tokens in variant ${variant}`;
  if (variant === "glob" && heldRows !== vocabularySize) {
    throw new ModelConfigError("heldRows", problem, "every peer of a glob run has all rows: leave them out");
  }
  if (variant !== "spec-opt" && heldRows > vocabularySize) {
    throw new ModelConfigError("heldRows", problem, "give at most as many as there are tokens");
  }
}

/** The largest update: of the held part, and in trim of the set of rows. */
function updateBytes(run: RunConfig, held: ModelConfig): number {
  const layout = parameterLayout(sharedTensorsOf(run), sha256);
  const { maxPayloadBytes } = updateCodec(run, layout);
  if (run.variant !== "trim") return maxPayloadBytes;
  const codec = codecFor(run.averaging);
  const heldLayout = parameterLayout([...bodyTensors(held), ...embeddingTensors(held)], sha256);
  return maxPayloadBytes - codec.maxPayloadBytes(layout) + codec.maxPayloadBytes(heldLayout);
}

/**
 * Five copies of what is shared (the common one, that of the round's start in trainer and protocol, the update and what its
 * encoding left over) and one in the protocol's checkpoint, whole whatever rows are held; and for the trainer's checkpoint
 * all its parameters once read back and once encoded, of which the plan of a step has three parts.
 */
function sharingBytes(shared: number, trained: number): number {
  return BYTES_PER_PARAMETER * (6 * shared + 3 * trained);
}

/**
 * The exact sums of each open round and of the next one, which a fast peer has begun, as float64. With a defence the updates behind
 * them are kept until their round is closed, as their payloads, and with majority their signs, two bits a value.
 */
function roundsBytes({ averaging }: RunConfig, shared: number, payloadBytes: number, peers: number): number {
  const { openRounds, cohort, defence } = averaging;
  const sums = (openRounds + 1) * 8 * shared;
  if (defence === "none") return sums;
  const signs = defence === "majority" ? shared / 4 : 0;
  return sums + openRounds * Math.min(peers, cohort) * (payloadBytes + signs);
}
