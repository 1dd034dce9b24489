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
 * Moves the end of the training file to validation where the rule left that short of `minimumTokens`, which happens to
 * corpora of few documents; at a document's boundary if there is one not far.
 * @throws CorpusTooSmallForSequenceError where half of all tokens would not be enough
 */
export async function holdOutEnough(
  train: TokenSplit,
  validation: TokenSplit,
  source: TokenSource,
  minimumTokens: number,
): Promise<{ train: TokenSplit; validation: TokenSplit }> {
  if (validation.tokens >= minimumTokens) return { train, validation };
  const total = train.tokens + validation.tokens;
  if (total < minimumTokens * 2) {
    throw new CorpusTooSmallForSequenceError("training and validation", total, minimumTokens * 2);
  }
  const missing = minimumTokens - validation.tokens;
  // Looked at for a boundary: twice what is missing, but training keeps half of all tokens.
  const tail = new Int32Array(Math.min(missing * 2, Math.floor(total / 2)));
  readTail(train, tail);
  const spare = tail.subarray(0, tail.length - missing);
  const boundary = spare.lastIndexOf(source.endOfText);
  const moved = tail.subarray(boundary >= 0 ? boundary + 1 : spare.length);

  const writer = await TokenFileWriter.extend(validation, source);
  try {
    await writer.append(moved);
    const tokens = train.tokens - moved.length;
    await truncate(train.path, tokens * tokenBytes(train.type));
    let bytes = train.bytes;
    let documents = train.documents;
    for (const id of moved) {
      bytes -= source.byteLengths[id]!;
      if (id === source.endOfText) documents -= 1;
    }
    return { train: { ...train, tokens, bytes, documents }, validation: await writer.finish() };
  } finally {
    await writer.close();
  }
}

function readTail(split: TokenSplit, target: Int32Array): void {
  const reader = new TokenFileReader(split);
  try {
    reader.read(split.tokens - target.length, target);
  } finally {
    reader.close();
  }
}
