import { describe, expect, it } from "vitest";
import { GraphError } from "../errors.ts";
import { emitLoop } from "../onnx/emit-loop.ts";
import { createSession, hostData, hostTensor, scalarTensor } from "../runtime/session.ts";
import { GraphBuilder } from "./builder.ts";
import { interfaceOf, type Loop, next } from "./loop.ts";

/** x := x * factor + row, and what x was. */
function scaleAndAdd() {
  const b = new GraphBuilder();
  const [x, row] = [b.input("x", [2]), b.input("row", [2])];
  return b.build({ [next("x")]: b.add(b.mul(x, b.input("factor", [])), row), before: x });
}

/** sum := sum + x + addend */
function addUp() {
  const b = new GraphBuilder();
  const sum = b.add(b.add(b.input("sum", [2]), b.input("x", [2])), b.input("addend", [2]));
  return b.build({ [next("sum")]: sum, same: sum });
}

function clear() {
  const b = new GraphBuilder();
  return b.build({ [next("sum")]: b.broadcast(b.input("zero", []), [2]) });
}

async function run(loop: Loop, feeds: Parameters<Awaited<ReturnType<typeof createSession>>["run"]>[0]) {
  const session = await createSession(emitLoop(loop), { device: "cpu", threads: 1 });
  const names = [...interfaceOf(loop).outputs.keys()];
  const outputs = await session.run(feeds, Object.fromEntries(names.map((name) => [name, null])));
  await session.dispose();
  return Object.fromEntries(names.map((name) => [name, [...hostData(outputs[name]!)]]));
}

const tensor = (shape: number[], ...values: number[]) => hostTensor(Float32Array.from(values), shape);

describe("a loop", () => {
  const loop: Loop = { parts: [scaleAndAdd()], rounds: "count", perRound: ["row"], collected: ["before"] };

  it("carries what it changes from round to round, and takes a row and keeps one in each", async () => {
    const count = hostTensor(BigInt64Array.of(3n), []);
    const feeds = {
      x: tensor([2], 1, -1),
      row: tensor([3, 2], 1, 2, 3, 4, 5, 6),
      factor: scalarTensor(10),
      count,
    };
    expect(await run(loop, feeds)).toEqual({
      [next("x")]: [1135, -754],
      before: [1, -1, 11, -8, 113, -76],
    });
  });

  it("leaves what it carries as it was in no rounds", async () => {
    const count = hostTensor(BigInt64Array.of(0n), []);
    const feeds = { x: tensor([2], 1, -1), row: tensor([0, 2]), factor: scalarTensor(10), count };
    expect(await run(loop, feeds)).toEqual({ [next("x")]: [1, -1], before: [] });
  });

  it("holds another one, whose sums begin anew in each of its rounds", async () => {
    const inner: Loop = { parts: [addUp()], rounds: 2, perRound: ["addend"], collected: ["same"] };
    const add = new GraphBuilder();
    const moved = add.build({ [next("x")]: add.add(add.input("x", [2]), add.input("sum", [2])) });
    const outer: Loop = {
      parts: [clear(), inner, moved],
      rounds: "count",
      perRound: ["addend"],
      collected: ["same"],
    };
    expect([...interfaceOf(outer).inputs.keys()].sort()).toEqual(["addend", "x", "zero"]);
    expect([...interfaceOf(outer).carried.keys()]).toEqual(["x"]);
    expect(interfaceOf(outer).inputs.get("addend")!.shape).toEqual(["count", 2, 2]);
    const addend = tensor([2, 2, 2], 1, 2, 3, 4, 5, 6, 7, 8);
    const count = hostTensor(BigInt64Array.of(2n), []);
    // Round 0: sums x + 1 = 2, then 2 + 1 + 3 = 6, so x = 7; the other column 3, 8, and 9.
    expect(await run(outer, { x: tensor([2], 1, 1), addend, zero: scalarTensor(0), count })).toEqual({
      [next("x")]: [33, 41],
      same: [2, 3, 6, 8, 12, 15, 26, 32],
    });
  });

  it("is refused where what it carries changes its shape, or what it keeps is not made", () => {
    const b = new GraphBuilder();
    const growing = b.build({ [next("x")]: b.concat([b.input("x", [2]), b.input("y", [1])], 0) });
    expect(() => interfaceOf({ ...loop, parts: [growing], collected: [] })).toThrow(GraphError);
    expect(() => interfaceOf({ ...loop, collected: ["after"] })).toThrow(/never made/);
  });
});
