// `npm run bench -- memory`: peak memory of training, kept values against recomputed ones, beside what the plan expected.
// Each measurement is a process of its own: a peak cannot be taken back.
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { parseArgs, promisify } from "node:util";
import { planMemory, type StepPlan } from "#model/plan.ts";
import { trainingEnvironment } from "#model/runtime/process-environment.ts";
import type { ModelConfig } from "#model/types.ts";
import { describeMachine } from "./machine.ts";

const USAGE = `npm run bench -- memory [--json] [options]
  --blocks 8 --width 256 --heads 4 --vocabulary 8192 --batch 8 --sequence 256   the model and its batch
  --micro-batch N   sequences at once (default: the batch)
  --steps N         steps that are taken (default 3)
  --threads N       threads within one operation (default: one per physical core)`;

export interface MemorySetting {
  readonly config: ModelConfig;
  readonly plan: StepPlan;
  readonly threads?: number;
  readonly steps: number;
}

export interface MemoryRow extends MemorySetting {
  readonly plannedBytes: number;
  readonly peakBytes: number;
  /** plannedBytes / peakBytes */
  readonly ratio: number;
  readonly bestMs: number;
}

export async function benchMemory(args: string[]): Promise<void> {
  const { values: flags } = parseArgs({
    args,
    options: {
      json: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
      blocks: { type: "string", default: "8" },
      width: { type: "string", default: "256" },
      heads: { type: "string", default: "4" },
      vocabulary: { type: "string", default: "8192" },
      batch: { type: "string", default: "8" },
      sequence: { type: "string", default: "256" },
      "micro-batch": { type: "string" },
      steps: { type: "string", default: "3" },
      threads: { type: "string" },
    },
  });
  if (flags.help) return console.log(USAGE);
  const batchSize = Number(flags.batch);
  const config: ModelConfig = {
    blocks: Number(flags.blocks),
    width: Number(flags.width),
    heads: Number(flags.heads),
    sequenceLength: Number(flags.sequence),
    vocabularySize: Number(flags.vocabulary),
  };
  const rows: MemoryRow[] = [];
  for (const recompute of [false, true]) {
    const plan: StepPlan = {
      batchSize,
      microBatchSize: Number(flags["micro-batch"] ?? batchSize),
      recompute,
    };
    rows.push(
      await measureMemory({
        config,
        plan,
        steps: Number(flags.steps),
        ...(flags.threads !== undefined && { threads: Number(flags.threads) }),
      }),
    );
  }
  if (flags.json) console.log(JSON.stringify({ benchmark: "memory", machine: describeMachine(), rows }));
  else for (const row of rows) console.log(describe(row));
}

/** Trains in a child process and puts its peak beside the plan's. Rejects where the child fails. */
export async function measureMemory(setting: MemorySetting): Promise<MemoryRow> {
  const child = fileURLToPath(new URL("./memory-child.ts", import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, [child, JSON.stringify(setting)], {
    env: trainingEnvironment(process.env),
  });
  const { peakBytes, bestMs }: { peakBytes: number; bestMs: number } = JSON.parse(stdout);
  const plannedBytes = planMemory(setting.config, setting.plan).total;
  return { ...setting, plannedBytes, peakBytes, ratio: plannedBytes / peakBytes, bestMs };
}

function describe({ plan, plannedBytes, peakBytes, ratio, bestMs }: MemoryRow): string {
  const mebibytes = (bytes: number) => `${Math.round(bytes / 2 ** 20)} MiB`;
  const how = `${plan.microBatchSize} of ${plan.batchSize} at once, ${plan.recompute ? "recomputed" : "kept"}`;
  return `${how}: peak ${mebibytes(peakBytes)}, planned ${mebibytes(plannedBytes)} (${ratio.toFixed(2)}), best step ${bestMs.toFixed(0)} ms`;
}
