// Checks a finished graph: every value is made once and before it is used, every node obeys its shape rule.
import { GraphError } from "../errors.ts";
import { elementCount, type Graph, type Op, type OpAttributes, sameShape, type Value } from "./ops.ts";
import { inferOutputs } from "./shapes.ts";

/** Throws GraphError at the first broken rule. */
export function validateGraph(graph: Graph): void {
  const known = new Set<Value>();
  const names = new Set<string>();
  const define = (value: Value) => {
    if (known.has(value)) throw new GraphError(value.name, "the value is made twice");
    if (names.has(value.name)) throw new GraphError(value.name, "two values have this name");
    known.add(value);
    names.add(value.name);
  };

  for (const value of graph.inputs) define(value);
  for (const { value, data } of graph.constants) {
    define(value);
    if (data.length !== elementCount(value.shape)) {
      throw new GraphError(value.name, `${data.length} elements do not fill [${value.shape.join(",")}]`);
    }
  }
  for (const node of graph.nodes) {
    const where = node.outputs[0]?.name ?? node.op;
    for (const value of node.inputs) {
      if (!known.has(value)) throw new GraphError(where, `its input ${value.name} is not made before it`);
    }
    const expected = inferOutputs<Op>(node.op, node.inputs, node.attributes as OpAttributes[Op]);
    const fits =
      expected.length === node.outputs.length &&
      expected.every(({ type, shape }, index) => {
        const output = node.outputs[index]!;
        return output.type === type && sameShape(output.shape, shape);
      });
    if (!fits) throw new GraphError(where, "its outputs do not have the types that its rule gives");
    for (const value of node.outputs) define(value);
  }
  for (const [name, value] of graph.outputs) {
    if (!known.has(value)) throw new GraphError(name, "the output is never made");
    if (names.has(name) && value.name !== name)
      throw new GraphError(name, "the output has another value's name");
  }
}
