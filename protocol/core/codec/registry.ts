// All codecs by the name that a RunConfig uses. A new codec adds one line here, one file and one section in SPEC.md.
import type { Codec } from "./codec.ts";
import { float32Codec } from "./float32.ts";
import { int8Codec } from "./int8.ts";

export const CODEC_NAMES = ["float32", "int8"] as const;

export type CodecName = (typeof CODEC_NAMES)[number];

/** 256: measured in bench/codec.ts; smaller blocks cost bytes faster than they save error. */
export const INT8_BLOCK_SIZE = 256;

export const codecs: { readonly [Name in CodecName]: Codec } = {
  float32: float32Codec,
  int8: int8Codec(INT8_BLOCK_SIZE),
};
