// Model references against real state directories, as a peer writes them.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { bodyTensors } from "#model/architecture.ts";
import { writeModelFolder } from "#model/checkpoint/model-folder.ts";
import { genesisBody, genesisShared, initialEmbedding } from "#model/genesis.ts";
import { restrict } from "#model/tokenizer/restrict.ts";
import { trainTokenizer } from "#model/tokenizer/train-tokenizer.ts";
import { parseRunConfig } from "#protocol/core/run-config.ts";
import { manifestBytes, runId } from "#protocol/core/run-manifest.ts";
import { sha256, sha256Hex } from "#protocol/net/hash.ts";
import { openControlEndpoint } from "../observability/control-endpoint.ts";
import type { PeerStatus } from "../observability/status.ts";
import { ProtocolStore } from "../storage/protocol-store.ts";
import { StateDirectory } from "../storage/state-directory.ts";
import { saveVocabularyRows } from "../storage/vocabulary-rows.ts";
import { saveTrainerCheckpoint } from "../trainer/checkpoint-file.ts";
import { sharedTensorsOf, sharedVocabularySize } from "../variants.ts";
import { loadModel } from "./load-model.ts";

const { signal } = new AbortController();
const MODEL = { blocks: 1, width: 16, heads: 2, sequenceLength: 16 };
const run = parseRunConfig({ name: "tiny", model: MODEL, training: { learningRate: 0.003 } });
const manifest = manifestBytes(run, bodyTensors(MODEL), sha256);
const id = runId(manifest, sha256);
const tokenizer = await trainTokenizer(["to be or not to be, that is the question"], { vocabularySize: 260 });
const config = { ...MODEL, vocabularySize: 260 };

let directory: string;
let environment: Record<string, string>;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "glossa-model-"));
  environment = { GLOSSA_RUNTIME_DIR: join(directory, "runtime"), GLOSSA_HOME: join(directory, "home") };
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const protocolCheckpoint = (closedRound: number, closedBody: Float32Array) => ({
  closedRound,
  closedBody,
  round: closedRound + 1,
  updates: [],
  residual: new Float32Array(closedBody.length),
  publishedRound: closedRound,
  pendingOwn: [],
  presenceSequence: 1,
});

/** What a peer has on disk; `parts` are left out by name. */
async function statedPeer({ without = [] as string[], body = genesisBody(MODEL, 7), path = "peer" } = {}) {
  const state = await StateDirectory.open(join(directory, path));
  await state.bindToRun(id, new TextDecoder().decode(manifest));
  const embedding = initialEmbedding(config, "own");
  if (!without.includes("protocol")) {
    const store = await ProtocolStore.open(state.path);
    await store.save(protocolCheckpoint(3, genesisBody(MODEL, 6)));
    await store.save(protocolCheckpoint(4, body));
  }
  if (!without.includes("trainer")) {
    const zeros = { body: new Float32Array(body.length), embedding: new Float32Array(embedding.length) };
    await saveTrainerCheckpoint(state.trainerCheckpointPath, {
      state: {
        body: zeros.body,
        bodyMoment1: zeros.body,
        bodyMoment2: zeros.body,
        embedding,
        embeddingMoment1: zeros.embedding,
        embeddingMoment2: zeros.embedding,
        momentSteps: 1,
        embeddingMomentSteps: 1,
      },
      start: zeros.body,
      progress: {
        round: 4,
        step: 1,
        tokens: 1,
        bytes: 1,
        nats: 1,
        computeMs: 1,
        idleMs: 0,
        warmUpSteps: 0,
        totalTokens: 1,
        skippedSteps: 0,
      },
      batchPosition: null,
    });
  }
  if (!without.includes("tokenizer")) await writeFile(state.tokenizerPath, tokenizer.toJson());
  return { state, body, embedding };
}

