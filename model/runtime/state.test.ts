import { describe, expect, it } from "vitest";
import { TensorSizeError } from "../errors.ts";
import { GraphBuilder } from "../graph/builder.ts";
import { emitOnnx } from "../onnx/emit.ts";
import { ReadBack } from "./read-back.ts";
import { createSession, hostTensor, type Session } from "./session.ts";
import { HostState, ResidentState, type State, type StateNames } from "./state.ts";

const specs = [
  { name: "a", shape: [2] },
  { name: "b", shape: [1, 3] },
];
const names: StateNames = {
  label: "weights",
  input: (name) => `in:${name}`,
  output: (name) => `out:${name}`,
};
const start = Float32Array.of(1, 2, 3, 4, 5);

/** A step that squares every value. */
async function squaring(): Promise<Session> {
  const b = new GraphBuilder();
  const outputs = specs.map(({ name, shape }) => {
    const x = b.input(names.input(name), shape);
    return [names.output(name), b.mul(x, x)] as const;
  });
  return createSession(emitOnnx(b.build(Object.fromEntries(outputs))), { device: "cpu", threads: 1 });
}

function hostState(maxLength?: number): HostState {
  return new HostState(specs, names, { lane: 1, maxLength });
}

const kinds: [string, () => State][] = [
  ["on the host", () => hostState()],
  ["on the host, in several arrays", () => hostState(3)],
  ["with a device's own outputs", () => new ResidentState(specs, names, new ReadBack())],
];

describe.each(kinds)("a state %s", (_, make) => {
  it("starts at zero and takes a flat array in the order of its tensors", async () => {
    const state = make();
    expect([...(await state.read())]).toEqual([0, 0, 0, 0, 0]);
    state.write(start);
    expect(
      Object.entries(state.feeds()).map(([name, { dims, data }]) => [
        name,
        dims,
        [...(data as Float32Array)],
      ]),
    ).toEqual([
      ["in:a", [2], [1, 2]],
      ["in:b", [1, 3], [3, 4, 5]],
    ]);
    state.clear();
    expect([...(await state.read())]).toEqual([0, 0, 0, 0, 0]);
  });

  it("shares no memory with what it is given or gives", async () => {
    const state = make();
    const given = start.slice();
    state.write(given);
    given.fill(9);
    (await state.read()).fill(8);
    expect([...(await state.read())]).toEqual([...start]);
  });

  it("refuses an array of another length", () => {
    const state = make();
    expect(() => state.write(new Float32Array(4))).toThrow(TensorSizeError);
    expect(() => state.check(new Float32Array(6))).toThrow(
      expect.objectContaining({ expected: 5, actual: 6 }),
    );
  });
});

describe("a state on the host", () => {
  it("is written over by a step that it is the result of", async () => {
    const session = await squaring();
    const state = hostState();
    state.write(start);
    const results = Object.fromEntries(
      state.tensors.map(({ output, values, shape }) => [output, hostTensor(values, shape)]),
    );
    await session.run(state.feeds(), results);
    await session.run(state.feeds(), results);
    expect([...(await state.read())]).toEqual([1, 16, 81, 256, 625]);
    await session.dispose();
  });

  it("keeps tensors whole in as few arrays as will do", () => {
    const lengths = (maxLength?: number) => hostState(maxLength).pieces.map(({ flat }) => flat.values.length);
    expect(lengths()).toEqual([5]);
    expect(lengths(5)).toEqual([5]);
    expect(lengths(4)).toEqual([2, 3]);
  });
});

it("a state of a device's own outputs moves by a step that is committed and stays at one that is discarded", async () => {
  const session = await squaring();
  const state = new ResidentState(specs, names, new ReadBack());
  const step = () => session.run(state.feeds(), state.fetches());
  state.write(start);
  state.commit(await step());
  state.commit(await step());
  expect([...(await state.read())]).toEqual([1, 16, 81, 256, 625]);
  state.discard(await step());
  expect([...(await state.read())]).toEqual([1, 16, 81, 256, 625]);
  state.write(start);
  state.commit(await step());
  expect([...(await state.read())]).toEqual([1, 4, 9, 16, 25]);
  state.dispose();
  await session.dispose();
});
