// This peer's vocabulary: the one it has, or a new one. Its own in variant spec-opt (given, or trained on its text); in the
// others the run's common one, cut down to its text in spec and trim. Once written it never changes: the embeddings are
// tied to its ids.
import { readFile } from "node:fs/promises";
import { TokenizerUnreadableError } from "#model/tokenizer/errors.ts";
import { collectTokens, restrict } from "#model/tokenizer/restrict.ts";
import { Tokenizer } from "#model/tokenizer/tokenizer.ts";
import { trainTokenizer } from "#model/tokenizer/train-tokenizer.ts";
import { DEFAULT_VOCABULARY_SIZE } from "../config.ts";
import { readIfPresent, writeAtomic } from "../storage/atomic-file.ts";
import { StateCorruptError } from "../storage/errors.ts";
import { loadVocabularyRows, saveVocabularyRows } from "../storage/vocabulary-rows.ts";

export interface OwnVocabulary {
  readonly kind: "own";
  /** A tokenizer.json to take; it must be the one already kept, if one is. */
  readonly tokenizerPath: string | undefined;
  /** Of a tokenizer to train; `undefined` takes what is kept, or the default. */
  readonly vocabularySize: number | undefined;
}

export interface CommonVocabulary {
  readonly kind: "common";
  /** The run's tokenizer.json, checked to be that. */
  readonly tokenizerPath: string;
  /** Tokens that the run says are in it. */
  readonly vocabularySize: number;
  /** Take of it what the text uses. */
  readonly restricted: boolean;
}

export interface VocabularyOptions {
  readonly vocabulary: OwnVocabulary | CommonVocabulary;
  /** Where this peer keeps its tokenizer, and which rows of the common one it is. */
  readonly tokenizerFile: string;
  readonly rowsFile: string;
  /** All of the text, from its beginning. */
  readonly documents: () => AsyncIterable<string>;
  /** Ids of the tokens that all of the text has in a common tokenizer. Default: those of `documents`, in a pass of its own. */
  readonly collectIds?: ((common: Tokenizer) => Promise<Int32Array>) | undefined;
  readonly onProgress: (fraction: number) => void;
  readonly signal: AbortSignal;
}

/** The state directory's embeddings belong to other token ids than the ones asked for. */
export class VocabularyChangedError extends Error {
  readonly code = "VOCABULARY_CHANGED";

  constructor(tokenizerFile: string, kept: string, asked: string) {
    super(
      `The embeddings kept beside ${tokenizerFile} belong to ${kept}, not to ${asked}: leave the option out to go on with them, or give another --state-dir.`,
    );
    this.name = "VocabularyChangedError";
  }
}

/** The run's manifest says of its tokenizer what is not so. */
export class CommonVocabularySizeError extends Error {
  readonly code = "COMMON_VOCABULARY_SIZE";

  constructor(said: number, found: number) {
    super(
      `The run says that its tokenizer has ${said} tokens, and it has ${found}: ask whoever made the run to make it anew with glossa init.`,
    );
    this.name = "CommonVocabularySizeError";
  }
}

export interface ObtainedVocabulary {
  readonly tokenizer: Tokenizer;
  /** Common id of each id, where the vocabulary is a part of a common one. */
  readonly rows: Int32Array | undefined;
  /** Just now, on this peer's text. */
  readonly trained: boolean;
}

/**
 * @throws TokenizerError, VocabularyChangedError, CommonVocabularySizeError, CorpusTooSmallForVocabularyError,
 * StateCorruptError and what reading the text throws
 */
export async function obtainVocabulary(options: VocabularyOptions): Promise<ObtainedVocabulary> {
  const { vocabulary } = options;
  return vocabulary.kind === "own" ? obtainOwn(options, vocabulary) : obtainCommon(options, vocabulary);
}

async function obtainOwn(
  options: VocabularyOptions,
  { tokenizerPath, vocabularySize }: OwnVocabulary,
): Promise<ObtainedVocabulary> {
  const { tokenizerFile } = options;
  const given = tokenizerPath === undefined ? undefined : await readTokenizer(tokenizerPath);
  const kept = await readKept(tokenizerFile);
  if (kept !== undefined) {
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
    return { tokenizer: kept, rows: undefined, trained: false };
  }
  const tokenizer = given ?? (await train(options, vocabularySize));
  await keep(tokenizerFile, tokenizer);
  return { tokenizer, rows: undefined, trained: given === undefined };
}

async function obtainCommon(
  options: VocabularyOptions,
  { tokenizerPath, vocabularySize, restricted }: CommonVocabulary,
): Promise<ObtainedVocabulary> {
  const { tokenizerFile, rowsFile } = options;
  const kept = await readKept(tokenizerFile);
  if (kept !== undefined) {
    const rows = await loadVocabularyRows(rowsFile, kept.fingerprint);
    if (restricted && rows?.length !== kept.vocabularySize) {
      throw new StateCorruptError(rowsFile, "it is missing or not of the tokenizer beside it");
    }
    return { tokenizer: kept, rows, trained: false };
  }
  const common = await readTokenizer(tokenizerPath);
  if (common.vocabularySize !== vocabularySize) {
    throw new CommonVocabularySizeError(vocabularySize, common.vocabularySize);
  }
  if (!restricted) {
    await keep(tokenizerFile, common);
    return { tokenizer: common, rows: undefined, trained: false };
  }
  const collectIds = options.collectIds ?? (() => collectTokens(options.documents(), common));
  const { tokenizer, rows } = restrict(common, await collectIds(common));
  // The tokenizer comes last: without it, both are made again.
  await saveVocabularyRows(rowsFile, tokenizer.fingerprint, rows);
  await keep(tokenizerFile, tokenizer);
  return { tokenizer, rows, trained: false };
}

function train(
  { documents, onProgress, signal }: VocabularyOptions,
  vocabularySize = DEFAULT_VOCABULARY_SIZE,
): Promise<Tokenizer> {
  return trainTokenizer(documents(), {
    vocabularySize,
    signal,
    // Counting words and making merges take about as long as each other.
    onProgress: ({ phase, done, total }) =>
      onProgress((phase === "merging" ? 0.5 : 0) + (0.5 * done) / total),
  });
}

async function readKept(tokenizerFile: string): Promise<Tokenizer | undefined> {
  const json = await readIfPresent(tokenizerFile);
  return json && Tokenizer.fromJson(Buffer.from(json).toString("utf8"));
}

async function keep(tokenizerFile: string, tokenizer: Tokenizer): Promise<void> {
  await writeAtomic(tokenizerFile, tokenizer.toJson(), { mode: 0o600 });
}

const readTokenizer = async (path: string): Promise<Tokenizer> =>
  Tokenizer.fromJson(await readTokenizerJson(path));

/** @throws TokenizerUnreadableError */
export async function readTokenizerJson(path: string): Promise<string> {
  return readFile(path, "utf8").catch((cause: NodeJS.ErrnoException) => {
    throw new TokenizerUnreadableError(`${path} cannot be read (${cause.code})`, { cause });
  });
}
