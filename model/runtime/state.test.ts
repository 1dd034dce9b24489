import { describe, expect, it } from "vitest";
import { TensorSizeError } from "../errors.ts";
import { GraphBuilder } from "../graph/builder.ts";
import { emitOnnx } from "../onnx/emit.ts";
import { ReadBack } from "./read-back.ts";
import { createSession, type Session } from "./session.ts";
import { HostState, ResidentState, type StateNames, type StepState } from "./state.ts";

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

const kinds: [string, () => StepState][] = [
  ["on the host", () => new HostState(specs, names)],
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
  });

  it("moves by a step that is committed, stays at one that is discarded, and can be written in between", async () => {
    const session = await squaring();
    const state = make();
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
    state.clear();
    expect([...(await state.read())]).toEqual([0, 0, 0, 0, 0]);
    state.dispose();
    await session.dispose();
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
