import { expect, test } from "vitest";
import { z } from "zod";
import { parseRunConfig } from "#protocol/core/run-config.ts";
import { readSettings, settingsOf } from "../settings.ts";
import { mergeConfigs, nestRunFlags, runFlags } from "./run-flags.ts";

const read = (...argv: string[]) => nestRunFlags(readSettings(z.object(runFlags), argv, undefined));

function leaves(value: unknown): string[] {
  return Object.entries(value as object).flatMap(([key, entry]) =>
    typeof entry === "object" && entry !== null ? leaves(entry) : [key],
  );
}

test("every field of a run's configuration has a flag", () => {
  const keys = settingsOf(z.object(runFlags)).map(({ key }) => key);
  expect(keys.toSorted()).toEqual(leaves(parseRunConfig({})).toSorted());
});

test("flags land where the configuration has their field, and nothing else is set", () => {
  expect(read("--width", "256", "--local-steps", "50", "--codec", "float32", "--name", "mine")).toEqual({
    name: "mine",
    model: { width: 256 },
    training: { localSteps: 50 },
    averaging: { codec: "float32" },
  });
  expect(read()).toEqual({});
});

test("a value that makes no sense is refused by the configuration, by field", () => {
  expect(() => parseRunConfig(read("--width", "wide"))).toThrow("model.width");
  expect(() => parseRunConfig(read("--width", "10", "--heads", "4"))).toThrow(
    "model.width: must be a multiple of heads",
  );
});

test("later configurations win field by field", () => {
  const preset = { model: { width: 64, heads: 2 }, seed: 1 };
  const file = { model: { width: 128 }, training: { localSteps: 5 } };
  expect(mergeConfigs(preset, file, { seed: 9 })).toEqual({
    model: { width: 128, heads: 2 },
    training: { localSteps: 5 },
    seed: 9,
  });
});
