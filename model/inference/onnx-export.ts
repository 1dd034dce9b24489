// A model as ONNX with its weights: in one file, or, where that would pass protobuf's 2 GiB, in files beside it. Owns which
// weight goes where; bytes out, no file system.
import { bodyTensors, embeddingTensors } from "../architecture.ts";
import { elementCount } from "../graph/ops.ts";
import type { ModelConfig } from "../types.ts";
import { buildDecoder } from "./decoder-graph.ts";

export interface OnnxExport {
  /** The .onnx file. */
  readonly model: Uint8Array;
  /** Files of weights that belong beside it, by name; empty where it holds them itself. */
  readonly data: ReadonlyMap<string, readonly Uint8Array[]>;
}

export interface OnnxExportOptions {
  readonly config: ModelConfig;
  readonly body: Float32Array;
  readonly embedding: Float32Array;
  /** Name of the .onnx file, after which those beside it are named. */
  readonly fileName: string;
  /** Bound on the weights in one file. The default leaves the rest of protobuf's 2 GiB to the graph. */
  readonly largestFileBytes?: number | undefined;
}

/** A message of protobuf has less than 2 GiB; the graph of 100 blocks takes less than 1 MiB of them. */
const LARGEST_FILE_BYTES = 2 ** 31 - 2 ** 24;

interface Weight {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** All logits come out, and the weights are constants, as clients expect it. */
export function exportOnnx(options: OnnxExportOptions): OnnxExport {
  const { config, body, embedding, fileName, largestFileBytes = LARGEST_FILE_BYTES } = options;
  const weights = weightsOf(config, body, embedding);
  const total = weights.reduce((sum, { bytes }) => sum + bytes.length, 0);
  const files = total > largestFileBytes ? spread(weights, fileName, largestFileBytes) : new Map();
  const places = placesIn(files);
  const bytesOf = new Map(weights.map(({ name, bytes }) => [name, bytes]));
  const model = buildDecoder({
    config,
    logits: "all",
    declareWeight(onnx, { name, shape }) {
      const { buffer, byteOffset, byteLength } = bytesOf.get(name)!;
      onnx.initializer(name, shape, places.get(name) ?? new Float32Array(buffer, byteOffset, byteLength / 4));
    },
  });
  return {
    model,
    data: new Map([...files].map(([file, list]) => [file, list.map(({ bytes }: Weight) => bytes)])),
  };
}

function weightsOf(config: ModelConfig, body: Float32Array, embedding: Float32Array): Weight[] {
  const cut = (specs: ReturnType<typeof bodyTensors>, flat: Float32Array) => {
    let offset = 0;
    return specs.map(({ name, shape }) => {
      const { buffer, byteOffset, byteLength } = flat.subarray(offset, offset + elementCount(shape));
      offset += elementCount(shape);
      return { name, bytes: new Uint8Array(buffer, byteOffset, byteLength) };
    });
  };
  return [...cut(embeddingTensors(config), embedding), ...cut(bodyTensors(config), body)];
}

/** As few files as the bound allows, in order; a weight that passes it alone has a file of its own. */
function spread(
  weights: readonly Weight[],
  fileName: string,
  largestFileBytes: number,
): Map<string, Weight[]> {
  const files = new Map<string, Weight[]>();
  let current: Weight[] = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const weight of weights) {
    if (bytes + weight.bytes.length > largestFileBytes) {
      current = [];
      bytes = 0;
      // As transformers.js numbers them.
      files.set(`${fileName}_data${files.size === 0 ? "" : `_${files.size}`}`, current);
    }
    current.push(weight);
    bytes += weight.bytes.length;
  }
  return files;
}

function placesIn(files: ReadonlyMap<string, readonly Weight[]>) {
  const places = new Map<string, { file: string; offset: number; length: number }>();
  for (const [file, weights] of files) {
    let offset = 0;
    for (const { name, bytes } of weights) {
      places.set(name, { file, offset, length: bytes.length });
      offset += bytes.length;
    }
  }
  return places;
}
