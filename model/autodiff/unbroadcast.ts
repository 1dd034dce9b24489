// The transpose of broadcasting: what was repeated on the way forward is summed on the way back.
import type { GraphBuilder } from "../graph/builder.ts";
import type { Shape, Value } from "../graph/ops.ts";

/** Sums `gradient` over the axes along which `shape` was broadcast to get the gradient's shape. */
export function unbroadcast(b: GraphBuilder, gradient: Value, shape: Shape): Value {
  const extra = gradient.shape.length - shape.length;
  const axes = gradient.shape.flatMap((size, axis) => {
    const original = axis < extra ? 1 : shape[axis - extra]!;
    return axis < extra || (original === 1 && size > 1) ? [axis] : [];
  });
  return b.reshape(b.reduceSum(gradient, axes), shape);
}
