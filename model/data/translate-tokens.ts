// Tokenised text in the ids of a tokenizer that was cut down to it: the same tokens under other numbers, so that no text is
// tokenised twice. Owns the rewriting; which tokens a tokenizer keeps is tokenizer/restrict.ts' business.
import { CacheEntry, cacheKey, type TokenDataset } from "./cache-entry.ts";
import { DEFAULT_TEXT_FIELD } from "./read-documents.ts";
import { DEFAULT_VALIDATION_FRACTION, type PrepareTokensOptions, removeOthers } from "./token-cache.ts";
import { readTokens, TokenFileWriter, type TokenSplit } from "./token-file.ts";

/** Ids that a dataset has, ascending, the end of a text among them. */
export async function idsOf({ train, validation }: TokenDataset, signal?: AbortSignal): Promise<Int32Array> {
  const used = new Uint8Array(train.vocabularySize);
  for (const split of [train, validation]) {
    for await (const tokens of readTokens(split, signal)) for (const id of tokens) used[id] = 1;
  }
  return Int32Array.from(Array.from(used.keys()).filter((id) => used[id] === 1));
}

/**
 * What prepareTokens with these options would have made of the text that `dataset` is, byte for byte; `dataset` itself goes.
 * `rows` has the id in `dataset` of each of the tokenizer's own.
 * @throws TokenCacheUnwritableError, TokenCacheCorruptError, the signal's reason
 */
export async function translateTokens(
  dataset: TokenDataset,
  rows: Int32Array,
  options: PrepareTokensOptions,
): Promise<TokenDataset> {
  const { tokenizer, cacheDirectory, signal } = options;
  const facts = {
    dataFingerprint: dataset.dataFingerprint,
    tokenizerFingerprint: tokenizer.fingerprint,
    textDigest: dataset.textDigest,
  };
  const key = cacheKey({
    ...facts,
    textField: options.textField ?? DEFAULT_TEXT_FIELD,
    fraction: options.validationFraction ?? DEFAULT_VALIDATION_FRACTION,
    minimum: options.minimumValidationTokens ?? 1,
  });
  const cache = new CacheEntry(cacheDirectory, key);
  const ownIds = new Int32Array(dataset.train.vocabularySize);
  rows.forEach((id, own) => {
    ownIds[id] = own;
  });
  const rewrite = async (part: "train" | "validation"): Promise<TokenSplit> => {
    const writer = await cache.reporting(TokenFileWriter.create(cache.temporary(part), tokenizer));
    try {
      for await (const tokens of readTokens(dataset[part], signal)) {
        await cache.reporting(writer.append(tokens.map((id) => ownIds[id]!)));
      }
      return await cache.reporting(writer.finish());
    } finally {
      await writer.close();
    }
  };
  try {
    const splits = { train: await rewrite("train"), validation: await rewrite("validation") };
    const translated = await cache.reporting(cache.commit(splits, facts));
    await removeOthers(cacheDirectory, cache);
    return { ...translated, wasCached: false };
  } finally {
    await cache.discardTemporaries();
  }
}
