// The 24 bytes that every payload begins with: enough to refuse a payload of another format, codec or model at once.
//
//   0  4  magic "GLSU"            8  8  first 8 bytes of the layout's digest
//   4  1  version = 1            16  4  tensor count, u32 little-endian
//   5  1  codec id               20  4  value count, u32 little-endian
//   6  2  codec parameter, u16 little-endian (the block size; 0 where the codec has none)
import type { ParameterLayout } from "../layout.ts";
import type { Codec } from "./codec.ts";

export const HEADER_BYTES = 24;
const MAGIC = 0x474c5355;
const VERSION = 1;
const DIGEST_PREFIX_BYTES = 8;

export function writeHeader(
  payload: Uint8Array,
  codec: Pick<Codec, "id">,
  parameter: number,
  layout: ParameterLayout,
): void {
  const view = viewOf(payload);
  view.setUint32(0, MAGIC);
  view.setUint8(4, VERSION);
  view.setUint8(5, codec.id);
  view.setUint16(6, parameter, true);
  payload.set(layout.digest.subarray(0, DIGEST_PREFIX_BYTES), 8);
  view.setUint32(16, layout.tensors.length, true);
  view.setUint32(20, layout.total, true);
}

/** What is wrong with the header, or undefined. `payload` may be shorter than a header. */
export function headerProblem(
  payload: Uint8Array,
  codec: Pick<Codec, "id" | "name">,
  parameter: number,
  layout: ParameterLayout,
): string | undefined {
  if (payload.length < HEADER_BYTES) return `payload of ${payload.length} bytes is shorter than its header`;
  const view = viewOf(payload);
  if (view.getUint32(0) !== MAGIC) return "payload does not begin with GLSU";
  if (view.getUint8(4) !== VERSION) return `payload version ${view.getUint8(4)} is not ${VERSION}`;
  if (view.getUint8(5) !== codec.id) return `codec id ${view.getUint8(5)} is not ${codec.id} (${codec.name})`;
  const block = view.getUint16(6, true);
  if (block !== parameter) return `codec parameter ${block} is not ${parameter}`;
  for (let at = 0; at < DIGEST_PREFIX_BYTES; at++) {
    if (payload[8 + at] !== layout.digest[at]) return "layout digest is that of another model";
  }
  const tensors = view.getUint32(16, true);
  if (tensors !== layout.tensors.length) return `${tensors} tensors instead of ${layout.tensors.length}`;
  const values = view.getUint32(20, true);
  if (values !== layout.total) return `${values} values instead of ${layout.total}`;
  return undefined;
}

/** How many values the header says that the payload has; NaN where it has no header. Unchecked. */
export const claimedValues = (payload: Uint8Array): number =>
  payload.length < HEADER_BYTES ? Number.NaN : viewOf(payload).getUint32(20, true);

const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
