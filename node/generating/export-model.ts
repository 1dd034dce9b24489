// A loaded model as a folder for others: Hugging Face's own (safetensors) or the one that transformers.js loads (ONNX).
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import {
  claimModelFolder,
  describeModel,
  type ModelFolder,
  ONNX_FILE,
  ONNX_FOLDER,
  writeModelFolder,
} from "#model/checkpoint/model-folder.ts";
import { exportOnnx } from "#model/inference/onnx-export.ts";
import type { LoadedModel } from "../models/load-model.ts";
import { writeAtomic } from "../storage/atomic-file.ts";

export const EXPORT_FORMATS = ["hf", "onnx"] as const;
export type ExportFormat = (typeof EXPORT_FORMATS)[number];

export interface ExportOptions {
  readonly format: ExportFormat;
  /** Replace the model in a folder that is not empty. */
  readonly force: boolean;
  /** Bound on the weights in one ONNX file, for tests; see model/inference/onnx-export.ts. */
  readonly largestFileBytes?: number;
}

/** @throws ModelFolderNotEmptyError, errors of the file system, the signal's reason */
export async function exportModel(
  model: LoadedModel,
  path: string,
  { format, force, largestFileBytes }: ExportOptions,
  signal: AbortSignal,
): Promise<void> {
  const folder: ModelFolder = {
    config: model.config,
    body: model.body,
    embedding: model.embedding,
    tokenizer: model.tokenizerJson,
    provenance: provenanceOf(model),
  };
  if (format === "hf") return writeModelFolder(path, folder, { force, signal });
  const { model: onnx, data } = exportOnnx({ ...folder, fileName: ONNX_FILE, largestFileBytes });
  const description = describeModel(folder, {
    "transformers.js_config": {
      dtype: "fp32",
      ...(data.size > 0 && { use_external_data_format: { [ONNX_FILE]: data.size } }),
    },
  });
  await claimModelFolder(path, force);
  const onnxFolder = join(path, ONNX_FOLDER);
  await mkdir(onnxFolder, { recursive: true });
  for (const [name, chunks] of [...data, [ONNX_FILE, [onnx]] as const]) {
    signal.throwIfAborted();
    await writeAtomic(join(onnxFolder, name), chunks);
  }
  for (const [name, text] of description) await writeAtomic(join(path, name), text);
}

/** What whoever gets the model may want to know. No path: it would tell of the machine that exported it. */
function provenanceOf({ source }: LoadedModel): NonNullable<ModelFolder["provenance"]> {
  const { runId, runName, round, learningRate } = source;
  return {
    madeWith: "glossa",
    ...(runId !== undefined && { runId }),
    ...(runName !== undefined && { runName }),
    ...(round !== undefined && { round }),
    ...(learningRate !== undefined && { learningRate }),
  };
}
