// Local progress and how it is carried from one start to another: delta = start - theta, theta <- to - (from - theta).

export function subtract(a: Float32Array, b: Float32Array): Float32Array {
  const difference = new Float32Array(a.length);
  for (let i = 0; i < a.length; i++) difference[i] = a[i]! - b[i]!;
  return difference;
}

/**
 * Moves local progress from one start to another: to - (from - theta). Bits are kept where the start did not move, so that
 * a resumed round continues exactly.
 */
export function rebase(theta: Float32Array, from: Float32Array, to: Float32Array): Float32Array {
  const moved = new Float32Array(theta.length);
  for (let i = 0; i < theta.length; i++) {
    moved[i] = from[i] === to[i] ? theta[i]! : to[i]! - (from[i]! - theta[i]!);
  }
  return moved;
}
