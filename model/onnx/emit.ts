// Writes a graph as the bytes of an ONNX ModelProto. What each operation becomes is in emitters.ts.
import type { Graph, Op, Value } from "../graph/ops.ts";
import { validateGraph } from "../graph/validate.ts";
import { emitNode } from "./emitters.ts";
import { OnnxModel } from "./onnx-model.ts";

export interface EmitOptions {
  /** Nodes may run under a condition: on the CPU, where that costs nothing. Default false. */
  readonly branches?: boolean;
  /** Name of an output before all others that is no tensor but an empty sequence; runtime/session.ts says what for. */
  readonly emptySequence?: string;
}

/** The graph as ModelProto bytes: constants embedded as float32, inputs and outputs under their public names. */
export function emitOnnx(graph: Graph, { branches = false, emptySequence }: EmitOptions = {}): Uint8Array {
  validateGraph(graph);
  const model = new OnnxModel();
  if (emptySequence !== undefined) model.emptySequenceOutput(emptySequence);

  // A computed value that is an output takes the output's name; onnxruntime would not always optimise a copy away.
  const names = new Map<Value, string>();
  for (const [name, value] of graph.outputs) if (!names.has(value)) names.set(value, name);
  const givenValues = [...graph.inputs, ...graph.constants.map(({ value }) => value)];
  for (const value of givenValues) names.delete(value);
  const nameOf = (value: Value) => names.get(value) ?? value.name;

  for (const { name, type, shape } of graph.inputs) model.input(name, type, shape);
  for (const { value, data } of graph.constants) {
    const stored = data instanceof Float64Array ? Float32Array.from(data) : data;
    model.initializer(value.name, value.shape, stored);
  }
  const needed = new Set([...graph.outputs.values(), ...graph.nodes.flatMap(({ inputs }) => inputs)]);
  for (const { op, attributes, inputs, outputs } of graph.nodes) {
    emitNode<Op>(op, {
      writer: model,
      branches,
      isNeeded: (output) => needed.has(outputs[output]!),
      attributes,
      inputs,
      inputNames: inputs.map(nameOf),
      outputNames: outputs.map(nameOf),
    });
  }
  for (const [name, value] of graph.outputs) {
    if (nameOf(value) !== name) model.node("Identity", [nameOf(value)], [name]);
    model.output(name, value.type, value.shape);
  }
  return model.toBytes();
}
