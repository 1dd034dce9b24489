import { describe, expect, it } from "vitest";
import {
  type Cell,
  cellOf,
  type Experiment,
  gridCells,
  heldOutUnder,
  labelOf,
  type Pretraining,
  sourcesOf,
} from "./cells.ts";
import type { Corpus } from "./corpora.ts";
import { cellsOf, chosenRates, gridOf, selected } from "./plan.ts";
import type { FinishedCell } from "./results.ts";
import { SCALES } from "./settings.ts";

const corpus = (name: string, identity = name): Corpus => ({
  name,
  description: name,
  identity,
  async *documents() {},
});
const corpora = ["a", "b", "c", "d"].map((name) => corpus(name));
const experiment: Experiment = { scale: SCALES.tiny, corpora };
const std: Pretraining = { method: "std", temperature: 0, matched: "steps", learningRate: 0.1 };
const glob: Pretraining = { method: "glob", codec: "float32", learningRate: 0.1 };

describe("a cell's id", () => {
  it("is the same for the same experiment, and another for each thing that a result depends on", () => {
    const id = (of: Experiment = experiment, seed = 1, pretraining: Pretraining | undefined = std) =>
      cellOf(of, seed, "pretrain", pretraining).id;
    expect(id()).toMatch(/^[0-9a-f]{16}$/);
    expect(id({ scale: { ...SCALES.tiny }, corpora: [...corpora] })).toBe(id());
    const others = [
      id(experiment, 2),
      id({ scale: { ...SCALES.tiny, rounds: 3 }, corpora }),
      id({ scale: SCALES.tiny, corpora: [corpus("a", "changed"), ...corpora.slice(1)] }),
      id(experiment, 1, { ...std, temperature: 1 }),
      id(experiment, 1, { ...std, matched: "tokens" }),
      id(experiment, 1, { ...std, learningRate: 0.2 }),
      id(experiment, 1, glob),
      id(experiment, 1, { ...glob, codec: "int8" }),
      cellOf(experiment, 1, "phase2", std).id,
      cellOf(experiment, 1, "phase2", undefined).id,
    ];
    expect(new Set([id(), ...others]).size).toBe(others.length + 1);
  });

  it("does not depend on how corpora are described or packed", () => {
    const packed = corpora.map((each) => ({ ...each, description: "packed otherwise" }));
    expect(cellOf({ ...experiment, corpora: packed }, 1, "pretrain", std)).toEqual(
      cellOf(experiment, 1, "pretrain", std),
    );
  });
});

describe("the experiments", () => {
  it("hold out each source in its turn, and train on the others", () => {
    expect([1, 2, 3, 4, 5].map((seed) => heldOutUnder(experiment, seed))).toEqual(["b", "c", "d", "a", "b"]);
    expect(sourcesOf(experiment, "b")).toEqual(["a", "c", "d"]);
  });

  it("match baselines by steps and by tokens", () => {
    const steps = (pretraining: Pretraining) => cellOf(experiment, 1, "pretrain", pretraining).steps;
    // Three peers of six steps each.
    expect(steps(glob)).toBe(18);
    expect(steps(std)).toBe(6);
    expect(steps({ ...std, matched: "tokens" })).toBe(18);
    expect(steps({ method: "local", source: "a", learningRate: 0.1 })).toBe(6);
  });

  it("make every body before it is used, and say most first", () => {
    const cells = cellsOf(experiment, [1, 2], new Map());
    expect(new Set(cells.map(({ id }) => id)).size).toBe(cells.length);
    const made = new Set<string>();
    for (const { id, from } of cells) {
      if (from !== undefined) expect(made).toContain(from);
      made.add(id);
    }
    const firstOf = (label: string) => cells.findIndex(({ pretraining }) => labelOf(pretraining) === label);
    const lastOf = (label: string) =>
      cells.findLastIndex(({ pretraining }) => labelOf(pretraining) === label);
    expect(lastOf("spec-opt")).toBeLessThan(firstOf("std τ 1 by tokens"));
    expect(lastOf("act by tokens")).toBeLessThan(firstOf("glob int8"));
    const labels = new Set(cells.map(({ pretraining }) => labelOf(pretraining)));
    for (const label of [
      "untrained",
      "act",
      "local a",
      "glob",
      "trim",
      "spec",
      "spec-opt",
      "spec-opt topk",
    ]) {
      expect(labels).toContain(label);
    }
  });

  it("can be narrowed to some methods or phases and what these need", () => {
    const cells = cellsOf(experiment, [1], new Map());
    expect(new Set(selected(cells, ["trim"]).map(({ pretraining }) => pretraining!.method))).toEqual(
      new Set(["trim"]),
    );
    const exact = selected(cells, ["glob float32", "std τ 0"]).map(({ pretraining }) => labelOf(pretraining));
    expect(new Set(exact)).toEqual(new Set(["glob", "std τ 0"]));
    const adapting = selected(cells, ["adapt"]);
    expect(new Set(adapting.map(({ phase }) => phase))).toEqual(new Set(["pretrain", "adapt"]));
    expect(adapting.some(({ pretraining }) => pretraining?.method === "local")).toBe(false);
    expect(selected(cells, undefined)).toEqual(cells);
  });

  it("give each std the learning rate that was best in the grid, and none that diverged", async () => {
    const wide: Experiment = { scale: { ...SCALES.tiny, learningRateGrid: [1, 2, 4] }, corpora };
    const finished = async (cell: Cell): Promise<FinishedCell> => {
      const { temperature, learningRate } = cell.pretraining as Extract<Pretraining, { temperature: number }>;
      const factor = learningRate / SCALES.tiny.learningRate;
      const worth = temperature === 1 ? -factor : factor;
      const bitsPerByte = Object.fromEntries(["a", "c", "d"].map((name) => [name, worth]));
      const diverged = factor === 4 && temperature === 1;
      const result = { bitsPerByte: diverged ? {} : bitsPerByte, curve: [], peers: {} };
      return { cell, result: diverged ? { ...result, divergedAtStep: 3 } : result, seconds: 1 };
    };
    expect(gridOf(wide, [1, 2])).toEqual(gridCells(wide, 1));
    const { learningRate } = SCALES.tiny;
    expect(await chosenRates(wide, [1, 2], finished)).toEqual(
      new Map([
        [0, learningRate],
        [0.3, learningRate],
        [1, 2 * learningRate],
      ]),
    );
  });
});
