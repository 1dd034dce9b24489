// A common tokenizer cut down to what one text uses (the paper's V_k). Owns which tokens stay; what comes out is an ordinary
// tokenizer with dense ids of its own and the map from those to the common ids.
import { fromLetters, LETTER_OF_BYTE } from "./byte-alphabet.ts";
import { BytePairEncoder } from "./byte-pair-encoder.ts";
import { MergeTable } from "./merge-table.ts";
import { Tokenizer } from "./tokenizer.ts";

export interface RestrictedTokenizer {
  readonly tokenizer: Tokenizer;
  /** Common id of each own id, ascending. */
  readonly rows: Int32Array;
}

/**
 * Keeps the tokens `ids`, everything that merges make on the way to them, the 256 bytes and the special tokens, with the
 * merges among these in the order they had.
 *
 * On every text whose tokens are in `ids` it gives the same tokens: the merges applied there are all kept, and BPE takes
 * the first of the merges that apply, so that leaving others out changes nothing. Any other text is encoded too, with
 * more tokens. Unused ids have no row.
 */
export function restrict(tokenizer: Tokenizer, ids: Iterable<number>): RestrictedTokenizer {
  const { definition } = tokenizer;
  const { tokens, specialTokens, merges } = definition;
  const kept = new Uint8Array(tokenizer.vocabularySize);
  const tokenOfLetter = new Map(tokens.map((token, id) => [token, id]));
  const tokenOfByte = Int32Array.from(LETTER_OF_BYTE, (letter) => tokenOfLetter.get(letter)!);
  for (const id of tokenOfByte) kept[id] = 1;
  for (const { id } of specialTokens) kept[id] = 1;
  const encoder = new BytePairEncoder(new TracedMerges(merges, kept), tokenOfByte);
  for (const id of ids) {
    const token = tokens[id];
    if (token === undefined) continue;
    kept[id] = 1;
    encoder.encode(fromLetters(token)!, token.length);
  }

  const rows = marked(kept);
  const ownId = new Int32Array(kept.length);
  rows.forEach((id, own) => {
    ownId[id] = own;
  });
  const ownMerges: number[] = [];
  for (let i = 0; i < merges.length; i += 3) {
    const triple = merges.subarray(i, i + 3);
    if (triple.every((id) => kept[id] === 1)) for (const id of triple) ownMerges.push(ownId[id]!);
  }
  const own = new Tokenizer({
    ...definition,
    tokens: Array.from(rows, (id) => tokens[id]),
    specialTokens: specialTokens.map(({ id, content }) => ({ id: ownId[id]!, content })),
    endOfText: ownId[definition.endOfText]!,
    merges: Int32Array.from(ownMerges),
  });
  return { tokenizer: own, rows };
}

/** The ids of the tokens that `documents` are encoded to, ascending. Memory depends on the vocabulary alone. */
export async function collectTokens(
  documents: AsyncIterable<string> | Iterable<string>,
  tokenizer: Tokenizer,
): Promise<Int32Array> {
  const used = new Uint8Array(tokenizer.vocabularySize);
  for await (const document of documents) for (const id of tokenizer.encode(document)) used[id] = 1;
  return marked(used);
}

/** The ids whose mark is 1, ascending. */
const marked = (marks: Uint8Array): Int32Array =>
  Int32Array.from(Array.from(marks.keys()).filter((id) => marks[id] === 1));

/** Marks every token that is made. */
class TracedMerges extends MergeTable {
  readonly #made: Uint8Array;

  constructor(triples: Int32Array, made: Uint8Array) {
    super(triples);
    this.#made = made;
  }

  override merged(rank: number): number {
    const token = super.merged(rank);
    this.#made[token] = 1;
    return token;
  }
}