describe("a peer's state directory", () => {
  test("gives the newest closed body and its own embedding and tokenizer, while the peer holds its lock", async () => {
    const { state, body, embedding } = await statedPeer();
    const model = await loadModel(state.path, { signal });
    expect(model.config).toEqual(config);
    expect(model.body).toEqual(body);
    expect(model.embedding).toEqual(embedding);
    expect(model.tokenizer.fingerprint).toBe(tokenizer.fingerprint);
    expect(model.source).toMatchObject({ kind: "peer", runId: id, round: 4, learningRate: 0.003 });
    // The lock is still the peer's: nothing was taken or broken.
    await expect(StateDirectory.open(state.path)).rejects.toMatchObject({ code: "STATE_IN_USE" });
    await state.close();
  });

  test("gives the body before, and says so, where the newest is damaged", async () => {
    const { state } = await statedPeer();
    await state.close();
    await writeFile(join(state.path, "protocol.checkpoint"), "GLOSSA, but no checkpoint of it");
    const { body, source } = await loadModel(state.path, { signal });
    expect(body).toEqual(genesisBody(MODEL, 6));
    expect(source).toMatchObject({ round: 3, description: expect.stringContaining("damaged") });
  });

  test("gives the body before where a peer died between two renames", async () => {
    const { state } = await statedPeer();
    await state.close();
    await rm(join(state.path, "protocol.checkpoint"));
    expect((await loadModel(state.path, { signal })).source.round).toBe(3);
  });

  test("is read whole while checkpoint after checkpoint replaces it", async () => {
    const { state } = await statedPeer();
    const store = await ProtocolStore.open(state.path);
    const bodies = [8, 9, 10, 11].map((seed) => genesisBody(MODEL, seed));
    let isDone = false;
    const saving = (async () => {
      for (let round = 5; !isDone; round++) {
        await store.save(protocolCheckpoint(round, bodies[round % bodies.length]!));
      }
    })();
    let last = 0;
    for (let look = 0; look < 30; look++) {
      const { body, source } = await loadModel(state.path, { signal });
      expect(source.round!).toBeGreaterThanOrEqual(last);
      last = source.round!;
      if (last > 4) expect(body).toEqual(bodies[last % bodies.length]);
    }
    isDone = true;
    await saving;
    expect(last).toBeGreaterThan(4);
    await state.close();
  });

  test.each([
    ["protocol", "no body"],
    ["trainer", "no embedding"],
    ["tokenizer", "no tokenizer"],
  ])("without its %s file is not ready, and says what is missing", async (part, missing) => {
    const { state } = await statedPeer({ without: [part] });
    const loading = loadModel(state.path, { signal });
    await expect(loading).rejects.toMatchObject({ code: "MODEL_NOT_READY" });
    await expect(loading).rejects.toThrow(missing);
    await state.close();
  });

  test("with a tokenizer of more tokens than its embedding has rows is refused", async () => {
    const { state } = await statedPeer();
    const larger = await trainTokenizer(["to be or not to be to be"], { vocabularySize: 261 });
    await writeFile(state.tokenizerPath, larger.toJson());
    await expect(loadModel(state.path, { signal })).rejects.toMatchObject({ code: "MODEL_PARTS_MISMATCH" });
    await state.close();
  });
});

describe("a peer that shares a vocabulary", () => {
  const common = tokenizer;
  const { tokenizer: restricted, rows } = restrict(common, common.encode("to be or not"));
  const width = MODEL.width;

  async function peerOf(variant: "spec" | "trim" | "glob") {
    const vocabulary = { tokenizer: sha256Hex(Buffer.from(common.toJson())), size: 260 };
    const terms = parseRunConfig({ name: variant, variant, vocabulary, model: MODEL });
    const bytes = manifestBytes(terms, sharedTensorsOf(terms), sha256);
    const state = await StateDirectory.open(join(directory, variant));
    await state.bindToRun(runId(bytes, sha256), new TextDecoder().decode(bytes));
    const shared = genesisShared(MODEL, sharedVocabularySize(terms), 5);
    await (await ProtocolStore.open(state.path)).save(protocolCheckpoint(2, shared));
    await writeFile(state.commonTokenizerPath, common.toJson());
    const own = variant === "glob" ? common : restricted;
    await writeFile(state.tokenizerPath, own.toJson());
    if (variant !== "glob") await saveVocabularyRows(state.vocabularyRowsPath, own.fingerprint, rows);
    await state.close();
    return { path: state.path, body: shared.slice(0, genesisBody(MODEL, 5).length), shared };
  }
  const rowOf = (embedding: Float32Array, row: number) => embedding.slice(row * width, (row + 1) * width);

  test("in variant trim has its rows of the common embedding, all on request", async () => {
    const { path, body, shared } = await peerOf("trim");
    const own = await loadModel(path, { signal });
    expect(own.body).toEqual(body);
    expect(own.config.vocabularySize).toBe(restricted.vocabularySize);
    expect(own.tokenizer.fingerprint).toBe(restricted.fingerprint);
    expect(own.rows).toEqual(rows);
    const all = await loadModel(path, { signal, global: true });
    expect(all.body).toEqual(body);
    expect(all.embedding).toEqual(shared.slice(body.length));
    expect(all.tokenizer.fingerprint).toBe(common.fingerprint);
    expect(all.rows).toBeUndefined();
    rows.forEach((row, id) => {
      expect(rowOf(own.embedding, id)).toEqual(rowOf(all.embedding, row));
    });
  });

  test("in variant glob has one embedding, whichever way it is asked for", async () => {
    const { path, body, shared } = await peerOf("glob");
    const [own, all] = [await loadModel(path, { signal }), await loadModel(path, { signal, global: true })];
    for (const model of [own, all]) {
      expect(model.embedding).toEqual(shared.slice(body.length));
      expect(model.tokenizer.fingerprint).toBe(common.fingerprint);
      expect(model.rows).toBeUndefined();
    }
  });

  test("in variant spec has no global embedding", async () => {
    const { path } = await peerOf("spec");
    const loading = loadModel(path, { signal, global: true });
    await expect(loading).rejects.toMatchObject({ code: "NO_GLOBAL_EMBEDDING" });
    // Its own one is the trainer's, which has not trained yet.
    await expect(loadModel(path, { signal })).rejects.toMatchObject({ code: "MODEL_NOT_READY" });
  });
});

