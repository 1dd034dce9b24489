// Runs a graph in float64 on plain arrays: the oracle that sessions and gradients are checked against.
import { TensorSizeError } from "../errors.ts";
import { elementCount, type Graph, type Op, type OpAttributes, type Value } from "../graph/ops.ts";
import { type ReferenceTensor, runKernel } from "./kernels.ts";

/** Input name -> row-major data; every input of the graph must be there. Returns output name -> data. */
export function interpret(
  graph: Graph,
  feeds: Readonly<Record<string, ArrayLike<number>>>,
): Record<string, Float64Array | Int32Array> {
  const tensors = new Map<Value, ReferenceTensor>();
  for (const value of graph.inputs) {
    const feed = feeds[value.name] ?? [];
    if (feed.length !== elementCount(value.shape)) {
      throw new TensorSizeError(value.name, elementCount(value.shape), feed.length);
    }
    const data = value.type === "int32" ? Int32Array.from(feed) : Float64Array.from(feed);
    tensors.set(value, { shape: value.shape, data });
  }
  for (const { value, data } of graph.constants) tensors.set(value, { shape: value.shape, data });

  for (const { op, attributes, inputs, outputs } of graph.nodes) {
    const results = runKernel<Op>(op, {
      inputs: inputs.map((value) => tensors.get(value)!),
      attributes: attributes as OpAttributes[Op],
      outputs,
    });
    outputs.forEach((value, index) => {
      tensors.set(value, { shape: value.shape, data: results[index]! });
    });
  }
  return Object.fromEntries([...graph.outputs].map(([name, value]) => [name, tensors.get(value)!.data]));
}
