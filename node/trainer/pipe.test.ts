// The pipe between two processes: what arrives is what was sent, however the stream is cut.
import { PassThrough } from "node:stream";
import fc from "fast-check";
import { expect, it } from "vitest";
import { encodeFrame, FrameReader, PipePort } from "./pipe.ts";

const arrays = fc.oneof(
  fc.array(fc.float({ noNaN: false }), { maxLength: 50 }).map((values) => Float32Array.from(values)),
  fc.array(fc.integer(), { maxLength: 50 }).map((values) => Int32Array.from(values)),
  fc.uint8Array({ maxLength: 50 }),
);
const messages = fc.dictionary(fc.string(), fc.oneof(arrays, fc.jsonValue(), fc.constant(undefined)));

it("gives every message back, whichever pieces the stream comes in", () => {
  fc.assert(
    fc.property(fc.array(messages, { maxLength: 5 }), fc.integer({ min: 1, max: 64 }), (sent, size) => {
      const stream = Buffer.concat(sent.flatMap(encodeFrame));
      const received: unknown[] = [];
      const reader = new FrameReader((message) => received.push(message));
      for (let at = 0; at < stream.length; at += size) reader.push(stream.subarray(at, at + size));
      expect(received).toEqual(sent);
    }),
  );
});

it("sends a part of an array as that part, and hands its buffer over to whoever receives it", () => {
  const whole = Float32Array.of(1, 2, 3, 4, 5);
  const received: unknown[] = [];
  const reader = new FrameReader((message, buffers) => {
    received.push(
      message,
      buffers.map(({ byteLength }) => byteLength),
    );
  });
  for (const part of encodeFrame({ delta: whole.subarray(1, 3), rows: Int32Array.of(7) })) reader.push(part);
  expect(received).toEqual([{ delta: Float32Array.of(2, 3), rows: Int32Array.of(7) }, [8, 4]]);
});

it("refuses an array that it has no form for, before anything is written", () => {
  const stream = new PassThrough();
  expect(() => new PipePort(stream).postMessage({ values: Float64Array.of(1) })).toThrow(/Float64Array/);
  expect(stream.readableLength).toBe(0);
});
