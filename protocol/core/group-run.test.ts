import { expect, it } from "vitest";
import { sha256 } from "../net/hash.ts";
import { type GroupOf, groupRun } from "./group-run.ts";
import { parseRunConfig } from "./run-config.ts";
import { updateCodec } from "./update-codec.ts";

const vocabulary = { tokenizer: "cd".repeat(32), size: 300 };
const model = { width: 64, heads: 4 };
const group: GroupOf = {
  runId: "ab".repeat(32),
  config: parseRunConfig({ seed: 7, model, averaging: { minimumPeers: 5, codec: "int4" } }),
  name: "readers",
  tokenizer: "ef".repeat(32),
  embedding: { name: "transformer.wte.weight", shape: [300, 64] },
};
const idOf = (fields: Partial<GroupOf>) => groupRun({ ...group, ...fields }, sha256).runId;

it("members derive the same run; another run, name, tokenizer or size gives another one", () => {
  expect(idOf({ config: structuredClone(group.config) })).toBe(idOf({}));
  const others = [
    idOf({}),
    idOf({ runId: "00".repeat(32) }),
    idOf({ name: "writers" }),
    idOf({ tokenizer: "00".repeat(32) }),
    idOf({ embedding: { ...group.embedding, shape: [301, 64] } }),
  ];
  expect(new Set(others).size).toBe(others.length);
});

it("the run shares the embedding alone, averages as the run does, and waits for one other", () => {
  const { config, layout, seed } = groupRun(group, sha256);
  expect(layout).toMatchObject({ total: 300 * 64 });
  expect(config).toMatchObject({
    variant: "glob",
    averaging: { codec: "int4", minimumPeers: 2, quorum: group.config.averaging.quorum },
    training: { embeddingWarmupSteps: 0, localSteps: group.config.training.localSteps },
  });
  expect(updateCodec(config, layout)).toMatchObject({ name: "int4", rowsOf: undefined });
  expect(seed).toBe(`7/${group.tokenizer}`);
});

it("sends embeddings whole where the run's updates are sparse, and applies their plain mean", () => {
  const averaging = { codec: "topk", topK: 40, outerLearningRate: 3 } as const;
  const { config } = groupRun({ ...group, config: parseRunConfig({ model, averaging }) }, sha256);
  expect(config.averaging).toMatchObject({ codec: "int4", outerLearningRate: 1 });
  // What is derived is a configuration like any other.
  expect(parseRunConfig(config)).toEqual(config);
});

it("in variant spec each member holds rows of the common vocabulary", () => {
  const config = parseRunConfig({ variant: "spec", vocabulary, model });
  const derived = groupRun({ ...group, config, tokenizer: vocabulary.tokenizer }, sha256);
  expect(updateCodec(derived.config, derived.layout).rowsOf).toMatchObject({ offset: 0, shape: [300, 64] });
});

it("what starts from a model has a group like any other, and runs that share rows have none", () => {
  const config = parseRunConfig({ initialBody: "12".repeat(32) });
  expect(groupRun({ ...group, config }, sha256).config.initialBody).toBeUndefined();
  const glob = parseRunConfig({ variant: "glob", vocabulary });
  expect(() => groupRun({ ...group, config: glob }, sha256)).toThrow(/glob has no groups/);
});

it("the manifest is canonical, so that anybody can derive it from the specification", () => {
  const { manifest } = groupRun(group, sha256);
  const text = new TextDecoder().decode(manifest);
  expect(Object.keys(JSON.parse(text))).toEqual(["config", "group", "layout", "version"]);
  expect(JSON.parse(text)).toMatchObject({
    version: 1,
    group: { name: "readers", run: group.runId, tokenizer: group.tokenizer },
    layout: [{ name: "transformer.wte.weight", shape: [300, 64] }],
  });
});
