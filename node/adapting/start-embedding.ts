// The embedding that an adaptation starts from: the model's own, a random one, or a random one in which the tokens that
// both vocabularies have keep their rows (vocabulary matching, Xu et al. 2024). Pure.
import { initialEmbedding } from "#model/genesis.ts";
import type { Tokenizer } from "#model/tokenizer/tokenizer.ts";
import type { LoadedModel } from "../models/load-model.ts";

export type EmbeddingStart = "random" | "matching" | "kept";

export interface StartEmbedding {
  /** Flat [vocabularySize, width]. */
  readonly embedding: Float32Array;
  /** Rows that came from the model. */
  readonly keptRows: number;
}

type Source = Pick<LoadedModel, "config" | "embedding" | "tokenizer">;

/** `kept` is for the model's own tokenizer; random rows depend on the seed alone. */
export function startEmbedding(
  start: EmbeddingStart,
  source: Source,
  target: { readonly tokenizer: Tokenizer; readonly vocabularySize: number },
  seed: number,
): StartEmbedding {
  const { width, vocabularySize } = source.config;
  if (start === "kept") return { embedding: source.embedding.slice(), keptRows: vocabularySize };
  const embedding = initialEmbedding({ width, vocabularySize: target.vocabularySize }, `adapt/${seed}`);
  if (start === "random") return { embedding, keptRows: 0 };
  const rows = matchingRows(source.tokenizer, target.tokenizer);
  for (const [to, from] of rows) {
    embedding.set(source.embedding.subarray(from * width, (from + 1) * width), to * width);
  }
  return { embedding, keptRows: rows.size };
}

/** Id in `to` -> id in `from` of the tokens that spell the same bytes, and of the token that ends a text. */
export function matchingRows(from: Tokenizer, to: Tokenizer): Map<number, number> {
  const idOf = new Map<string, number>();
  for (let id = from.vocabularySize - 1; id >= 0; id--) {
    const bytes = spelling(from, id);
    // Where two tokens spell the same, the first one is what text is encoded with.
    if (bytes !== "") idOf.set(bytes, id);
  }
  const rows = new Map([[to.endOfText, from.endOfText]]);
  for (let id = 0; id < to.vocabularySize; id++) {
    const match = idOf.get(spelling(to, id));
    if (match !== undefined) rows.set(id, match);
  }
  return rows;
}

/** A token's bytes as a string; nothing for special tokens, whose names mean nothing across vocabularies. */
function spelling(tokenizer: Tokenizer, id: number): string {
  return Buffer.from(tokenizer.decodeBytes([id])).toString("latin1");
}
