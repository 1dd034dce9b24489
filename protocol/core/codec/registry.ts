// All codecs by the name that a RunConfig uses. A new codec adds one line here, one file and one section in SPEC.md.
import type { Codec } from "./codec.ts";
import { float32Codec } from "./float32.ts";
import { int4Codec } from "./int4.ts";
import { int8Codec } from "./int8.ts";
import { signCodec } from "./sign.ts";
import { topKCodec } from "./topk.ts";

export const CODEC_NAMES = ["float32", "int8", "int4", "topk", "sign"] as const;

export type CodecName = (typeof CODEC_NAMES)[number];

/** What chooses a codec: the part of a run's configuration that payloads depend on. */
export interface CodecChoice {
  readonly codec: CodecName;
  /** Values that `topk` keeps of each 4,096; the others ignore it. */
  readonly topK: number;
}

/**
 * Blocks of 256 with a free float32 scale: the scales are 1.5% of a payload. On normal to Student-t3 values, 64 has
 * 28-60% less squared error for 4.6% more bytes, 1,024 has 28-135% more for 1.2% fewer, and scales that are powers of
 * two have 1.7-2.2 times the error.
 */
export const INT8_BLOCK_SIZE = 256;
export const INT4_BLOCK_SIZE = 64;
export const SIGN_BLOCK_SIZE = 256;
export const DEFAULT_TOP_K = 64;

export const codecs: { readonly [Name in CodecName]: Codec } = {
  float32: float32Codec,
  int8: int8Codec(INT8_BLOCK_SIZE),
  int4: int4Codec(INT4_BLOCK_SIZE),
  topk: topKCodec(DEFAULT_TOP_K),
  sign: signCodec(SIGN_BLOCK_SIZE),
};

/** The codec of a run: `codecFor(config.averaging)`. */
export const codecFor = ({ codec, topK }: CodecChoice): Codec =>
  codec === "topk" ? topKCodec(topK) : codecs[codec];

/** Codecs that drop so much of an update that a run without error feedback would not converge. */
export const NEEDS_ERROR_FEEDBACK: ReadonlySet<CodecName> = new Set(["topk", "sign"]);
