import { describe, expect, it } from "vitest";
import { DeviceUnavailableError } from "../errors.ts";
import { GraphBuilder } from "../graph/builder.ts";
import { validateGraph } from "../graph/validate.ts";
import { emitOnnx } from "../onnx/emit.ts";
import { allOpSamples } from "../testing/op-samples.ts";
import { runOnCpu } from "../testing/run-on-cpu.ts";
import { interpret } from "./interpreter.ts";
import { createSession, hostData, hostTensor, IN_PLACE_ONLY, type Session, scalarTensor } from "./session.ts";
import { TransferMeter } from "./transfer-meter.ts";

/** A few units in float32's last place (6e-8) for sums of the samples' length. */
const FLOAT32_TOLERANCE = 2e-6;

describe("a session on the cpu", () => {
  const unfused = allOpSamples
    .filter(({ op }) => op === "matMul" || op === "matMulInBlocks" || op === "attention")
    .map((row) => ({ ...row, title: `${row.title}, without what webgpu lacks`, forWebgpu: true }));
  it.each([...allOpSamples.map((row) => ({ ...row, forWebgpu: false })), ...unfused])(
    "agrees with the float64 interpreter on $title",
    async ({ op, sample, forWebgpu }) => {
      const b = new GraphBuilder();
      const inputs = sample.inputs.map(({ type, shape }, index) => b.input(`x${index}`, shape, type));
      const outputs = b
        .apply(op, inputs, sample.attributes)
        .map((value) => (value.type === "half" ? b.cast(value, "float") : value));
      const graph = b.build(Object.fromEntries(outputs.map((value, index) => [`y${index}`, value])));
      validateGraph(graph);

      const feeds = Object.fromEntries(sample.inputs.map(({ data }, index) => [`x${index}`, data]));
      const expected = interpret(graph, feeds);
      const actual = await runOnCpu(graph, feeds, { forWebgpu });
      for (const [name, value] of graph.outputs) {
        expect(actual[name]!.dims, name).toEqual(value.shape);
        const scale = Math.max(1, ...Array.from(expected[name]!, Math.abs));
        hostData(actual[name]!).forEach((number, at) => {
          expect(Math.abs(number - expected[name]![at]!), `${name}[${at}]`).toBeLessThan(
            FLOAT32_TOLERANCE * scale,
          );
        });
      }
    },
  );

  it("adds many rows of few ids without losing any, the same on every run", async () => {
    const [rows, width, vocabulary] = [3000, 64, 16];
    const b = new GraphBuilder();
    const ids = b.input("ids", [rows], "int32");
    const base = b.broadcast(b.scalar(0), [vocabulary, width]);
    const ones = b.broadcast(b.scalar(1), [rows, width]);
    const graph = b.build({ sums: b.scatterAdd(base, ids, ones) });
    const session = await createSession(emitOnnx(graph), { device: "cpu", threads: 4 });
    const feeds = {
      ids: hostTensor(
        Int32Array.from({ length: rows }, (_, at) => at % 3),
        [rows],
      ),
    };
    for (let run = 0; run < 5; run++) {
      const sums = hostData((await session.run(feeds, { sums: null })).sums!);
      for (let id = 0; id < vocabulary; id++) {
        const expected = id < 3 ? rows / 3 : 0;
        expect(new Set(sums.subarray(id * width, (id + 1) * width))).toEqual(new Set([expected]));
      }
    }
    await session.dispose();
  });

  const emissions = [
    { how: "alone", withProbabilities: false, branches: false },
    { how: "alone, without LogSoftmax", withProbabilities: false, branches: false, forWebgpu: true },
    { how: "beside the probabilities", withProbabilities: true, branches: false },
    { how: "beside the probabilities, with branches", withProbabilities: true, branches: true },
  ];
  it.each(emissions)(
    "gives a cross-entropy $how even where the target's probability underflows",
    async (emission) => {
      const b = new GraphBuilder();
      const { nats, probabilities } = b.linearCrossEntropy(
        b.input("hidden", [3, 1]),
        b.input("head", [2, 1]),
        b.input("targets", [3], "int32"),
      );
      const graph = b.build({ nats, ...(emission.withProbabilities && { probabilities }) });
      const session = await createSession(emitOnnx(graph, emission), { device: "cpu", threads: 1 });
      const run = async (hidden: number[]) => {
        const feeds = {
          hidden: hostTensor(Float32Array.from(hidden), [3, 1]),
          head: hostTensor(Float32Array.of(1, -1), [2, 1]),
          targets: hostTensor(Int32Array.of(1, 1, 0), [3]),
        };
        return [...hostData((await session.run(feeds, { nats: null })).nats!)];
      };
      const expected = (x: number) => Math.log1p(Math.exp(-Math.abs(2 * x))) + Math.max(0, 2 * x);
      for (const hidden of [
        [0.75, 0.5, -1.5],
        [300, 0.5, 300],
      ]) {
        const values = await run(hidden);
        [hidden[0]!, hidden[1]!, -hidden[2]!].forEach((x, at) => {
          expect(Math.abs(values[at]! - expected(x))).toBeLessThan(1e-6 * Math.max(1, expected(x)));
        });
      }
      await session.dispose();
    },
  );

  it("fills a tensor that it is given for an output", async () => {
    const b = new GraphBuilder();
    const graph = b.build({ y: b.mul(b.input("x", [3]), b.scalar(2)) });
    const session = await createSession(emitOnnx(graph), { device: "cpu" });
    const flat = new Float32Array(5);
    const y = hostTensor(flat.subarray(1, 4), [3]);
    await session.run({ x: hostTensor(Float32Array.of(1.5, 2.5, 3.5), [3]) }, { y });
    expect([...flat]).toEqual([0, 3, 5, 7, 0]);
    await session.dispose();
  });

  it("that is in place only makes no other copy of its results, and fails as others do", async () => {
    const [rows, megabyte] = [512, 2 ** 20];
    const b = new GraphBuilder();
    const x = b.input("x", [rows, rows]);
    const graph = b.build({ y: b.mul(x, b.scalar(2)), sum: b.reduceSum(x, [0, 1]) });
    const session = await createSession(emitOnnx(graph, { emptySequence: IN_PLACE_ONLY }), {
      device: "cpu",
      inPlaceOnly: true,
    });
    const values = hostTensor(new Float32Array(rows * rows).fill(1), [rows, rows]);
    const sum = scalarTensor(0);
    const before = process.memoryUsage().arrayBuffers;
    for (const expected of [1, 2, 4]) {
      await session.run({ x: values }, { y: values, sum });
      expect(hostData(sum)[0]).toBe(expected * rows * rows);
      expect(hostData(values)[rows]).toBe(2 * expected);
    }
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(megabyte);
    const wrong = hostTensor(new Float32Array(rows), [rows]);
    await expect(session.run({ x: wrong }, { y: values, sum })).rejects.toThrow(/invalid dimensions|rank/i);
    expect(hostData(values)[rows]).toBe(8);
    await session.dispose();
  });

  it.each([false, true])(
    "counts what it is given and gives in host memory (in place only: %s)",
    async (inPlaceOnly) => {
      const b = new GraphBuilder();
      const rows = b.gather(b.input("table", [5, 3]), b.input("ids", [2], "int32"));
      const meter = new TransferMeter();
      const session = await createSession(
        emitOnnx(b.build({ rows, first: b.reduceSum(rows, [0, 1]) }), { emptySequence: IN_PLACE_ONLY }),
        { device: "cpu", inPlaceOnly },
        meter,
      );
      const feeds = {
        table: hostTensor(new Float32Array(15), [5, 3]),
        ids: hostTensor(Int32Array.of(4, 0), [2]),
      };
      await session.run(feeds, { rows: hostTensor(new Float32Array(6), [2, 3]), first: scalarTensor(0) });
      expect(meter.total).toEqual({ toDeviceBytes: 4 * 17, fromDeviceBytes: 4 * 7 });
      await session.run(feeds, { first: scalarTensor(0) });
      expect(meter.total).toEqual({ toDeviceBytes: 8 * 17, fromDeviceBytes: 4 * 8 });
      await session.dispose();
    },
  );

  it("is not replaced by another device where the one asked for is missing", async () => {
    const b = new GraphBuilder();
    const bytes = emitOnnx(b.build({ y: b.exp(b.input("x", [3])) }));
    for (const device of ["webgpu", "cuda"] as const) {
      const outcome = await createSession(bytes, { device }).catch((error: unknown) => error);
      if (!(outcome instanceof Error)) {
        await (outcome as Session).dispose(); // This machine has the device.
        continue;
      }
      expect(outcome).toBeInstanceOf(DeviceUnavailableError);
      expect(outcome).toMatchObject({ code: "DEVICE_UNAVAILABLE", device, cause: expect.any(Error) });
      expect(outcome.message).toMatch(/or choose the device cpu\.$/);
    }
  });

  it("returns an input, a constant and a value under two names", async () => {
    const b = new GraphBuilder();
    const x = b.input("x", []);
    const twice = b.add(x, x);
    const graph = b.build({ same: x, half: b.scalar(0.5), first: twice, second: twice });
    const session = await createSession(emitOnnx(graph), { device: "cpu" });
    const outputs = await session.run(
      { x: scalarTensor(3) },
      { same: null, half: null, first: null, second: null },
    );
    const numbers = ["same", "half", "first", "second"].map((name) => hostData(outputs[name]!)[0]);
    expect(numbers).toEqual([3, 0.5, 6, 6]);
    await session.dispose();
  });
});
