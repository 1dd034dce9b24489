// This peer's tokenizer: the one it has, the one it was given, or one trained on its text. Once written it never changes:
// the embeddings are tied to its ids.
import { readFile } from "node:fs/promises";
import { TokenizerUnreadableError } from "#model/tokenizer/errors.ts";
import { Tokenizer } from "#model/tokenizer/tokenizer.ts";
import { trainTokenizer } from "#model/tokenizer/train-tokenizer.ts";
import { DEFAULT_VOCABULARY_SIZE } from "../config.ts";
import { readIfPresent, writeAtomic } from "../storage/atomic-file.ts";

export interface VocabularyOptions {
  /** Where this peer keeps its tokenizer. */
  readonly tokenizerFile: string;
  /** A tokenizer.json to take; it must be the one already kept, if one is. */
  readonly tokenizerPath: string | undefined;
  /** Of a tokenizer to train; `undefined` takes what is kept, or the default. */
  readonly vocabularySize: number | undefined;
  readonly documents: () => AsyncIterable<string>;
  readonly onProgress: (fraction: number) => void;
  readonly signal: AbortSignal;
}

/** The state directory's embeddings belong to other token ids than the ones asked for. */
export class VocabularyChangedError extends Error {
  readonly code = "vocabulary-changed";

  constructor(tokenizerFile: string, kept: string, asked: string) {
    super(
      `The embeddings kept beside ${tokenizerFile} belong to ${kept}, not to ${asked}: leave the option out to go on with them, or give another --state-dir.`,
    );
    this.name = "VocabularyChangedError";
  }
}

export interface ObtainedTokenizer {
  readonly tokenizer: Tokenizer;
  /** Just now, on this peer's text. */
  readonly trained: boolean;
}

/** @throws TokenizerError, VocabularyChangedError, CorpusTooSmallForVocabularyError and what reading the text throws */
export async function obtainTokenizer(options: VocabularyOptions): Promise<ObtainedTokenizer> {
  const { tokenizerFile, tokenizerPath, vocabularySize } = options;
  const given = tokenizerPath === undefined ? undefined : await readTokenizer(tokenizerPath);
  const keptJson = await readIfPresent(tokenizerFile);
  if (keptJson !== undefined) {
    const kept = Tokenizer.fromJson(Buffer.from(keptJson).toString("utf8"));
    if (given !== undefined && given.fingerprint !== kept.fingerprint) {
      throw new VocabularyChangedError(tokenizerFile, "another tokenizer", tokenizerPath!);
    }
    if (vocabularySize !== undefined && kept.vocabularySize !== vocabularySize) {
      throw new VocabularyChangedError(
        tokenizerFile,
        `a vocabulary of ${kept.vocabularySize} tokens`,
        `one of ${vocabularySize}`,
      );
    }
    return { tokenizer: kept, trained: false };
  }
  const tokenizer = given ?? (await train(options));
  await writeAtomic(tokenizerFile, tokenizer.toJson(), { mode: 0o600 });
  return { tokenizer, trained: given === undefined };
}

function train({ documents, vocabularySize, onProgress, signal }: VocabularyOptions): Promise<Tokenizer> {
  return trainTokenizer(documents(), {
    vocabularySize: vocabularySize ?? DEFAULT_VOCABULARY_SIZE,
    signal,
    // Counting words and making merges take about as long as each other.
    onProgress: ({ phase, done, total }) =>
      onProgress((phase === "merging" ? 0.5 : 0) + (0.5 * done) / total),
  });
}

async function readTokenizer(path: string): Promise<Tokenizer> {
  let json: string;
  try {
    json = await readFile(path, "utf8");
  } catch (cause) {
    throw new TokenizerUnreadableError(`${path} cannot be read (${(cause as NodeJS.ErrnoException).code})`);
  }
  return Tokenizer.fromJson(json);
}
