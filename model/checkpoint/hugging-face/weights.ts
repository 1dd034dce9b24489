// The tensors of an MPT checkpoint, in one file or in several, as the two flat groups that a model is made of. Owns what a
// checkpoint must have and may not have; reading bytes is the caller's.
import {
  bodyLength,
  bodyTensors,
  EMBEDDING_NAME,
  embeddingLength,
  embeddingTensors,
} from "../../architecture.ts";
import type { ModelConfig } from "../../types.ts";
import { ModelFolderUnreadableError, ModelFolderUnsupportedError } from "./errors.ts";
import {
  type ByteSource,
  READABLE_TYPES,
  readSafetensorsHeader,
  readTensor,
  type StoredTensor,
} from "./safetensors-file.ts";

/** transformers' name of the output head. Tied to the embedding, and so usually not stored. */
const HEAD_NAME = "lm_head.weight";

export interface FlatWeights {
  readonly body: Float32Array;
  readonly embedding: Float32Array;
}

interface Located {
  readonly source: ByteSource;
  readonly tensor: StoredTensor;
}

/** Reads all weights of `config` from `sources`; `folder` is for errors. */
export async function readWeights(
  folder: string,
  config: ModelConfig,
  sources: readonly ByteSource[],
  signal?: AbortSignal,
): Promise<FlatWeights> {
  const located = new Map<string, Located>();
  for (const source of sources) {
    for (const [name, tensor] of await readSafetensorsHeader(source)) located.set(name, { source, tensor });
  }
  const specs = [...bodyTensors(config), ...embeddingTensors(config)];
  refuseStrangers(folder, [...located.keys()], new Set(specs.map(({ name }) => name)));
  for (const { name, shape } of specs) checkTensor(folder, name, shape, located.get(name)?.tensor);

  const body = new Float32Array(bodyLength(config));
  const embedding = new Float32Array(embeddingLength(config));
  let offset = 0;
  for (const { name } of specs) {
    const { source, tensor } = located.get(name)!;
    const elements = tensor.shape.reduce((product, size) => product * size, 1);
    const target = name === EMBEDDING_NAME ? embedding : body.subarray(offset, offset + elements);
    await readTensor(source, tensor, target, signal);
    if (!target.every(Number.isFinite)) {
      throw new ModelFolderUnreadableError(source.path, `its tensor ${name} holds NaN or infinity`);
    }
    if (name !== EMBEDDING_NAME) offset += elements;
  }
  const head = located.get(HEAD_NAME);
  if (head !== undefined) await checkTied(folder, config, head, embedding, signal);
  return { body, embedding };
}

function refuseStrangers(folder: string, names: readonly string[], known: ReadonlySet<string>): void {
  for (const name of names) {
    if (known.has(name) || name === HEAD_NAME) continue;
    if (name.endsWith(".bias")) {
      throw new ModelFolderUnsupportedError(
        folder,
        name,
        "is a bias",
        "take a model that was trained with no_bias",
      );
    }
    throw new ModelFolderUnsupportedError(
      folder,
      name,
      "is no tensor of its configuration",
      "check that config.json and the weights belong together and that the model is MPT with ALiBi",
    );
  }
}

function checkTensor(
  folder: string,
  name: string,
  shape: readonly number[],
  tensor: StoredTensor | undefined,
): void {
  const text = (sizes: readonly number[]) => `[${sizes.join(", ")}]`;
  if (tensor === undefined) {
    throw new ModelFolderUnsupportedError(
      folder,
      name,
      "is not among its weights",
      "check that all files of the model are there and that config.json belongs to them",
    );
  }
  if (text(tensor.shape) !== text(shape)) {
    throw new ModelFolderUnsupportedError(
      folder,
      name,
      `has the shape ${text(tensor.shape)} where config.json says ${text(shape)}`,
      "check that config.json and the weights belong together",
    );
  }
  if (!READABLE_TYPES.includes(tensor.dtype)) {
    throw new ModelFolderUnsupportedError(
      folder,
      name,
      `is stored as ${tensor.dtype}`,
      `save the model with its weights as one of ${READABLE_TYPES.join(", ")}`,
    );
  }
}

/** A head that is stored beside the embedding may only be the same numbers. */
async function checkTied(
  folder: string,
  { vocabularySize, width }: ModelConfig,
  { source, tensor }: Located,
  embedding: Float32Array,
  signal: AbortSignal | undefined,
): Promise<void> {
  checkTensor(folder, HEAD_NAME, [vocabularySize, width], tensor);
  const head = new Float32Array(embedding.length);
  await readTensor(source, tensor, head, signal);
  if (head.every((value, at) => value === embedding[at])) return;
  throw new ModelFolderUnsupportedError(
    folder,
    HEAD_NAME,
    "differs from the embedding",
    "take a model whose output head is tied to its embedding",
  );
}
