// The model of a peer, out of its state directory. Each file is replaced as a whole by whoever owns it, so what is read is
// whole. What the peers share is that of the newest closed round, the same on all of them:
//   spec-opt, spec   the body; tokenizer and embedding are the peer's own, and may be a round ahead of it
//   trim, glob       the body and the embedding: of all its rows those that the peer's tokenizer has, or all (--global)
import { join } from "node:path";
import { bodyLength } from "#model/architecture.ts";
import { Tokenizer } from "#model/tokenizer/tokenizer.ts";
import type { RunConfig } from "#protocol/core/run-config.ts";
import { parseManifest } from "#protocol/core/run-manifest.ts";
import { sha256 } from "#protocol/net/hash.ts";
import { readIfPresent } from "../storage/atomic-file.ts";
import { StateCorruptError } from "../storage/errors.ts";
import { readProtocolCheckpoint } from "../storage/protocol-store.ts";
import { readJson, STATE_FILES } from "../storage/state-directory.ts";
import { loadVocabularyRows } from "../storage/vocabulary-rows.ts";
import { loadTrainerCheckpoint } from "../trainer/checkpoint-file.ts";
import { SharedParameters } from "../trainer/shared-parameters.ts";
import { sharedVocabularySize } from "../variants.ts";
import { ModelNotReadyError, ModelPartsMismatchError, NoGlobalEmbeddingError } from "./errors.ts";
import type { LoadedModel, LoadModelOptions, ModelSource } from "./load-model.ts";

/** A vocabulary and its embedding. */
interface Vocabulary {
  readonly tokenizerJson: string;
  readonly tokenizer: Tokenizer;
  readonly embedding: Float32Array;
  readonly rows?: Int32Array;
}

/** @throws ModelNotReadyError, NoGlobalEmbeddingError, StateCorruptError, CheckpointError, TokenizerError */
export async function loadPeerModel(
  stateDirectory: string,
  { signal, global = false }: LoadModelOptions,
): Promise<LoadedModel> {
  const { runId, config } = await readRun(stateDirectory);
  const found = await readProtocolCheckpoint(stateDirectory, signal);
  if (found === undefined) throw new ModelNotReadyError(stateDirectory, "it has saved no body");
  const { closedBody: shared, closedRound: round } = found.checkpoint;
  const { tokenizer, tokenizerJson, embedding, rows } = await (global
    ? readCommonVocabulary(stateDirectory, config, shared)
    : readOwnVocabulary(stateDirectory, config, shared));

  const damage =
    found.fallback === undefined ? "" : "; its newest checkpoint is damaged, this is the one before";
  const whose = global ? "common embedding" : "peer";
  const source: ModelSource = {
    kind: "peer",
    path: stateDirectory,
    description: `${whose} in ${stateDirectory}, run ${config.name} (${runId.slice(0, 12)}), closed round ${round}${damage}`,
    runId,
    runName: config.name,
    round,
    learningRate: config.training.learningRate,
  };
  return {
    config: { ...config.model, vocabularySize: tokenizer.vocabularySize },
    body: shared.slice(0, bodyLength(config.model)),
    embedding,
    tokenizer,
    tokenizerJson,
    ...(rows !== undefined && { rows }),
    source,
  };
}

/** The peer's own tokenizer, with the trainer's embedding or with its rows of the shared one. */
async function readOwnVocabulary(
  stateDirectory: string,
  config: RunConfig,
  shared: Float32Array,
): Promise<Vocabulary> {
  const tokenizerJson = await readText(join(stateDirectory, STATE_FILES.tokenizer));
  if (tokenizerJson === undefined) throw new ModelNotReadyError(stateDirectory, "it has no tokenizer");
  const tokenizer = Tokenizer.fromJson(tokenizerJson);
  const rows = await loadVocabularyRows(
    join(stateDirectory, STATE_FILES.vocabularyRows),
    tokenizer.fingerprint,
  );
  if (sharedVocabularySize(config) !== undefined) {
    return withRows({ tokenizerJson, tokenizer, rows }, stateDirectory, config, shared);
  }
  const trainer = await loadTrainerCheckpoint(join(stateDirectory, STATE_FILES.trainerCheckpoint));
  if (trainer === undefined) throw new ModelNotReadyError(stateDirectory, "it has saved no embedding");
  const { embedding } = trainer.state;
  return { tokenizerJson, tokenizer, embedding, ...(rows !== undefined && { rows }) };
}

/** The tokenizer and the embedding that all peers of the run share. */
async function readCommonVocabulary(
  stateDirectory: string,
  config: RunConfig,
  shared: Float32Array,
): Promise<Vocabulary> {
  if (sharedVocabularySize(config) === undefined) {
    throw new NoGlobalEmbeddingError(
      stateDirectory,
      `in variant ${config.variant} embeddings are the peers' own`,
    );
  }
  const tokenizerJson = await readText(join(stateDirectory, STATE_FILES.commonTokenizer));
  if (tokenizerJson === undefined) throw new ModelNotReadyError(stateDirectory, "it has no common tokenizer");
  const tokenizer = Tokenizer.fromJson(tokenizerJson);
  return withRows({ tokenizerJson, tokenizer, rows: undefined }, stateDirectory, config, shared);
}

/** Takes the rows of a tokenizer out of the shared array; `undefined` takes all. */
function withRows(
  { rows, ...words }: Omit<Vocabulary, "embedding" | "rows"> & { readonly rows: Int32Array | undefined },
  stateDirectory: string,
  config: RunConfig,
  shared: Float32Array,
): Vocabulary {
  const values = bodyLength(config.model);
  const { width } = config.model;
  const vocabularySize = sharedVocabularySize(config)!;
  const parameters = new SharedParameters(values, { width, vocabularySize, rows });
  if (shared.length !== parameters.sharedLength) {
    throw new ModelPartsMismatchError(
      stateDirectory,
      `its shared array has ${shared.length} values where its run has ${parameters.sharedLength}`,
      "restore it from a copy",
    );
  }
  const embedding = parameters.gather(shared).slice(values);
  return { ...words, embedding, ...(rows !== undefined && { rows }) };
}

/** The run that the directory is tied to. */
async function readRun(stateDirectory: string): Promise<{ runId: string; config: RunConfig }> {
  const path = join(stateDirectory, STATE_FILES.run);
  const bound = await readJson<{ runId?: unknown; manifest?: unknown }>(path);
  if (typeof bound?.runId !== "string" || typeof bound.manifest !== "string") {
    throw new StateCorruptError(path, "it names no run");
  }
  const { config } = parseManifest(new TextEncoder().encode(bound.manifest), bound.runId, sha256);
  return { runId: bound.runId, config };
}

async function readText(path: string): Promise<string | undefined> {
  const bytes = await readIfPresent(path);
  return bytes && Buffer.from(bytes).toString("utf8");
}
