// Runs a graph once on onnxruntime, for comparing it with the interpreter.
import type { Graph } from "../graph/ops.ts";
import { type EmitOptions, emitOnnx } from "../onnx/emit.ts";
import { createSession, hostTensor } from "../runtime/session.ts";

/** All outputs of the graph for these inputs, on one thread. */
export async function runOnCpu(
  graph: Graph,
  feeds: Readonly<Record<string, Float64Array | Int32Array>>,
  emission: EmitOptions = {},
) {
  const session = await createSession(emitOnnx(graph, emission), { device: "cpu", threads: 1 });
  try {
    const tensors = graph.inputs.map(({ name, shape }) => {
      const data = feeds[name]!;
      return [name, hostTensor(data instanceof Int32Array ? data : Float32Array.from(data), shape)];
    });
    const fetches = Object.fromEntries([...graph.outputs.keys()].map((name) => [name, null]));
    return await session.run(Object.fromEntries(tensors), fetches);
  } finally {
    await session.dispose();
  }
}
