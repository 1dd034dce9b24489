// Reverse-mode differentiation: walks the nodes from the loss back to the weights and applies each node's rule. Goes through
// the graph's segments one by one, so that what belongs to one of them is freed before the next is entered.
import { GraphError } from "../errors.ts";
import type { GraphBuilder } from "../graph/builder.ts";
import type { AnyNode, Op, OpAttributes, Value } from "../graph/ops.ts";
import { differentiate } from "./rules.ts";

export interface GradientOptions {
  /** Computes the inner values of each segment once more on the way back, instead of keeping them. Default false. */
  readonly recompute?: boolean | undefined;
  /** Position in `b.nodes` before which nothing lies between the loss and a w: saves walking there. Default 0. */
  readonly since?: number | undefined;
}

/**
 * Appends to `b` the nodes that compute d loss / d w for each w of `withRespectTo`, and returns those gradients in order,
 * each of w's shape. `loss` is a scalar. Only paths from a w to the loss get nodes; a w that the loss does not depend on
 * has a zero gradient.
 */
export function gradients(
  b: GraphBuilder,
  loss: Value,
  withRespectTo: readonly Value[],
  options: GradientOptions = {},
): Value[] {
  if (loss.shape.length !== 0) {
    throw new GraphError(loss.name, `a loss is a scalar, this has shape [${loss.shape.join(",")}]`);
  }
  return backpropagate(b, new Map([[loss, b.scalar(1)]]), withRespectTo, options);
}

/**
 * As `gradients`, from gradients that are known: `known` maps a value to the gradient of the loss with respect to it, or,
 * for one of `withRespectTo`, to the part that is there already and that all else is added onto. Each w counts as
 * independent of the others, even where the graph computes one from another.
 */
export function backpropagate(
  b: GraphBuilder,
  known: ReadonlyMap<Value, Value>,
  withRespectTo: readonly Value[],
  { recompute = false, since = 0 }: GradientOptions = {},
): Value[] {
  const leaves = new Set(withRespectTo);
  const forward = b.nodes.slice(since);

  // Values that depend on one of the weights: gradients of anything else are never asked for.
  const active = new Set(withRespectTo);
  for (const node of forward) {
    if (node.inputs.some((value) => active.has(value))) for (const value of node.outputs) active.add(value);
  }

  const sums = new Map(known);
  const gradientsOf = (node: AnyNode) =>
    node.outputs.map((value) => (leaves.has(value) ? undefined : sums.get(value)));
  const isReached = (node: AnyNode) =>
    gradientsOf(node).some((dy) => dy !== undefined) && node.inputs.some((value) => active.has(value));

  /** Applies the rule of `node`, on the values of `standIn` where that computes them once more. */
  const walk = (node: AnyNode, standIn: AnyNode = node) => {
    if (!isReached(node)) return;
    const contributions = differentiate<Op>(node.op, {
      b,
      node: standIn,
      dys: gradientsOf(node),
      needs: (index) => active.has(node.inputs[index]!),
    });
    node.inputs.forEach((value, index) => {
      const contribution = contributions[index];
      if (contribution === undefined || !active.has(value)) return;
      const sum = sums.get(value);
      if (typeof contribution === "function") sums.set(value, contribution(sum));
      else sums.set(value, sum === undefined ? contribution : b.add(sum, contribution));
    });
  };

  const walkSegment = (nodes: readonly AnyNode[]) => {
    if (!nodes.some(isReached)) return;
    const made = new Set(nodes.flatMap((node) => node.outputs));
    const entering = new Set(
      nodes.flatMap((node) => node.inputs).filter((value) => !made.has(value) && active.has(value)),
    );
    const weights = [...entering].filter((value) => leaves.has(value));
    const hidden = [...entering].filter((value) => !leaves.has(value));
    const before = new Map(sums);

    const arrived = [...made].flatMap((value) => sums.get(value) ?? []);
    const standIns = recompute ? b.scope("again", () => repeat(b, nodes, hidden, arrived)) : [];
    nodes.toReversed().forEach((node, index) => {
      walk(node, standIns[nodes.length - 1 - index]);
    });

    // What flows on waits for the weights' gradients: they free the segment's values, and nothing else asks for them soon.
    const finished = weights.flatMap((value) => {
      const sum = sums.get(value);
      return sum === undefined || sum === before.get(value) ? [] : [sum];
    });
    for (const value of hidden) {
      const sum = sums.get(value);
      if (sum !== undefined) sums.set(value, b.after(sum, finished));
    }
  };

  let end = forward.length;
  for (const segment of b.segments.filter(({ start }) => start >= since).reverse()) {
    const [first, last] = [segment.start - since, segment.end - since];
    for (const node of forward.slice(last, end).reverse()) walk(node);
    walkSegment(forward.slice(first, last));
    end = first;
  }
  for (const node of forward.slice(0, end).reverse()) walk(node);

  return withRespectTo.map((value) => sums.get(value) ?? b.broadcast(b.scalar(0), value.shape));
}

/** The same nodes once more, from `entering` on, but not before `arrived` is there. */
function repeat(
  b: GraphBuilder,
  nodes: readonly AnyNode[],
  entering: readonly Value[],
  arrived: readonly Value[],
): AnyNode[] {
  const again = new Map(entering.map((value) => [value, b.after(value, arrived)]));
  return nodes.map((node) => {
    const inputs = node.inputs.map((value) => again.get(value) ?? value);
    const outputs = b.apply<Op>(node.op, inputs, node.attributes as OpAttributes[Op]);
    node.outputs.forEach((value, index) => {
      again.set(value, outputs[index]!);
    });
    return { ...node, inputs, outputs } as AnyNode;
  });
}
