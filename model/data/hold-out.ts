// Which documents are held out for validation. Owns the rule and the exception for corpora of few documents.
import { hash } from "node:crypto";
import { truncate } from "node:fs/promises";
import { CorpusTooSmallForSequenceError } from "./errors.ts";
import {
  TokenFileReader,
  TokenFileWriter,
  type TokenSource,
  type TokenSplit,
  tokenBytes,
} from "./token-file.ts";

/**
 * Whether a document belongs to validation: by its own SHA-256, so that the answer is the same on every machine, in
 * any order of files, and equal documents fall on the same side.
 */
export function isHeldOut(document: string, fraction: number): boolean {
  return Number.parseInt(hash("sha256", document, "hex").slice(0, 8), 16) < fraction * 2 ** 32;
}

/**
 * Evens the two files out where the rule left one of them with less than `minimumTokens`, which happens to corpora of
 * few documents: the end of the fuller file moves to the other.
 * @throws CorpusTooSmallForSequenceError where there is not enough for both
 */
export async function holdOutEnough(
  train: TokenSplit,
  validation: TokenSplit,
  source: TokenSource,
  { minimumTokens, fraction }: { readonly minimumTokens: number; readonly fraction: number },
): Promise<{ train: TokenSplit; validation: TokenSplit }> {
  const total = train.tokens + validation.tokens;
  if (total < minimumTokens * 2) {
    throw new CorpusTooSmallForSequenceError("training and validation", total, minimumTokens * 2);
  }
  if (validation.tokens < minimumTokens) {
    const missing = minimumTokens - validation.tokens;
    const most = Math.min(missing * 2, Math.floor(total / 2)); // training keeps half of all
    const [from, to] = await moveEnd(train, validation, source, missing, most);
    return { train: from, validation: to };
  }
  if (train.tokens < minimumTokens) {
    const share = Math.min(Math.floor(total * fraction), total - minimumTokens);
    const spare = validation.tokens - Math.max(minimumTokens, share);
    const [from, to] = await moveEnd(validation, train, source, spare, validation.tokens - minimumTokens);
    return { train: to, validation: from };
  }
  return { train, validation };
}

/** Moves the last `least` to `most` tokens, from a document's beginning on if one is among those. Returns [from, to]. */
async function moveEnd(
  from: TokenSplit,
  to: TokenSplit,
  source: TokenSource,
  least: number,
  most: number,
): Promise<[TokenSplit, TokenSplit]> {
  const end = new Int32Array(most);
  readEnd(from, end);
  const optional = end.subarray(0, most - least);
  const boundary = optional.lastIndexOf(source.endOfText);
  const moved = end.subarray(boundary < 0 ? optional.length : boundary + 1);

  const writer = await TokenFileWriter.extend(to, source);
  try {
    await writer.append(moved);
    const tokens = from.tokens - moved.length;
    await truncate(from.path, tokens * tokenBytes(from.type));
    let { bytes, documents } = from;
    for (const id of moved) {
      bytes -= source.byteLengths[id]!;
      if (id === source.endOfText) documents -= 1;
    }
    return [{ ...from, tokens, bytes, documents }, await writer.finish()];
  } finally {
    await writer.close();
  }
}

function readEnd(split: TokenSplit, target: Int32Array): void {
  const reader = new TokenFileReader(split);
  try {
    reader.read(split.tokens - target.length, target);
  } finally {
    reader.close();
  }
}
