// Which engine takes the steps of a model, and with how many threads.
import { availableParallelism } from "node:os";
import { sharesOf } from "../plan.ts";
import { canShareMemory } from "../runtime/session.ts";
import type { Device, ModelConfig } from "../types.ts";
import { HostEngine, type HostThreads } from "./host-engine.ts";
import { LoopEngine } from "./loop-engine.ts";
import { ResidentEngine } from "./resident-engine.ts";
import type { EngineSetting, StepEngine } from "./step-engine.ts";

/** See TrainingModelOptions. */
export interface ThreadChoices {
  readonly config: ModelConfig;
  readonly batchSize: number;
  readonly microBatchSize?: number | undefined;
  readonly recompute?: boolean | undefined;
  readonly device: Device;
  readonly threads?: number;
  readonly shares?: 1 | 2 | undefined;
}

export async function hostThreads(choices: ThreadChoices): Promise<HostThreads> {
  const { config, device, batchSize, microBatchSize = batchSize, recompute = false } = choices;
  const { threads = availableParallelism() } = choices;
  const mayHelp = device === "cpu" && threads > 1 && (await canShareMemory());
  const { shares = sharesOf(config, { batchSize, microBatchSize, recompute }) } = choices;
  return { mayHelp, shares: mayHelp && microBatchSize % 2 === 0 ? shares : 1 };
}

export interface EngineChoices {
  readonly device: Device;
  /** Whether steps are rounds of a loop; not on webgpu. */
  readonly loops: boolean;
  readonly stepsPerRun?: number | undefined;
}

export function chooseEngine(
  { device, loops, stepsPerRun }: EngineChoices,
  setting: EngineSetting,
  threads: HostThreads,
): StepEngine {
  if (device === "webgpu") return new ResidentEngine(setting);
  return loops ? new LoopEngine(setting, stepsPerRun) : new HostEngine(setting, threads);
}
