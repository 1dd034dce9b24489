// Two-bit quantisers on the values that codec topk keeps of a real update: ours, a sign and one of two fitted
// magnitudes, beside the four even bins of six standard deviations that SparseLoCo's code uses, and a sign alone.

import { keptOf } from "#protocol/core/codec/topk-sections.ts";
import { TOPK_CHUNK_VALUES, TopKSelector } from "#protocol/core/codec/topk-select.ts";
import { TwoLevelFit, takesHigh } from "#protocol/core/codec/two-levels.ts";
import { GRID_UNITS } from "#protocol/core/grid.ts";
import { isVector, type ParameterLayout } from "#protocol/core/layout.ts";

/** Squared errors over squares of the kept values of all matrices, each matrix quantised on its own. */
export interface QuantiserReport {
  readonly k: number;
  /** Squares of the kept values over squares of all. */
  readonly keptEnergy: number;
  readonly sign: number;
  readonly twoMagnitudes: number;
  readonly fourBins: number;
}

export function measureQuantisers(values: Float32Array, layout: ParameterLayout, k: number): QuantiserReport {
  let all = 0;
  let squares = 0;
  const errors = { sign: 0, twoMagnitudes: 0, fourBins: 0 };
  for (const tensor of layout.tensors) {
    if (isVector(tensor)) continue;
    const matrix = values.subarray(tensor.offset, tensor.offset + tensor.length);
    const kept = keptValues(matrix, k);
    all += sumOfSquares(matrix);
    squares += sumOfSquares(kept);
    errors.sign += signError(kept);
    errors.twoMagnitudes += twoMagnitudesError(kept);
    errors.fourBins += fourBinsError(kept);
  }
  return {
    k,
    keptEnergy: squares / all,
    sign: errors.sign / squares,
    twoMagnitudes: errors.twoMagnitudes / squares,
    fourBins: errors.fourBins / squares,
  };
}

function keptValues(matrix: Float32Array, k: number): Float32Array {
  const bits = new Uint32Array(matrix.buffer, matrix.byteOffset, matrix.length);
  const selector = new TopKSelector();
  const kept: number[] = [];
  for (let start = 0; start < matrix.length; start += TOPK_CHUNK_VALUES) {
    const end = Math.min(start + TOPK_CHUNK_VALUES, matrix.length);
    const indices = new Uint16Array(keptOf(end - start, k));
    selector.select(bits, start, end, indices.length, indices);
    for (const index of indices) kept.push(matrix[start + index]!);
  }
  return Float32Array.from(kept);
}

const sumOfSquares = (values: Float32Array): number => values.reduce((sum, value) => sum + value ** 2, 0);

function signError(kept: Float32Array): number {
  const magnitude = kept.reduce((sum, value) => sum + Math.abs(value), 0) / kept.length;
  return kept.reduce((sum, value) => sum + (Math.abs(value) - magnitude) ** 2, 0);
}

function twoMagnitudesError(kept: Float32Array): number {
  const bits = new Uint32Array(kept.buffer);
  const fit = new TwoLevelFit();
  kept.forEach((value, at) => {
    fit.add(bits[at]!, value);
  });
  const levels = fit.take();
  return kept.reduce((sum, value) => {
    const level = (takesHigh(value, levels) ? levels.high : levels.low) / GRID_UNITS;
    return sum + (Math.abs(value) - level) ** 2;
  }, 0);
}

/** bin = clamp(round((x - mean) / (6 sigma / 4) + 2), 0, 3); a bin stands for the mean of its values. */
function fourBinsError(kept: Float32Array): number {
  const mean = kept.reduce((sum, value) => sum + value, 0) / kept.length;
  const sigma = Math.sqrt(kept.reduce((sum, value) => sum + (value - mean) ** 2, 0) / kept.length);
  const binOf = (value: number) => Math.max(0, Math.min(3, Math.round((value - mean) / (1.5 * sigma) + 2)));
  const counts = new Float64Array(4);
  const sums = new Float64Array(4);
  for (const value of kept) {
    counts[binOf(value)]! += 1;
    sums[binOf(value)]! += value;
  }
  return kept.reduce((error, value) => {
    const bin = binOf(value);
    return error + (value - sums[bin]! / counts[bin]!) ** 2;
  }, 0);
}