describe("a model folder", () => {
  test("gives what was written into it", async () => {
    const path = join(directory, "folder");
    const written = {
      config,
      body: genesisBody(MODEL, 1),
      embedding: initialEmbedding(config, 2),
      tokenizer: tokenizer.toJson(),
    };
    await writeModelFolder(path, { ...written, provenance: { learningRate: 0.004 } });
    const { tokenizerJson, source, ...model } = await loadModel(path, { signal });
    expect(model).toMatchObject({ config, body: written.body, embedding: written.embedding });
    expect(tokenizerJson).toBe(written.tokenizer);
    expect(source).toMatchObject({ kind: "folder", path, learningRate: 0.004 });
    const loading = loadModel(path, { signal, global: true });
    await expect(loading).rejects.toMatchObject({ code: "NO_GLOBAL_EMBEDDING" });
  });

  test("that holds something else says what is wrong with it", async () => {
    await writeFile(join(directory, "config.json"), '{"model_type":"gpt2"}');
    await expect(loadModel(directory, { signal })).rejects.toMatchObject({
      code: "MODEL_FOLDER_UNSUPPORTED",
    });
  });
});

describe("a name", () => {
  const listening = (name: string, stateDirectory: string) =>
    openControlEndpoint({
      name,
      runId: id,
      stateDirectory,
      recordPath: join(directory, `${name}-control.json`),
      status: () => ({}) as PeerStatus,
      environment,
    });

  test("finds the peer that runs under it", async () => {
    const { state, body } = await statedPeer();
    const endpoint = await listening("ada", state.path);
    expect((await loadModel("ada", { signal, environment })).body).toEqual(body);
    await endpoint.close();
    await state.close();
  });

  test("finds the peer that has run under it, where its state is in the usual place", async () => {
    const { state, body } = await statedPeer({ path: join("home", id.slice(0, 12), "carla") });
    await state.close();
    expect((await loadModel("carla", { signal, environment })).body).toEqual(body);
  });

  test("of two peers asks which", async () => {
    const endpoints = await Promise.all(["/a", "/b"].map((at) => listening("ada", join(directory, at))));
    const loading = loadModel("ada", { signal, environment });
    await expect(loading).rejects.toMatchObject({ code: "MODEL_AMBIGUOUS" });
    for (const endpoint of endpoints) await endpoint.close();
  });

  test.each(["nobody", "no/such/folder"])("that means nothing (%s) is not found", async (reference) => {
    await expect(loadModel(reference, { signal, environment })).rejects.toMatchObject({
      code: "MODEL_NOT_FOUND",
    });
  });

  test("of a folder or file without a model is not found either", async () => {
    await writeFile(join(directory, "file"), "");
    for (const path of [directory, join(directory, "file")]) {
      await expect(loadModel(path, { signal })).rejects.toMatchObject({ code: "MODEL_NOT_FOUND" });
    }
  });
});
