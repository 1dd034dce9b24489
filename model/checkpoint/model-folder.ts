// A model as the folder that the field exchanges models in: Hugging Face's MPT with safetensors and tokenizer.json, and
// glossa.json beside it for where it comes from. Owns the files and the order in which they are written; what is in each
// one is hugging-face/'s.
import { randomBytes } from "node:crypto";
import { type FileHandle, mkdir, open, readdir, readFile, rename, rm } from "node:fs/promises";
import { join, resolve } from "node:path";
import {
  bodyLength,
  bodyTensors,
  embeddingLength,
  embeddingTensors,
  validateModelConfig,
} from "../architecture.ts";
import { ModelConfigError, TensorSizeError } from "../errors.ts";
import type { TokenizerDefinition } from "../tokenizer/definition.ts";
import { parseTokenizerJson, writeTokenizerJson } from "../tokenizer/tokenizer-json.ts";
import type { ModelConfig } from "../types.ts";
import { mptConfigJson, parseMptConfig, parseObject } from "./hugging-face/config.ts";
import {
  ModelFolderIsFileError,
  ModelFolderMissingError,
  ModelFolderNotEmptyError,
  ModelFolderUnreadableError,
  ModelFolderUnsupportedError,
} from "./hugging-face/errors.ts";
import { type ByteSource, safetensorsPrefix } from "./hugging-face/safetensors-file.ts";
import { endOfTextOf, generationConfigJson, tokenizerConfigJson } from "./hugging-face/tokenizer-files.ts";
import { readWeights } from "./hugging-face/weights.ts";
import type { JsonValue } from "./training-checkpoint.ts";

export interface ModelFolder {
  readonly config: ModelConfig;
  /** Flat, in `bodyTensors(config)` order. */
  readonly body: Float32Array;
  /** Flat [vocabularySize, width]. */
  readonly embedding: Float32Array;
  /** The text of tokenizer.json. Its vocabulary may be smaller than the embedding, whose last rows are then padding. */
  readonly tokenizer: string;
  /** Where the model comes from, as whoever wrote it put it. */
  readonly provenance?: Readonly<Record<string, JsonValue>>;
}

const CONFIG_FILE = "config.json";
const WEIGHTS_FILE = "model.safetensors";
const INDEX_FILE = "model.safetensors.index.json";
const TOKENIZER_FILE = "tokenizer.json";
const PROVENANCE_FILE = "glossa.json";
/** Where transformers.js looks for a model of full precision, and whose data files begin with its name. */
export const ONNX_FOLDER = "onnx";
export const ONNX_FILE = "model.onnx";
/** One write moves at most 2 GiB. */
const WRITE_BYTES = 2 ** 30;

/**
 * Reads and checks a model that glossa can train: weights in one file or in several, float32, float16 or bfloat16.
 * @throws ModelFolderError that names the file or field and the remedy; TokenizerError for its tokenizer.json
 */
export async function readModelFolder(path: string, signal?: AbortSignal): Promise<ModelFolder> {
  const folder = resolve(path);
  const configPath = join(folder, CONFIG_FILE);
  const configText = await readText(configPath);
  if (configText === undefined) {
    throw new ModelFolderMissingError(
      path,
      `there is no ${CONFIG_FILE}`,
      "give the folder of a Hugging Face model",
    );
  }
  const config = parseMptConfig(configText, configPath);
  validateModelConfig(config);
  const tokenizer = await readText(join(folder, TOKENIZER_FILE));
  if (tokenizer === undefined) {
    throw new ModelFolderMissingError(
      path,
      `there is no ${TOKENIZER_FILE}`,
      "save the model's fast tokenizer (save_pretrained) beside it",
    );
  }
  const vocabulary = parseTokenizerJson(tokenizer).tokens.length;
  if (vocabulary > config.vocabularySize) {
    throw new ModelFolderUnsupportedError(
      configPath,
      "vocab_size",
      `is ${config.vocabularySize} where ${TOKENIZER_FILE} needs ${vocabulary} tokens`,
      "check that they belong together",
    );
  }
  const weights = await withWeightFiles(folder, (sources) => readWeights(folder, config, sources, signal));
  const provenancePath = join(folder, PROVENANCE_FILE);
  const provenance = await readText(provenancePath);
  return {
    config,
    ...weights,
    tokenizer,
    ...(provenance !== undefined && {
      provenance: parseObject(provenance, provenancePath) as Record<string, JsonValue>,
    }),
  };
}

