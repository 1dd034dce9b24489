import fc from "fast-check";
import { expect, test } from "vitest";
import { type WindowBatch, Windows } from "./windows.ts";

const END_OF_TEXT = 0;
const shapes = fc.record({
  batchSize: fc.integer({ min: 1, max: 4 }),
  sequenceLength: fc.integer({ min: 1, max: 9 }),
  stride: fc.integer({ min: 1, max: 9 }),
});
/** A stream in the pieces in which it comes; ids tell where in the stream a token stands. */
const streams = fc.array(fc.integer({ min: 0, max: 25 }), { maxLength: 6 }).map((lengths) =>
  lengths.map((length, at) => {
    const before = lengths.slice(0, at).reduce((sum, size) => sum + size, 0);
    return Array.from({ length }, (_, index) => 1 + before + index);
  }),
);

function batchesOf(shape: { batchSize: number; sequenceLength: number; stride: number }, stream: number[][]) {
  const windows = new Windows({ ...shape, endOfText: END_OF_TEXT });
  return [...stream.flatMap((piece) => [...windows.push(piece)]), ...windows.end()];
}

/** Each counted target with what the model sees before it in its row. */
function countedOf({ batch, counted }: WindowBatch) {
  return counted.flatMap(([from, to]) =>
    Array.from({ length: to - from }, (_, index) => {
      const at = from + index;
      const row = at - (at % batch.sequenceLength);
      return { target: batch.targets[at]!, seen: [...batch.inputs.subarray(row, at + 1)] };
    }),
  );
}

test("every token is counted once, in order, behind exactly the tokens that precede it", () => {
  fc.assert(
    fc.property(shapes, streams, ({ stride: wanted, ...rest }, stream) => {
      const stride = Math.min(wanted, rest.sequenceLength);
      const shape = { ...rest, stride };
      const tokens = stream.flat();
      const counted = batchesOf(shape, stream).flatMap(countedOf);
      expect(counted.map(({ target }) => target)).toEqual(tokens);
      counted.forEach(({ seen }, position) => {
        const precedes = [END_OF_TEXT, ...tokens].slice(0, position + 1);
        expect(seen).toEqual(precedes.slice(-seen.length));
        // What a smaller stride is for: context of at least T - stride tokens wherever the text has as many.
        expect(seen.length).toBeGreaterThan(Math.min(position, shape.sequenceLength - stride));
      });
    }),
  );
});

test("windows do not depend on how many are computed at once, nor on the pieces that text comes in", () => {
  fc.assert(
    fc.property(streams, fc.integer({ min: 1, max: 5 }), (stream, batchSize) => {
      const windows = (size: number, pieces: number[][]) =>
        batchesOf({ batchSize: size, sequenceLength: 5, stride: 3 }, pieces).flatMap(countedOf);
      expect(windows(batchSize, [stream.flat()])).toEqual(windows(1, stream));
    }),
  );
});

test("a stride longer than a window would lose tokens and is refused", () => {
  for (const stride of [0, 5, 1.5]) {
    expect(() => new Windows({ batchSize: 1, sequenceLength: 4, stride, endOfText: 0 })).toThrow(RangeError);
  }
});
