// Where the time of a training step goes: runs the very graph that training runs, with onnxruntime's profiler on, and
// adds up its trace. Node times are only comparable on the CPU: a GPU's would be those of handing work over.
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { elementCount, type Graph } from "#model/graph/ops.ts";
import { emitOnnx } from "#model/onnx/emit.ts";
import { createSession, type DeviceTensor, hostTensor } from "#model/runtime/session.ts";
import { median } from "./median.ts";

/** One node of the optimised graph. ORT names what it adds itself, as `Transpose_token_1`; the rest is ours. */
export interface NodeCost {
  readonly name: string;
  readonly op: string;
  /** Of the first output, as `[1024,8192]`. */
  readonly shape: string;
  /** Median over the profiled runs: on a busy machine a single node can wait for a whole time slice. */
  readonly milliseconds: number;
}

/** Values of the graph's inputs: parameters, moments, tokens and scalars. */
export type StepFeeds = ReadonlyMap<string, Float32Array | Int32Array>;

/** The entries of a Chrome trace that matter here; times are in microseconds. */
export interface TraceEvent {
  readonly cat: string;
  readonly name: string;
  readonly ts: number;
  readonly dur: number;
  readonly args?: {
    readonly op_name?: string;
    readonly output_type_shape?: readonly Readonly<Record<string, readonly number[]>>[];
  };
}

/** The first run of a session allocates and packs; it says nothing of the next. */
const WARM_UP_RUNS = 1;

/** Runs the graph `runs` times on the CPU from the same state and gives the cost of each node, dearest first. */
export async function profileStep(
  graph: Graph,
  feeds: StepFeeds,
  runs: number,
  threads?: number,
): Promise<NodeCost[]> {
  const folder = await mkdtemp(join(tmpdir(), "glossa-profile-"));
  try {
    const session = await createSession(emitOnnx(graph), {
      device: "cpu",
      profilePrefix: join(folder, "trace"),
      ...(threads !== undefined && { threads }),
    });
    const inputs: Record<string, DeviceTensor> = {};
    for (const { name, shape } of graph.inputs) inputs[name] = hostTensor(feeds.get(name)!, shape);
    const outputs: Record<string, DeviceTensor> = {};
    for (const [name, { shape }] of graph.outputs) {
      outputs[name] = hostTensor(new Float32Array(elementCount(shape)), shape);
    }
    try {
      for (let run = 0; run < WARM_UP_RUNS + runs; run++) await session.run(inputs, outputs);
    } finally {
      // The trace is written when the session ends.
      await session.dispose();
    }
    const [file] = await readdir(folder);
    return nodeCosts(JSON.parse(await readFile(join(folder, file!), "utf8")), WARM_UP_RUNS);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

const KERNEL_SUFFIX = "_kernel_time";

/** Cost of each node over the runs of a trace after the first `warmUpRuns`, dearest first. */
export function nodeCosts(trace: readonly TraceEvent[], warmUpRuns: number): NodeCost[] {
  const runs = trace
    .filter(({ cat, name }) => cat === "Session" && name === "model_run")
    .sort((a, b) => a.ts - b.ts);
  const begin = runs[warmUpRuns]?.ts ?? Number.POSITIVE_INFINITY;
  const kernels = trace.filter(
    ({ cat, name, ts }) => cat === "Node" && name.endsWith(KERNEL_SUFFIX) && ts >= begin,
  );
  return [...Map.groupBy(kernels, ({ name }) => name)]
    .map(([name, events]) => {
      const { op_name, output_type_shape } = events[0]!.args ?? {};
      return {
        name: name.slice(0, -KERNEL_SUFFIX.length),
        op: op_name ?? "unknown",
        shape: `[${Object.values(output_type_shape?.[0] ?? {})[0]?.join(",") ?? ""}]`,
        milliseconds: median(events.map(({ dur }) => dur)) / 1000,
      };
    })
    .sort((a, b) => b.milliseconds - a.milliseconds);
}

/** Share of the summed node time, by what `keyOf` says of a node, largest first. The shares add up to 1. */
export function sharesBy(
  costs: readonly NodeCost[],
  keyOf: (cost: NodeCost) => string,
): Record<string, number> {
  const total = costs.reduce((sum, { milliseconds }) => sum + milliseconds, 0);
  const sums = new Map<string, number>();
  for (const cost of costs) sums.set(keyOf(cost), (sums.get(keyOf(cost)) ?? 0) + cost.milliseconds);
  return Object.fromEntries(
    [...sums].sort(([, a], [, b]) => b - a).map(([key, milliseconds]) => [key, milliseconds / total]),
  );
}

/** The part of the step that a node belongs to, from its scope: `blocks.3/attn/matMul.9` -> `attn`. */
export function partOf({ name }: NodeCost): string {
  const scopes = name.split("/").slice(0, -1);
  if (scopes.length === 0) return "added by onnxruntime";
  const [first, second] = scopes;
  return first!.startsWith("blocks.") ? (second ?? "residual") : first!;
}
