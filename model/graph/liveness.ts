// How much memory a graph's values take, from the order of its nodes alone: what a plan can know before anything runs.
import type { AnyNode, DataType, Graph, Value } from "./ops.ts";
import { elementCount } from "./ops.ts";

const BYTES_PER_ELEMENT: Readonly<Record<DataType, number>> = { float: 4, half: 2, int32: 4 };

/** Operations that onnxruntime computes within the memory of their first input where nothing else needs that. */
const IN_PLACE: ReadonlySet<AnyNode["op"]> = new Set([
  ...([
    "add",
    "sub",
    "mul",
    "div",
    "neg",
    "exp",
    "log",
    "sqrt",
    "erf",
    "hardSigmoid",
    "softmax",
    "scatterAdd",
  ] as const),
]);

/** Bytes of a value. */
export function byteLength(value: Value): number {
  return BYTES_PER_ELEMENT[value.type] * elementCount(value.shape);
}

/**
 * The most bytes that are alive at once when the nodes run in order and a value is freed after its last use. Inputs are the
 * caller's and do not count; nor do the outputs named in `callersOutputs`, which are written where the caller says.
 * Constants count: they are part of the session.
 */
export function peakLiveBytes(graph: Graph, callersOutputs: (name: string) => boolean = () => true): number {
  const outside = new Set(graph.inputs);
  const kept = new Set<Value>();
  for (const [name, value] of graph.outputs) (callersOutputs(name) ? outside : kept).add(value);

  // A reshape is another view of the same memory.
  const storage = new Map<Value, Value>();
  const storageOf = (value: Value) => storage.get(value) ?? value;
  for (const { op, inputs, outputs } of graph.nodes) {
    if (op === "reshape") storage.set(outputs[0]!, storageOf(inputs[0]!));
  }

  const lastUse = new Map<Value, number>();
  graph.nodes.forEach(({ inputs, outputs }, at) => {
    for (const value of [...inputs, ...outputs]) lastUse.set(storageOf(value), at);
  });
  for (const value of kept) lastUse.set(storageOf(value), graph.nodes.length);

  let live = graph.constants.reduce((sum, { value }) => sum + byteLength(value), 0);
  const resident = new Set(graph.constants.map(({ value }) => value));
  let peak = live;
  graph.nodes.forEach((node, at) => {
    const counts = (value: Value) => !outside.has(value) && !resident.has(value);
    const dying = new Set(
      [...node.inputs, ...node.outputs]
        .map(storageOf)
        .filter((value) => counts(value) && lastUse.get(value) === at),
    );
    const made = node.outputs.filter((value) => storageOf(value) === value && counts(value));
    const [first] = node.inputs.map(storageOf);
    const inPlace =
      IN_PLACE.has(node.op) &&
      made.length === 1 &&
      first !== undefined &&
      dying.has(first) &&
      byteLength(first) === byteLength(made[0]!);
    for (const value of made) live += byteLength(value);
    const reused = inPlace ? byteLength(first) : 0;
    peak = Math.max(peak, live - reused + scratchBytes(node));
    for (const value of dying) live -= byteLength(value);
  });
  return peak;
}

/** What an operation holds while it runs, beside its inputs and outputs. */
function scratchBytes(node: AnyNode): number {
  // Logits, beside the probabilities that are made of them.
  if (node.op === "linearCrossEntropy") return byteLength(node.outputs[1]!);
  // Scores, and scores with their bias. Chunks have sizes of their own, and leave each other no room that fits.
  if (node.op === "attention") return 2 * node.outputs.slice(1).reduce((sum, p) => sum + byteLength(p), 0);
  return 0;
}
