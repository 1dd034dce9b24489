// The model of a peer, out of its state directory: the newest closed body of the protocol's checkpoint and the embedding of
// the trainer's. Each file is replaced as a whole by whoever owns it, so what is read is whole; the two may be a round apart.
import { join } from "node:path";
import { bodyLength } from "#model/architecture.ts";
import { Tokenizer } from "#model/tokenizer/tokenizer.ts";
import type { RunConfig } from "#protocol/core/run-config.ts";
import { parseManifest } from "#protocol/core/run-manifest.ts";
import { sha256 } from "#protocol/net/hash.ts";
import { readIfPresent } from "../storage/atomic-file.ts";
import { StateCorruptError } from "../storage/errors.ts";
import { readProtocolCheckpoint } from "../storage/protocol-store.ts";
import { readJson } from "../storage/state-directory.ts";
import { loadTrainerCheckpoint } from "../trainer/checkpoint-file.ts";
import { ModelNotReadyError } from "./errors.ts";
import type { LoadedModel, LoadModelOptions, ModelSource } from "./load-model.ts";

/** @throws ModelNotReadyError, StateCorruptError, CheckpointError, TokenizerError */
export async function loadPeerModel(
  stateDirectory: string,
  { signal }: LoadModelOptions,
): Promise<LoadedModel> {
  const missing = (what: string) => new ModelNotReadyError(stateDirectory, what);
  const { runId, config } = await readRun(stateDirectory);
  const found = await readProtocolCheckpoint(stateDirectory, signal);
  if (found === undefined) throw missing("it has saved no body");
  const trainer = await loadTrainerCheckpoint(join(stateDirectory, "trainer.checkpoint"));
  if (trainer === undefined) throw missing("it has saved no embedding");
  const tokenizerJson = await readText(join(stateDirectory, "tokenizer.json"));
  if (tokenizerJson === undefined) throw missing("it has no tokenizer");
  const tokenizer = Tokenizer.fromJson(tokenizerJson);

  const { closedBody, closedRound: round } = found.checkpoint;
  const damage =
    found.fallback === undefined ? "" : "; its newest checkpoint is damaged, this is the one before";
  const source: ModelSource = {
    kind: "peer",
    path: stateDirectory,
    description: `peer in ${stateDirectory}, run ${config.name} (${runId.slice(0, 12)}), closed round ${round}${damage}`,
    runId,
    runName: config.name,
    round,
    learningRate: config.training.learningRate,
  };
  return {
    config: { ...config.model, vocabularySize: tokenizer.vocabularySize },
    body: closedBody.slice(0, bodyLength(config.model)),
    embedding: trainer.state.embedding,
    tokenizer,
    tokenizerJson,
    source,
  };
}

/** The run that the directory is tied to. */
async function readRun(stateDirectory: string): Promise<{ runId: string; config: RunConfig }> {
  const path = join(stateDirectory, "run.json");
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