export interface WriteModelFolderOptions {
  /** Replace the model in a folder that is not empty. Files of other names stay. Default false. */
  readonly force?: boolean;
  readonly signal?: AbortSignal;
}

/**
 * Writes a model so that transformers (Python and JavaScript) and readModelFolder can load it. Every file is whole or
 * absent; config.json comes last and vouches for the others.
 * @throws ModelFolderNotEmptyError where something is there already and `force` is not given
 */
export async function writeModelFolder(
  path: string,
  model: ModelFolder,
  { force = false, signal }: WriteModelFolderOptions = {},
): Promise<void> {
  const { config, body, embedding } = model;
  validateModelConfig(config);
  if (body.length !== bodyLength(config)) throw new TensorSizeError("body", bodyLength(config), body.length);
  if (embedding.length !== embeddingLength(config)) {
    throw new TensorSizeError("embedding", embeddingLength(config), embedding.length);
  }
  const description = describeModel(model);
  const folder = resolve(path);
  await claimModelFolder(path, force);
  const specs = [...embeddingTensors(config), ...bodyTensors(config)];
  const weights = [safetensorsPrefix(specs), bytesOf(embedding), bytesOf(body)];
  await replaceFile(join(folder, WEIGHTS_FILE), weights, signal);
  for (const [name, text] of description) {
    await replaceFile(join(folder, name), [Buffer.from(text)], signal);
  }
}

/**
 * Makes the folder unless it is there, and says what is in it and the outermost folder that had to be made.
 * @throws ModelFolderIsFileError
 */
export async function makeOutputFolder(
  path: string,
): Promise<{ present: string[]; made: string | undefined }> {
  const made = await mkdir(path, { recursive: true }).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code !== "EEXIST" && cause.code !== "ENOTDIR") throw cause;
    throw new ModelFolderIsFileError(path, { cause });
  });
  return { present: await readdir(path), made };
}

/**
 * Makes the folder, or takes the model out of it that is there, in either format: an old config, old weights or an old
 * origin must not pass for a part of the new model.
 * @throws ModelFolderNotEmptyError where something is there already and `force` is not given
 */
export async function claimModelFolder(path: string, force: boolean): Promise<void> {
  const { present } = await makeOutputFolder(path);
  if (present.length > 0 && !force) throw new ModelFolderNotEmptyError(path);
  const onnx = present.includes(ONNX_FOLDER) ? await readdir(join(path, ONNX_FOLDER)) : [];
  const old = [
    ...[CONFIG_FILE, INDEX_FILE, WEIGHTS_FILE, PROVENANCE_FILE],
    ...onnx.filter((name) => name.startsWith(ONNX_FILE)).map((name) => join(ONNX_FOLDER, name)),
  ];
  for (const name of old) await rm(join(path, name), { force: true });
}

/**
 * Everything of a model folder but the weights: texts by file name, in the order in which they are to be written. `more`
 * is added to config.json.
 * @throws ModelConfigError where the tokenizer has more tokens than the embedding has rows
 */
export function describeModel(
  { config, tokenizer, provenance }: Omit<ModelFolder, "body" | "embedding">,
  more: Readonly<Record<string, JsonValue>> = {},
): Map<string, string> {
  const definition = parseTokenizerJson(tokenizer);
  if (definition.tokens.length > config.vocabularySize) {
    throw new ModelConfigError(
      "vocabularySize",
      `an embedding of ${config.vocabularySize} rows is too small for a tokenizer of ${definition.tokens.length} tokens`,
      "give the tokenizer that the model was trained with",
    );
  }
  const json = (value: Readonly<Record<string, JsonValue>>) => `${JSON.stringify(value, null, 2)}\n`;
  const endOfText = endOfTextOf(definition);
  return new Map([
    [TOKENIZER_FILE, withEndOfText(tokenizer, definition)],
    ["tokenizer_config.json", json(tokenizerConfigJson(endOfText, config.sequenceLength))],
    ["generation_config.json", json(generationConfigJson(endOfText))],
    ...(provenance === undefined ? [] : [[PROVENANCE_FILE, json(provenance)] as const]),
    [CONFIG_FILE, json({ ...mptConfigJson(config, endOfText), ...more })],
  ]);
}

