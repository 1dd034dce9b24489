// Reverse-mode differentiation: walks the nodes from the loss back to the weights and applies each node's rule.
import { GraphError } from "../errors.ts";
import type { GraphBuilder } from "../graph/builder.ts";
import type { Op, Value } from "../graph/ops.ts";
import { differentiate } from "./rules.ts";

/**
 * Appends to `b` the nodes that compute d loss / d w for each w of `withRespectTo`, and returns those gradients in order,
 * each of w's shape. `loss` is a scalar. Only paths from a w to the loss get nodes; a w that the loss does not depend on
 * has a zero gradient.
 */
export function gradients(b: GraphBuilder, loss: Value, withRespectTo: readonly Value[]): Value[] {
  if (loss.shape.length !== 0) {
    throw new GraphError(loss.name, `a loss is a scalar, this has shape [${loss.shape.join(",")}]`);
  }
  const forward = [...b.nodes];

  // Values that depend on one of the weights: gradients of anything else are never asked for.
  const active = new Set(withRespectTo);
  for (const node of forward) {
    if (node.inputs.some((value) => active.has(value))) for (const value of node.outputs) active.add(value);
  }

  const sums = new Map<Value, Value>([[loss, b.scalar(1)]]);
  for (const node of forward.toReversed()) {
    const dys = node.outputs.map((value) => sums.get(value));
    if (dys.every((dy) => dy === undefined)) continue;
    if (!node.inputs.some((value) => active.has(value))) continue;
    const contributions = differentiate<Op>(node.op, {
      b,
      node,
      dys,
      needs: (index) => active.has(node.inputs[index]!),
    });
    node.inputs.forEach((value, index) => {
      const contribution = contributions[index];
      if (contribution === undefined || !active.has(value)) return;
      const sum = sums.get(value);
      if (typeof contribution === "function") sums.set(value, contribution(sum));
      else sums.set(value, sum === undefined ? contribution : b.add(sum, contribution));
    });
  }
  return withRespectTo.map((value) => sums.get(value) ?? b.broadcast(b.scalar(0), value.shape));
}
