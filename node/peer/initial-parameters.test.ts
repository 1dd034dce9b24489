// What a run shares at its start of a model folder.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { writeModelFolder } from "#model/checkpoint/model-folder.ts";
import { genesisBody, initialEmbedding } from "#model/genesis.ts";
import { trainTokenizer } from "#model/tokenizer/train-tokenizer.ts";
import { bodyRoot } from "#protocol/core/merkle.ts";
import type { RunConfig } from "#protocol/core/run-config.ts";
import { sha256 } from "#protocol/net/hash.ts";
import { givenParameters } from "./initial-parameters.ts";

const MODEL = { blocks: 1, width: 12, heads: 2, sequenceLength: 16 };
const ROWS = 259;
const body = genesisBody(MODEL, "a model");
const embedding = initialEmbedding({ width: MODEL.width, vocabularySize: ROWS }, "a model");
const { signal } = new AbortController();

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "glossa-initial-"));
  const tokenizer = (await trainTokenizer(["to be or not to be"], { vocabularySize: ROWS })).toJson();
  const config = { ...MODEL, vocabularySize: ROWS };
  await writeModelFolder(folder, { config, body, embedding, tokenizer });
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const both = Float32Array.of(...body, ...embedding);
const runOf = (variant: RunConfig["variant"], initialBody: string | undefined, size = ROWS) => ({
  ...{ name: "more", model: MODEL, variant, initialBody },
  vocabulary: variant === "spec-opt" ? undefined : { tokenizer: "ab".repeat(32), size },
});
const given = (run: ReturnType<typeof runOf>) => givenParameters(folder, run, signal);

it("is the body, and the embedding behind it where rows are shared", async () => {
  const bodyAlone = bodyRoot(body, sha256);
  for (const variant of ["spec-opt", "spec"] as const) {
    expect(await given(runOf(variant, bodyAlone))).toEqual(body);
  }
  for (const variant of ["trim", "glob"] as const) {
    expect(await given(runOf(variant, bodyRoot(both, sha256)))).toEqual(both);
  }
});

it("is nothing where no model is given, and refused where the run starts from its seed", async () => {
  expect(await givenParameters(undefined, runOf("spec-opt", "ab".repeat(32)), signal)).toBeUndefined();
  await expect(given(runOf("spec-opt", undefined))).rejects.toThrow("leave --body out");
});

it("has to be the model that the run was made from", async () => {
  await expect(given(runOf("spec-opt", bodyRoot(both, sha256)))).rejects.toMatchObject({
    code: "INITIAL_BODY_MISMATCH",
  });
  const wider = { ...runOf("spec-opt", bodyRoot(body, sha256)), model: { ...MODEL, width: 24 } };
  await expect(given(wider)).rejects.toThrow("it has width 12 where the run has 24");
  await expect(given(runOf("glob", bodyRoot(both, sha256), 300))).rejects.toMatchObject({
    code: "INITIAL_MODEL_UNFIT",
  });
});