/** The text as it is, so that its hash stays; but a token that was added for the end of a text is written too. */
function withEndOfText(text: string, definition: TokenizerDefinition): string {
  const { content } = endOfTextOf(definition);
  return text.includes(JSON.stringify(content)) ? text : writeTokenizerJson(definition);
}

async function withWeightFiles<T>(
  folder: string,
  use: (sources: readonly ByteSource[]) => Promise<T>,
): Promise<T> {
  const handles: FileHandle[] = [];
  try {
    const sources: ByteSource[] = [];
    for (const name of await weightFiles(folder)) {
      const path = join(folder, name);
      const handle = await openIfPresent(path);
      if (handle === undefined) {
        throw new ModelFolderMissingError(folder, `${name} is not there`, "copy all files of the model");
      }
      handles.push(handle);
      sources.push({ path, size: (await handle.stat()).size, read: (...place) => readAt(handle, ...place) });
    }
    return await use(sources);
  } finally {
    for (const handle of handles) await handle.close();
  }
}

/** model.safetensors, or the files that the index of a model in parts names. */
async function weightFiles(folder: string): Promise<string[]> {
  const present = await readdir(folder);
  if (present.includes(WEIGHTS_FILE)) return [WEIGHTS_FILE];
  const indexPath = join(folder, INDEX_FILE);
  const index = await readText(indexPath);
  if (index === undefined) {
    const [cause, remedy] = present.includes(ONNX_FOLDER)
      ? ["it holds a model as ONNX, for clients only", "give the folder that it was exported from"]
      : [
          present.some((name) => /^pytorch_model.*\.bin$/.test(name))
            ? "its weights are in PyTorch's own format"
            : `there is no ${WEIGHTS_FILE}`,
          "save it with save_pretrained(folder, safe_serialization=True)",
        ];
    throw new ModelFolderMissingError(folder, cause!, remedy!);
  }
  const map = parseObject(index, indexPath).weight_map;
  const names = typeof map === "object" && map !== null ? [...new Set(Object.values(map))] : [];
  // The names come with the model: they may not lead out of its folder.
  if (names.length === 0 || !names.every((name) => typeof name === "string" && /^[\w.-]+$/.test(name))) {
    throw new ModelFolderUnreadableError(indexPath, "its weight_map does not name files of this folder");
  }
  return names as string[];
}

async function readText(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
}

async function openIfPresent(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path);
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
}

function isAbsent(error: unknown): boolean {
  return ["ENOENT", "ENOTDIR"].includes((error as NodeJS.ErrnoException).code ?? "");
}

async function readAt(
  handle: FileHandle,
  position: number,
  length: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await handle.read(bytes, filled, length - filled, position + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return bytes.subarray(0, filled);
}

/** Written aside, flushed and renamed into place. */
async function replaceFile(
  path: string,
  chunks: Iterable<Uint8Array>,
  signal: AbortSignal | undefined,
): Promise<void> {
  const partial = `${path}.${randomBytes(6).toString("hex")}.partial`;
  try {
    const handle = await open(partial, "wx");
    try {
      for (const chunk of chunks) {
        for (let at = 0; at < chunk.length; ) {
          signal?.throwIfAborted();
          at += (await handle.write(chunk, at, Math.min(WRITE_BYTES, chunk.length - at))).bytesWritten;
        }
      }
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(partial, path);
  } catch (error) {
    await rm(partial, { force: true });
    throw error;
  }
}

function bytesOf({ buffer, byteOffset, byteLength }: Float32Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}
