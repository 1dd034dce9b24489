// Mixed precision, as a pass over a finished graph: products are computed in float16 and everything else stays in float32. A value
// that products alone read exists in half only; weights and gradients go in and come out as floats.
import type { AnyNode, Graph, Node, Value } from "./ops.ts";

/** Below this size along any of a product's three axes half precision saves no time, and sums over a vector lose by it. */
const LEAST_SIZE = 8;

/** The same graph with its products in half. Inputs, constants and outputs keep their types. */
export function withHalfProducts(graph: Graph): Graph {
  const nodes: AnyNode[] = [];
  let nextId = 1 + Math.max(...allValues(graph).map(({ id }) => id));
  /** Values that exist as floats (or ids) so far. */
  const made = new Set<Value>([...graph.inputs, ...graph.constants.map(({ value }) => value)]);
  /** The half form of a value: what a product gave, or the value rounded. */
  const halves = new Map<Value, Value>();
  /** Values whose half form is all there is to them. */
  const exact = new Set<Value>();

  const halfForm = (value: Value): Value => {
    const half: Value = { ...value, id: nextId++, name: `${value.name}:half`, type: "half" };
    halves.set(value, half);
    return half;
  };
  const halfOf = (value: Value): Value => {
    const known = halves.get(value);
    if (known !== undefined) return known;
    const half = halfForm(value);
    nodes.push({ op: "cast", attributes: { to: "half" }, inputs: [value], outputs: [half] });
    return half;
  };
  const plainOf = (value: Value): Value => {
    if (made.has(value)) return value;
    nodes.push({ op: "cast", attributes: { to: "float" }, inputs: [halves.get(value)!], outputs: [value] });
    made.add(value);
    return value;
  };
  const give = (value: Value): Value => {
    made.add(value);
    return value;
  };
  const giveHalf = (value: Value): Value => {
    exact.add(value);
    return halfForm(value);
  };

  for (const node of graph.nodes) {
    const { inputs, outputs } = node;
    const write = (reads: readonly Value[], gives: readonly Value[]) =>
      nodes.push({ ...node, inputs: reads, outputs: gives } as AnyNode);
    if (isProduct(node)) {
      write(inputs.map(halfOf), outputs.map(giveHalf));
    } else if (node.op === "attention") {
      const [mixed, ...probabilities] = outputs as [Value, ...Value[]];
      const reads = inputs.map((value, at) => (at < 3 ? halfOf(value) : plainOf(value)));
      write(reads, [giveHalf(mixed), ...probabilities.map(give)]);
    } else if (node.op === "linearCrossEntropy") {
      write([halfOf(inputs[0]!), halfOf(inputs[1]!), plainOf(inputs[2]!)], outputs.map(give));
    } else if (isLayout(node) && inputs.every((value) => exact.has(value))) {
      write(inputs.map(halfOf), outputs.map(giveHalf));
    } else {
      write(inputs.map(plainOf), outputs.map(give));
    }
  }
  for (const value of graph.outputs.values()) plainOf(value);
  return { ...graph, nodes };
}

/** Large enough for half precision to save time. */
function isProduct(node: AnyNode): boolean {
  if (node.op === "matMulInBlocks") return true;
  if (node.op !== "matMul") return false;
  const [a] = node.inputs as [Value];
  const { transposeA } = node.attributes as Node<"matMul">["attributes"];
  const [rows, columns] = node.outputs[0]!.shape.slice(-2) as [number, number];
  const inner = a.shape.at(transposeA ? -2 : -1)!;
  return Math.min(rows, columns, inner) >= LEAST_SIZE;
}

/** Moves numbers about and changes none. */
function isLayout({ op }: AnyNode): boolean {
  return op === "reshape" || op === "transpose" || op === "split" || op === "concat";
}

function allValues({ inputs, constants, nodes }: Graph): Value[] {
  return [...inputs, ...constants.map(({ value }) => value), ...nodes.flatMap(({ outputs }) => outputs)];
}
