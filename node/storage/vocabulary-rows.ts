// The file that ties a restricted vocabulary to the common one: the common id, that is the row of the shared embedding, of
// each of the peer's own ids. Written once, with the tokenizer beside it; embeddings are in its order.
import { writeAtomic } from "./atomic-file.ts";
import { encodeContainer, readContainer } from "./container.ts";
import { StateCorruptError } from "./errors.ts";

const KIND = { kind: "vocabulary-rows", version: 1 } as const;

/** What the rows belong to. */
interface Meta {
  /** Fingerprint of the restricted tokenizer. */
  readonly tokenizer: string;
}

export async function saveVocabularyRows(path: string, tokenizer: string, rows: Int32Array): Promise<void> {
  const bytes = new Uint8Array(rows.buffer, rows.byteOffset, rows.byteLength);
  const meta: Meta = { tokenizer };
  await writeAtomic(path, encodeContainer(KIND, { meta, sections: new Map([["rows", bytes]]) }), {
    // They say what the text is made of.
    mode: 0o600,
  });
}

/**
 * The rows of the tokenizer with this fingerprint, ascending; `undefined` where there is no file, as for a vocabulary that
 * is all of the common one, or has none.
 * @throws {StateCorruptError} where the file is damaged or belongs to another tokenizer
 */
export async function loadVocabularyRows(path: string, tokenizer: string): Promise<Int32Array | undefined> {
  const container = await readContainer(path, KIND);
  if (container === undefined) return undefined;
  if ((container.meta as Meta).tokenizer !== tokenizer) {
    throw new StateCorruptError(path, "it belongs to another tokenizer");
  }
  const bytes = container.sections.get("rows");
  if (bytes === undefined || bytes.byteLength % 4 !== 0)
    throw new StateCorruptError(path, "it holds no rows");
  return new Int32Array(bytes.slice().buffer);
}
