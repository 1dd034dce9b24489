// A TrainingState and what its owner wants to keep beside it, as one checkpoint. Bytes only, no file system.
import type { TrainingState } from "../types.ts";
import { CheckpointError } from "./errors.ts";
import { type CheckpointTensor, decodeCheckpoint, encodeCheckpoint } from "./safetensors.ts";

/** Names the kind of checkpoint and its version. A reader refuses any other. */
const FORMAT = "glossa/training-state/1";

/** The state's arrays are stored under their own names; this order is the order in the file. */
const ARRAY_FIELDS = [
  "body",
  "bodyMoment1",
  "bodyMoment2",
  "embedding",
  "embeddingMoment1",
  "embeddingMoment2",
] as const satisfies readonly (keyof TrainingState)[];
const COUNT_FIELDS = [
  "momentSteps",
  "embeddingMomentSteps",
] as const satisfies readonly (keyof TrainingState)[];

/** Anything that JSON.stringify writes and JSON.parse gives back equal. */
export type JsonValue =
  | null
  | boolean
  | number
  | string
  | readonly JsonValue[]
  | { readonly [key: string]: JsonValue };

export interface TrainingCheckpoint {
  readonly state: TrainingState;
  /** The owner's: position in the data, round, best loss… */
  readonly extra: JsonValue;
  /** The owner's arrays by name. */
  readonly arrays?: ReadonlyMap<string, Float32Array>;
}

/** Only where training has been in float16. */
const LOSS_SCALE = "lossScale";

/** Keeps the owner's arrays apart from the state's. */
const OWN_PREFIX = "extra.";

export function encodeTrainingCheckpoint({
  state,
  extra,
  arrays = new Map(),
}: TrainingCheckpoint): Uint8Array {
  const tensors = new Map<string, CheckpointTensor>(
    ARRAY_FIELDS.map((field) => [field, { shape: [state[field].length], data: state[field] }]),
  );
  for (const [name, data] of arrays) tensors.set(OWN_PREFIX + name, { shape: [data.length], data });
  const metadata = new Map<string, string>([
    ["format", FORMAT],
    ...COUNT_FIELDS.map((field) => [field, String(state[field])] as const),
    ...(state.lossScale ? [[LOSS_SCALE, JSON.stringify(state.lossScale)] as const] : []),
    ["extra", JSON.stringify(extra)],
  ]);
  return encodeCheckpoint(tensors, metadata);
}

/**
 * Throws a CheckpointError where the bytes are damaged or hold something else. Whether the arrays fit a model is for
 * `TrainingModel.writeState` to say. The arrays may be views of `bytes`: leave `bytes` alone afterwards.
 */
export function decodeTrainingCheckpoint(bytes: Uint8Array): Required<TrainingCheckpoint> {
  const { tensors, metadata } = decodeCheckpoint(bytes);
  if (metadata.get("format") !== FORMAT) {
    throw new CheckpointError("content", `its format is "${metadata.get("format") ?? ""}", not "${FORMAT}"`);
  }
  const count = (field: (typeof COUNT_FIELDS)[number]): number => {
    const text = metadata.get(field) ?? "";
    if (!/^\d{1,15}$/.test(text)) throw new CheckpointError("content", `its "${field}" is "${text}"`);
    return Number(text);
  };
  const read = (field: (typeof ARRAY_FIELDS)[number]): Float32Array => {
    const data = tensors.get(field)?.data;
    if (!(data instanceof Float32Array)) throw new CheckpointError("content", `it has no float32 "${field}"`);
    return data;
  };
  return {
    state: {
      body: read("body"),
      bodyMoment1: read("bodyMoment1"),
      bodyMoment2: read("bodyMoment2"),
      embedding: read("embedding"),
      embeddingMoment1: read("embeddingMoment1"),
      embeddingMoment2: read("embeddingMoment2"),
      momentSteps: count("momentSteps"),
      embeddingMomentSteps: count("embeddingMomentSteps"),
      ...parseLossScale(metadata.get(LOSS_SCALE)),
    },
    extra: parseExtra(metadata.get("extra")),
    arrays: new Map(
      [...tensors].flatMap(([name, { data }]) =>
        name.startsWith(OWN_PREFIX) && data instanceof Float32Array
          ? [[name.slice(OWN_PREFIX.length), data] as const]
          : [],
      ),
    ),
  };
}

function parseLossScale(text: string | undefined): Pick<TrainingState, "lossScale"> {
  if (text === undefined) return {};
  const [, scale, goodSteps] = /^\{"scale":(\d{1,8}),"goodSteps":(\d{1,4})\}$/.exec(text) ?? [];
  if (!(Number(scale) >= 1)) throw new CheckpointError("content", `its "${LOSS_SCALE}" is "${text}"`);
  return { lossScale: { scale: Number(scale), goodSteps: Number(goodSteps) } };
}

function parseExtra(text: string | undefined): JsonValue {
  try {
    return JSON.parse(text ?? "") as JsonValue;
  } catch {
    throw new CheckpointError("content", "what its owner kept beside the state is not JSON");
  }
}
