// Byte-pair encoding's training (Sennrich et al. 2016): merge the most frequent pair of neighbours, count again, repeat.
// Counts are kept up to date by visiting only the words that hold the merged pair. Pure: words in, merges out.
import { PairCounts } from "./pair-counts.ts";

export interface MergeOptions {
  /** Letters (byte-alphabet.ts) of the tokens that exist before any merge, by id; undefined where an id is special. */
  readonly initialTokens: readonly (string | undefined)[];
  readonly tokenOfByte: Int32Array;
  readonly vocabularySize: number;
  /** A pair seen less often than this is not worth a token. */
  readonly minimumCount: number;
}

export interface LearnedMerges {
  /** All tokens by id, in letters. Fewer than asked for where the words ran out of pairs. */
  readonly tokens: readonly (string | undefined)[];
  /** Flat triples in the order learned: left, right, merged token. */
  readonly merges: Int32Array;
}

/** Work between two yields: some ten milliseconds, so that a caller can stop, show progress and let others run. */
const MERGES_PER_YIELD = 64;
const WORDS_PER_YIELD = 1 << 14;

/**
 * Learns merges from words and their counts; yields the number of tokens so far now and then. The result is that of
 * Hugging Face's trainer over the same words, merge by merge, whatever the order of the words.
 */
export function* learnMerges(
  wordCounts: ReadonlyMap<string, number>,
  options: MergeOptions,
): Generator<number, LearnedMerges> {
  const words = new Words(wordCounts, options.tokenOfByte);
  const pairs = new PairCounts();
  for (let word = 0; word < words.size; word++) {
    const { start, length, count } = words.at(word);
    for (let i = start; i + 1 < start + length; i++) {
      pairs.add(pairs.index(words.tokens[i]!, words.tokens[i + 1]!), count, word);
    }
    if (word % WORDS_PER_YIELD === 0) yield options.initialTokens.length;
  }
  for (let pair = 0; pair < pairs.size; pair++) pairs.push(pair);

  const tokens = [...options.initialTokens];
  const idOfToken = new Map(tokens.map((token, id) => [token, id]));
  const merges: number[] = [];
  const merged = new Set<number>();
  const risen = new Set<number>();
  while (tokens.length < options.vocabularySize) {
    const pair = pairs.pop();
    if (pair < 0 || pairs.count[pair]! < options.minimumCount) break;
    const left = pairs.left[pair]!;
    const right = pairs.right[pair]!;
    const token = tokens[left]! + tokens[right]!;
    // Two merges can spell the same token ("aa"+"a", "a"+"aa"); it has one id, and the vocabulary does not grow.
    let id = idOfToken.get(token);
    if (id === undefined) {
      id = tokens.push(token) - 1;
      idOfToken.set(token, id);
    }
    if (!merged.has(pair)) {
      merged.add(pair);
      merges.push(left, right, id);
    }
    pairs.drainWords(pair, (word) => words.merge(word, left, right, id, pairs, risen));
    pairs.count[pair] = 0;
    for (const other of risen) pairs.push(other);
    risen.clear();
    if ((merges.length / 3) % MERGES_PER_YIELD === 0) yield tokens.length;
  }
  return { tokens, merges: Int32Array.from(merges) };
}

/** The distinct words as token sequences, one after another in one array; merging shortens a word in its place. */
class Words {
  readonly tokens: Int32Array;
  readonly #start: Int32Array;
  readonly #length: Int32Array;
  readonly #count: Float64Array;

  constructor(wordCounts: ReadonlyMap<string, number>, tokenOfByte: Int32Array) {
    let total = 0;
    for (const word of wordCounts.keys()) total += Buffer.byteLength(word);
    this.tokens = new Int32Array(total);
    this.#start = new Int32Array(wordCounts.size);
    this.#length = new Int32Array(wordCounts.size);
    this.#count = new Float64Array(wordCounts.size);
    let word = 0;
    let end = 0;
    for (const [text, count] of wordCounts) {
      const bytes = Buffer.from(text);
      this.#start[word] = end;
      this.#length[word] = bytes.length;
      this.#count[word++] = count;
      for (const byte of bytes) this.tokens[end++] = tokenOfByte[byte]!;
    }
  }

  get size(): number {
    return this.#start.length;
  }

  at(word: number): { start: number; length: number; count: number } {
    return { start: this.#start[word]!, length: this.#length[word]!, count: this.#count[word]! };
  }

  /** Replaces `left right` by `id` throughout the word and corrects the counts of the neighbours' pairs. */
  merge(word: number, left: number, right: number, id: number, pairs: PairCounts, risen: Set<number>): void {
    const { tokens } = this;
    const start = this.#start[word]!;
    const end = start + this.#length[word]!;
    const count = this.#count[word]!;
    const fall = (a: number, b: number) => {
      const pair = pairs.index(a, b);
      pairs.count[pair] = pairs.count[pair]! - count;
    };
    const rise = (a: number, b: number) => {
      const pair = pairs.index(a, b);
      pairs.add(pair, count, word);
      risen.add(pair);
    };
    let to = start;
    for (let from = start; from < end; ) {
      if (tokens[from] !== left || from + 1 >= end || tokens[from + 1] !== right) {
        tokens[to++] = tokens[from++]!;
        continue;
      }
      if (to > start) {
        fall(tokens[to - 1]!, left);
        rise(tokens[to - 1]!, id);
      }
      from += 2;
      if (from < end) {
        fall(right, tokens[from]!);
        rise(id, tokens[from]!);
      }
      tokens[to++] = id;
    }
    this.#length[word] = to - start;
  }
}
