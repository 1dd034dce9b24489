// The model of a Hugging Face folder, with its own tokenizer.
import { readModelFolder } from "#model/checkpoint/model-folder.ts";
import { Tokenizer } from "#model/tokenizer/tokenizer.ts";
import type { LoadedModel, LoadModelOptions } from "./load-model.ts";

/** @throws ModelFolderError, TokenizerError, the signal's reason */
export async function loadFolderModel(path: string, { signal }: LoadModelOptions): Promise<LoadedModel> {
  const {
    config,
    body,
    embedding,
    tokenizer: tokenizerJson,
    provenance,
  } = await readModelFolder(path, signal);
  const learningRate = provenance?.learningRate;
  return {
    config,
    body,
    embedding,
    tokenizer: Tokenizer.fromJson(tokenizerJson),
    tokenizerJson,
    source: {
      kind: "folder",
      path,
      description: `model folder ${path}`,
      ...(typeof learningRate === "number" && learningRate > 0 && { learningRate }),
    },
  };
}
