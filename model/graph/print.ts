// Prints a graph for people: one line per node, in order, so that two versions of a program can be compared as text.
import type { AnyNode, Graph, Value } from "./ops.ts";

export function printGraph(graph: Graph): string {
  const lines: string[] = [];
  for (const value of graph.inputs) lines.push(`input ${typed(value)}`);
  for (const { value, data } of graph.constants) {
    lines.push(`constant ${typed(value)} = ${data.length === 1 ? data[0] : `(${data.length} elements)`}`);
  }
  for (const node of graph.nodes) lines.push(printNode(node));
  for (const [name, value] of graph.outputs) lines.push(`output ${name} = ${value.name}`);
  return `${lines.join("\n")}\n`;
}

/** Number of nodes by operation, most frequent first: a graph at a glance. */
export function countOps(graph: Graph): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { op } of graph.nodes) counts.set(op, (counts.get(op) ?? 0) + 1);
  return new Map([...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)));
}

function printNode(node: AnyNode): string {
  const attributes = Object.entries(node.attributes).map(([key, value]) => `${key}=${JSON.stringify(value)}`);
  const call = [...node.inputs.map((value) => value.name), ...attributes].join(", ");
  return `${node.outputs.map(typed).join(", ")} = ${node.op}(${call})`;
}

function typed(value: Value): string {
  return `${value.name}: ${value.type}[${value.shape.join(",")}]`;
}
