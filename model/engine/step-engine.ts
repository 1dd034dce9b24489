// What a training model asks of a device: to hold the parameters and to take steps. Kinds of device answer differently:
// host-engine.ts keeps everything in host memory and changes it in place, resident-engine.ts keeps it on the device; where a
// runtime cannot, loop-engine.ts lets it go to the device and back once for many steps.

import type { Loop } from "../graph/loop.ts";
import type { Graph } from "../graph/ops.ts";
import type { Tokens } from "../micro-batches.ts";
import type { DeviceTensor, Session, SessionOptions } from "../runtime/session.ts";
import type { State } from "../runtime/state.ts";
import type { TransferMeter } from "../runtime/transfer-meter.ts";
import type { ParameterGroup } from "../train-step.ts";
import type { ModelConfig, OptimizerConfig, Precision } from "../types.ts";

export interface GroupState {
  readonly weights: State;
  readonly moment1: State;
  readonly moment2: State;
  /** AdamW steps that the moments have taken since they were zero. */
  momentSteps: number;
}

export interface EngineStep {
  /** At least one; together they are the batch. */
  readonly microBatches: readonly Tokens[];
  readonly trained: readonly ParameterGroup[];
  readonly rates: Readonly<Record<ParameterGroup, number>>;
  /** What gradients are multiplied by while they are computed; 1 in float32. */
  readonly lossScale: number;
  readonly signal: AbortSignal | undefined;
}

export interface StepOutcome {
  /** Mean nats per token. */
  readonly loss: number;
  /** Global norm before clipping. Where it or the loss is not finite, the step has not happened. */
  readonly gradientNorm: number;
}

export interface StepEngine {
  readonly groups: Readonly<Record<ParameterGroup, GroupState>>;
  /** Compiles the step that moves these groups. */
  prepare(trained: readonly ParameterGroup[]): Promise<void>;
  /** How many steps of these groups are well asked for at once: 1 unless that makes them cheaper. May change after each call. */
  stepsPerRun(trained: readonly ParameterGroup[]): number;
  /**
   * Takes steps in their order, at least one, all of the same groups and scale. There are fewer outcomes than steps where one is not sound
   * (it is the last, and has not happened), was called off or failed: what went before it has happened.
   */
  steps(steps: readonly EngineStep[]): Promise<StepOutcome[]>;
  /** Gives memory back that the garbage collector does not know of. Before the sessions go. */
  dispose(): Promise<void>;
}

/** What an engine is made with. */
export interface EngineSetting {
  readonly config: ModelConfig;
  readonly optimizer: OptimizerConfig;
  readonly batchSize: number;
  readonly microBatchSize: number;
  readonly recompute: boolean | undefined;
  readonly precision: Precision;
  /** What `session` compiles counts here; an engine with sessions of its own hands it on. Absent on the cpu. */
  readonly meter: TransferMeter | undefined;
  /** Compiles a graph when it is first asked for by its name; `shares` (default 1) such sessions divide the threads. */
  session(name: string, build: () => Graph | Loop, shares?: number): Promise<Session>;
  /** What `session` compiles, for another thread. */
  emit(graph: Graph, shares: number): { readonly bytes: Uint8Array; readonly options: SessionOptions };
}

export type Tensors = Readonly<Record<string, DeviceTensor>>;

/** `StepEngine.steps` of an engine that takes one after the other. */
export async function oneByOne(
  steps: readonly EngineStep[],
  take: (step: EngineStep) => Promise<StepOutcome>,
): Promise<StepOutcome[]> {
  const outcomes: StepOutcome[] = [];
  for (const step of steps) {
    try {
      const outcome = await take(step);
      outcomes.push(outcome);
      if (!isSound(outcome)) break;
    } catch (error) {
      // Whoever goes on from here meets it again, as the first.
      if (outcomes.length === 0) throw error;
      break;
    }
  }
  return outcomes;
}

/** Whether the step may happen. */
export function isSound({ loss, gradientNorm }: StepOutcome): boolean {
  return Number.isFinite(loss) && Number.isFinite(gradientNorm);
}

/** All entries of the records that `entriesOf` gives. */
export function merged<T, Value>(
  items: readonly T[],
  entriesOf: (item: T) => Readonly<Record<string, Value>>,
): Record<string, Value> {
  return Object.assign({}, ...items.map(entriesOf));
}
