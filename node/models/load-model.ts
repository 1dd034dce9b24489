// From what a person calls a model to its parts: a model folder, or the state directory or the name of a peer that runs
// here or has run here. Reads only: takes no lock and leaves a running peer undisturbed.
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { bodyLength, embeddingLength } from "#model/architecture.ts";
import type { Tokenizer } from "#model/tokenizer/tokenizer.ts";
import type { ModelConfig } from "#model/types.ts";
import { stateDirectoriesOf } from "../observability/named-peers.ts";
import { STATE_FILES } from "../storage/state-directory.ts";
import {
  ModelAmbiguousError,
  ModelNotFoundError,
  ModelPartsMismatchError,
  NoGlobalEmbeddingError,
} from "./errors.ts";
import { loadFolderModel } from "./folder-model.ts";
import { loadPeerModel } from "./peer-model.ts";

/** Where a model came from, for reports and for the provenance of what is made of it. */
export interface ModelSource {
  readonly kind: "folder" | "peer";
  readonly path: string;
  /** One line for people. */
  readonly description: string;
  /** Of a peer: its run and the closed round that the body is of. */
  readonly runId?: string;
  readonly runName?: string;
  readonly round?: number;
  /** Peak learning rate it was trained with, where that is known. */
  readonly learningRate?: number;
}

/** A model as plain data; body and embedding are flat, in the layout's order. */
export interface LoadedModel {
  readonly config: ModelConfig;
  readonly body: Float32Array;
  /** [config.vocabularySize, config.width] */
  readonly embedding: Float32Array;
  readonly tokenizer: Tokenizer;
  /** tokenizer.json, as it is kept beside the model. */
  readonly tokenizerJson: string;
  /** Where the vocabulary is part of a global one: global id by own id, ascending. */
  readonly rows?: Int32Array;
  readonly source: ModelSource;
}

export interface LoadModelOptions {
  readonly signal: AbortSignal;
  /** Of a peer in variant glob or trim: the common embedding with the common tokenizer, not the peer's part of it. */
  readonly global?: boolean | undefined;
  /** Says where peers are found; default process.env. */
  readonly environment?: Readonly<Record<string, string | undefined>> | undefined;
}

/** @throws errors of errors.ts and of what the files are read with; the signal's reason */
export async function loadModel(reference: string, options: LoadModelOptions): Promise<LoadedModel> {
  const model = await load(reference, options);
  options.signal.throwIfAborted();
  requireParts(model);
  return model;
}

async function load(reference: string, options: LoadModelOptions): Promise<LoadedModel> {
  options.signal.throwIfAborted();
  if (await isDirectory(reference)) {
    if (await exists(join(reference, "config.json"))) {
      if (options.global) throw new NoGlobalEmbeddingError(reference, "it is a model folder");
      return loadFolderModel(reference, options);
    }
    if (await exists(join(reference, STATE_FILES.run))) return loadPeerModel(reference, options);
    throw new ModelNotFoundError(reference, "the folder holds neither a model nor a peer's state");
  }
  if (await exists(reference)) throw new ModelNotFoundError(reference, "it is a file");
  if (/[\\/]/.test(reference)) throw new ModelNotFoundError(reference, "there is no such folder");
  return loadPeerModel(await stateDirectoryOf(reference, options), options);
}

async function stateDirectoryOf(name: string, { environment }: LoadModelOptions): Promise<string> {
  const [directory, ...others] = await stateDirectoriesOf(name, environment);
  if (directory === undefined) {
    throw new ModelNotFoundError(name, "there is no folder and no peer of that name on this machine");
  }
  if (others.length > 0) throw new ModelAmbiguousError(name, [directory, ...others]);
  return directory;
}

function requireParts({ config, body, embedding, tokenizer, source }: LoadedModel): void {
  const mismatch = (problem: string, remedy: string) =>
    new ModelPartsMismatchError(source.path, problem, remedy);
  const values = bodyLength(config);
  if (body.length !== values) {
    throw mismatch(
      `the body has ${body.length} values and its architecture ${values}`,
      "restore it from a copy",
    );
  }
  if (embedding.length !== embeddingLength(config)) {
    throw mismatch(
      `the embedding has ${embedding.length / config.width} rows for ${config.vocabularySize} tokens`,
      "restore it from a copy",
    );
  }
  if (tokenizer.vocabularySize > config.vocabularySize) {
    throw mismatch(
      `the tokenizer has ${tokenizer.vocabularySize} tokens and the embedding ${config.vocabularySize} rows`,
      "put the tokenizer there that the model was trained with",
    );
  }
}

async function isDirectory(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isDirectory() ?? false;
}

async function exists(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined)) !== undefined;
}
