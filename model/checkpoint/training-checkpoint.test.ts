import { expect, test } from "vitest";
import type { TrainingState } from "../types.ts";
import { CheckpointError } from "./errors.ts";
import { decodeCheckpoint, encodeCheckpoint } from "./safetensors.ts";
import { decodeTrainingCheckpoint, encodeTrainingCheckpoint } from "./training-checkpoint.ts";

const state: TrainingState = {
  body: Float32Array.of(1, -2.5, 3e-40),
  bodyMoment1: Float32Array.of(0.1, 0.2, 0.3),
  bodyMoment2: Float32Array.of(0.4, 0.5, 0.6),
  embedding: Float32Array.of(7, 8),
  embeddingMoment1: Float32Array.of(9, 10),
  embeddingMoment2: Float32Array.of(11, 12),
  momentSteps: 4_321,
  embeddingMomentSteps: 5_000,
};
const extra = {
  round: 3,
  position: { file: "a.txt", offset: 12_345_678_901 },
  losses: [1.25, null],
  text: "é\n",
};

test("a training state and what is kept beside it come back equal", () => {
  const arrays = new Map([["start", Float32Array.of(1.5, -0)]]);
  expect(decodeTrainingCheckpoint(encodeTrainingCheckpoint({ state, extra, arrays }))).toEqual({
    state,
    extra,
    arrays,
  });
});

test("the scale of the loss comes back where there was one, and is missing in what was written before there were any", () => {
  const scaled: TrainingState = { ...state, lossScale: { scale: 65_536, goodSteps: 1_999 } };
  expect(decodeTrainingCheckpoint(encodeTrainingCheckpoint({ state: scaled, extra })).state).toEqual(scaled);
  const { state: plain } = decodeTrainingCheckpoint(encodeTrainingCheckpoint({ state, extra }));
  expect("lossScale" in plain).toBe(false);
});

test("a checkpoint of another kind, or one that lacks a part, is refused by name", () => {
  const { tensors, metadata } = decodeCheckpoint(encodeTrainingCheckpoint({ state, extra }));
  const variants: { why: string; bytes: Uint8Array }[] = [
    {
      why: 'format is "other"',
      bytes: encodeCheckpoint(tensors, new Map([...metadata, ["format", "other"]])),
    },
    { why: 'format is ""', bytes: encodeCheckpoint(tensors) },
    {
      why: '"momentSteps" is "-1"',
      bytes: encodeCheckpoint(tensors, new Map([...metadata, ["momentSteps", "-1"]])),
    },
    ...["0", '{"scale":0,"goodSteps":0}', '{"scale":1.5,"goodSteps":0}'].map((text) => ({
      why: `"lossScale" is "${text}"`,
      bytes: encodeCheckpoint(tensors, new Map([...metadata, ["lossScale", text]])),
    })),
    {
      why: '"embeddingMomentSteps" is ""',
      bytes: encodeCheckpoint(tensors, without(metadata, "embeddingMomentSteps")),
    },
    { why: "not JSON", bytes: encodeCheckpoint(tensors, new Map([...metadata, ["extra", "{"]])) },
    { why: "embeddingMoment2", bytes: encodeCheckpoint(without(tensors, "embeddingMoment2"), metadata) },
    {
      why: "bodyMoment1",
      bytes: encodeCheckpoint(
        new Map([...tensors, ["bodyMoment1", { shape: [3], data: new Float64Array(3) }]]),
        metadata,
      ),
    },
  ];
  for (const { why, bytes } of variants) {
    expect(() => decodeTrainingCheckpoint(bytes), why).toThrow(CheckpointError);
    expect(() => decodeTrainingCheckpoint(bytes), why).toThrow(why);
  }
});

function without<Item>(map: ReadonlyMap<string, Item>, removed: string): Map<string, Item> {
  return new Map([...map].filter(([key]) => key !== removed));
}
