// What a peer sends of a round, as bytes: the codec's payload of the whole layout, or, in variant trim, of the body and
// the embedding rows that the peer holds. The one place that knows of rows in payloads; the codecs know of none.
//
//   all rows held    payload of the codec over the layout: that of variant glob, byte for byte
//   some rows held   payload of the codec over the sub-layout || rows (rows.ts) || length of the rows in bytes, u32 LE
//
// The sub-layout is the layout with fewer rows in its last tensor. Its payload's header keeps the layout's digest and
// says how many values there are, from which follows how many rows.
import { HeldRowsError, LengthMismatchError, NonFiniteUpdateError } from "../errors.ts";
import { type Codec, type DecodeResult, rejected } from "./codec/codec.ts";
import { claimedValues, HEADER_BYTES } from "./codec/header.ts";
import { codecFor } from "./codec/registry.ts";
import type { ParameterLayout, TensorSlot } from "./layout.ts";
import { decodeRows, encodeRows, maxRowsBytes, requireRows } from "./rows.ts";
import { gatherRows, scatterRows, subLayout } from "./rows-update.ts";
import type { RunConfig } from "./run-config.ts";
import { sharedEmbedding } from "./shared-embedding.ts";

const LENGTH_BYTES = 4;

/** What updates depend on in a run's configuration. */
export type UpdateChoice = Pick<RunConfig, "variant" | "vocabulary" | "model" | "averaging">;

export interface UpdateCodec {
  readonly name: string;
  readonly layout: ParameterLayout;
  /** Where rows may be missing from an update: the layout's last tensor in variant trim, undefined in the others. */
  readonly rowsOf: TensorSlot | undefined;
  /** Upper bound on a payload's length, to refuse an announcement before anything is fetched. */
  readonly maxPayloadBytes: number;
  /**
   * Encodes an update over the whole layout; of the embedding only `heldRows` (ids, ascending), all where it is left out.
   * Throws NonFiniteUpdateError, LengthMismatchError and, where rows are not to be had, HeldRowsError.
   */
  encode(values: Float32Array, heldRows?: Int32Array): Uint8Array;
  /** As Codec.decode: checks untrusted bytes whole, never throws. The update is one over the whole layout. */
  decode(payload: Uint8Array): DecodeResult;
}

/** The codec of a run's updates. Throws LayoutError where the layout is not the variant's. */
export function updateCodec(config: UpdateChoice, layout: ParameterLayout): UpdateCodec {
  const embedding = sharedEmbedding(config, layout);
  const codec = codecFor(config.averaging);
  return config.variant === "trim" ? rowsCodec(codec, layout, embedding!) : wholeCodec(codec, layout);
}

/** Every update has every value: all variants but trim. */
export const wholeCodec = (codec: Codec, layout: ParameterLayout): UpdateCodec => ({
  name: codec.name,
  layout,
  rowsOf: undefined,
  maxPayloadBytes: codec.maxPayloadBytes(layout),
  encode(values, heldRows) {
    if (heldRows !== undefined) throw new HeldRowsError("updates of this variant have all rows");
    return codec.encode(values, layout);
  },
  decode: (payload) => codec.decode(payload, layout),
});

function rowsCodec(codec: Codec, layout: ParameterLayout, embedding: TensorSlot): UpdateCodec {
  const [size, width] = embedding.shape as [number, number];
  return {
    name: codec.name,
    layout,
    rowsOf: embedding,
    // The codec's payloads grow with the rows.
    maxPayloadBytes: codec.maxPayloadBytes(layout) + maxRowsBytes(size) + LENGTH_BYTES,

    encode(values, heldRows) {
      requireLength(values, layout);
      if (heldRows !== undefined) requireRows(heldRows, size);
      if (heldRows === undefined || heldRows.length === size) return codec.encode(values, layout);
      const inner = encodeHeld(values, heldRows, codec, layout, embedding);
      const rows = encodeRows(heldRows, size);
      const payload = new Uint8Array(inner.length + rows.length + LENGTH_BYTES);
      payload.set(inner);
      payload.set(rows, inner.length);
      new DataView(payload.buffer).setUint32(inner.length + rows.length, rows.length, true);
      return payload;
    },

    decode(payload) {
      const held = (claimedValues(payload) - embedding.offset) / width;
      // All rows, or a number that no update has: then the codec says what is wrong.
      if (!Number.isInteger(held) || held < 1 || held >= size) return codec.decode(payload, layout);
      const lengthAt = payload.length - LENGTH_BYTES;
      const rowsBytes = new DataView(payload.buffer, payload.byteOffset + lengthAt).getUint32(0, true);
      const rowsAt = lengthAt - rowsBytes;
      if (rowsAt < HEADER_BYTES) return rejected("undecodable-payload", `rows of ${rowsBytes} bytes`);
      const rows = decodeRows(payload.subarray(rowsAt, lengthAt), held, size);
      if (typeof rows === "string") return rejected("undecodable-payload", rows);
      const inner = codec.decode(payload.subarray(0, rowsAt), subLayout(layout, embedding, held));
      if (!inner.ok) return inner;
      return { ok: true, update: scatterRows(inner.update, embedding, rows, layout.total) };
    },
  };
}

function encodeHeld(
  values: Float32Array,
  rows: Int32Array,
  codec: Codec,
  layout: ParameterLayout,
  embedding: TensorSlot,
): Uint8Array {
  try {
    return codec.encode(gatherRows(values, embedding, rows), subLayout(layout, embedding, rows.length));
  } catch (error) {
    if (!(error instanceof NonFiniteUpdateError) || error.tensor !== embedding.name) throw error;
    const width = embedding.shape[1]!;
    const row = rows[Math.floor(error.index / width)]!;
    throw new NonFiniteUpdateError(embedding.name, row * width + (error.index % width));
  }
}

function requireLength(values: Float32Array, { total }: ParameterLayout): void {
  if (values.length !== total) throw new LengthMismatchError("The update", total, values.length);
}
