// Writes a graph as the bytes of an ONNX ModelProto. What each operation becomes is in emitters.ts.
import type { Graph, Op, Value } from "../graph/ops.ts";
import { validateGraph } from "../graph/validate.ts";
import type { Device } from "../types.ts";
import { emitNode } from "./emitters.ts";
import { OnnxModel } from "./onnx-model.ts";

export interface EmitOptions {
  /** Nodes may run under a condition: on the CPU, where that costs nothing. Default false. */
  readonly branches?: boolean;
  /** Only operations that onnxruntime 1.30 has on webgpu: not FusedMatMul, which takes transposed sides, nor LogSoftmax. Default false. */
  readonly forWebgpu?: boolean;
  /** Name of an output before all others that is no tensor but an empty sequence; runtime/session.ts says what for. */
  readonly emptySequence?: string;
}

/** What suits a device. An operation that it lacks would run on the cpu, and all that it reads and makes would go there and back. */
export function emissionFor(device: Device): EmitOptions {
  return { branches: device === "cpu", forWebgpu: device === "webgpu" };
}

/** The graph as ModelProto bytes: constants embedded as float32, inputs and outputs under their public names. */
export function emitOnnx(graph: Graph, options: EmitOptions = {}): Uint8Array {
  const { branches = false, forWebgpu = false, emptySequence } = options;
  const model = new OnnxModel();
  if (emptySequence !== undefined) model.emptySequenceOutput(emptySequence);
  for (const { name, type, shape } of graph.inputs) model.input(name, type, shape);
  const same = (name: string) => name;
  writeGraph(model, graph, { branches, forWebgpu, inputName: same, valueName: same, outputName: same });
  for (const [name, { type, shape }] of graph.outputs) model.output(name, type, shape);
  return model.toBytes();
}

/** What the values of a graph are called where it is written, by the names that they have in it. */
export interface WriteOptions {
  readonly branches: boolean;
  readonly forWebgpu: boolean;
  inputName(name: string): string;
  valueName(name: string): string;
  outputName(name: string): string;
}

/** Writes constants and nodes; each output is then a value that a node has made, under its name. Declares neither side. */
export function writeGraph(model: OnnxModel, graph: Graph, options: WriteOptions): void {
  validateGraph(graph);
  const { branches, forWebgpu, inputName, valueName, outputName } = options;
  const names = new Map<Value, string>();
  // A computed value that is an output takes the output's name; onnxruntime would not always optimise a copy away.
  for (const [name, value] of graph.outputs) if (!names.has(value)) names.set(value, outputName(name));
  for (const value of graph.inputs) names.set(value, inputName(value.name));
  for (const { value } of graph.constants) names.set(value, valueName(value.name));
  const nameOf = (value: Value) => names.get(value) ?? valueName(value.name);

  for (const { value, data } of graph.constants) {
    const stored = data instanceof Float64Array ? Float32Array.from(data) : data;
    model.initializer(nameOf(value), value.shape, stored);
  }
  const needed = new Set([...graph.outputs.values(), ...graph.nodes.flatMap(({ inputs }) => inputs)]);
  for (const { op, attributes, inputs, outputs } of graph.nodes) {
    emitNode<Op>(op, {
      writer: model,
      branches,
      forWebgpu,
      isNeeded: (output) => needed.has(outputs[output]!),
      attributes,
      inputs,
      inputNames: inputs.map(nameOf),
      outputNames: outputs.map(nameOf),
    });
  }
  for (const [name, value] of graph.outputs) {
    if (nameOf(value) !== outputName(name)) model.node("Identity", [nameOf(value)], [outputName(name)]);
  }
}
