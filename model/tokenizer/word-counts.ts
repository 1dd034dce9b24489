// Counts words in bounded memory. Owns the bounds and what is given up at them, not how words are cut.
import { detach, type WordSplitter } from "./word-splitter.ts";

/** Distinct words kept. 20 MB of running text has 0.06 (English) to 0.9 million (Chinese verse). */
const LARGEST_WORD_COUNT = 2 ** 20;
/** At the bound the rarest words are dropped down to this, so that the sweep comes seldom. */
const WORD_COUNT_AFTER_SWEEP = (LARGEST_WORD_COUNT * 3) / 4;
/**
 * Longer words are cut into pieces of this many characters: whole paragraphs in scripts without spaces, base64,
 * minified code. No word of a natural language is that long, and a token across a cut would be useless.
 */
const LONGEST_WORD_CHARACTERS = 256;

export class WordCounts {
  readonly counts = new Map<string, number>();
  readonly #splitter: WordSplitter;
  readonly #largest: number;

  constructor(splitter: WordSplitter, largest: number = LARGEST_WORD_COUNT) {
    this.#splitter = splitter;
    this.#largest = largest;
  }

  add(text: string): void {
    this.#splitter.split(text, this.#count);
    if (this.counts.size > this.#largest) this.#sweep();
  }

  readonly #count = (word: string): void => {
    if (word.length > LONGEST_WORD_CHARACTERS) {
      for (const piece of cut(word)) this.#increment(piece);
    } else {
      this.#increment(word);
    }
  };

  #increment(word: string): void {
    const count = this.counts.get(word);
    if (count === undefined) this.counts.set(detach(word), 1);
    else this.counts.set(word, count + 1);
  }

  /** Drops words seen once, then twice, … until a quarter is free. Depends on the text alone. */
  #sweep(): void {
    const target = this.#largest * (WORD_COUNT_AFTER_SWEEP / LARGEST_WORD_COUNT);
    for (let rarest = 1; this.counts.size > target; rarest++) {
      for (const [word, count] of this.counts) if (count <= rarest) this.counts.delete(word);
    }
  }
}

/** Pieces of a long word, never through a surrogate pair. */
function* cut(word: string): Generator<string> {
  for (let start = 0; start < word.length; ) {
    let end = Math.min(start + LONGEST_WORD_CHARACTERS, word.length);
    const last = word.charCodeAt(end - 1);
    if (end < word.length && last >= 0xd800 && last <= 0xdbff) end -= 1;
    yield word.slice(start, end);
    start = end;
  }
}
