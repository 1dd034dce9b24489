// Where this peer's vocabulary is to come from: its own in variant spec-opt, else the run's common tokenizer, which the user
// gives or others of the run have. The common one is kept byte for byte, checked by its hash, and served from there.
import { readFile } from "node:fs/promises";
import { TokenizerUnreadableError } from "#model/tokenizer/errors.ts";
import type { RunConfig } from "#protocol/core/run-config.ts";
import { sha256Hex } from "#protocol/net/hash.ts";
import type { NodeConfig } from "../config.ts";
import { UsageError } from "../settings.ts";
import { readIfPresent, writeAtomic } from "../storage/atomic-file.ts";
import type { StateDirectory } from "../storage/state-directory.ts";
import type { CommonVocabulary, OwnVocabulary } from "../trainer/vocabulary.ts";
import { restrictsVocabulary } from "../variants.ts";

/** A tokenizer was given to a run that has another one. */
export class ForeignTokenizerError extends Error {
  readonly code = "TOKENIZER_NOT_THE_RUNS";
  readonly expected: string;
  readonly actual: string;

  constructor(path: string, runName: string, expected: string, actual: string) {
    super(
      `${path} is not the tokenizer of the run ${runName} (its SHA-256 is ${actual.slice(0, 12)}…, the run's is ${expected.slice(0, 12)}…): ` +
        "give the file that the run was made with, or leave --tokenizer out to get it from the others.",
    );
    this.name = "ForeignTokenizerError";
    this.expected = expected;
    this.actual = actual;
  }
}

export interface VocabularySourceModules {
  readonly state: StateDirectory;
  /** The run's file with this SHA-256, from whoever has it. */
  readonly fetch: (contentId: string) => Promise<Uint8Array>;
}

/**
 * Puts the common tokenizer, where there is one, into the state directory.
 * @throws UsageError, ForeignTokenizerError, TokenizerUnreadableError and what `fetch` throws
 */
export async function vocabularySource(
  { tokenizer, vocabularySize }: Pick<NodeConfig, "tokenizer" | "vocabularySize">,
  run: Pick<RunConfig, "name" | "variant" | "vocabulary">,
  modules: VocabularySourceModules,
): Promise<OwnVocabulary | CommonVocabulary> {
  const { vocabulary } = run;
  if (vocabulary === undefined) return { kind: "own", tokenizerPath: tokenizer, vocabularySize };
  if (vocabularySize !== undefined) {
    throw new UsageError(
      `The peers of the run ${run.name} share one tokenizer of ${vocabulary.size} tokens (variant ${run.variant}): leave --vocabulary-size out.`,
    );
  }
  const { state, fetch } = modules;
  const path = state.commonTokenizerPath;
  const given = tokenizer === undefined ? undefined : await readGiven(tokenizer);
  if (given !== undefined) {
    const hash = sha256Hex(given);
    if (hash !== vocabulary.tokenizer) {
      throw new ForeignTokenizerError(tokenizer!, run.name, vocabulary.tokenizer, hash);
    }
  }
  const kept = await readIfPresent(path);
  if (kept === undefined || sha256Hex(kept) !== vocabulary.tokenizer) {
    await writeAtomic(path, given ?? (await fetch(vocabulary.tokenizer)));
  }
  return {
    kind: "common",
    tokenizerPath: path,
    vocabularySize: vocabulary.size,
    restricted: restrictsVocabulary(run),
  };
}

async function readGiven(path: string): Promise<Uint8Array> {
  return readFile(path).catch((cause: NodeJS.ErrnoException) => {
    throw new TokenizerUnreadableError(`${path} cannot be read (${cause.code})`, { cause });
  });
}
