// What a text held out before it changed, found again in the documents of today, so that none of it is trained on. Owns how
// stretches of tokens are recognised; where they go is token-cache.ts' business.
import type { TokenDataset } from "./cache-entry.ts";
import { mix32 } from "./permutation.ts";
import { readTokens, type TokenSplit } from "./token-file.ts";

/** Tokens that have to agree: no two texts share so many by chance, and what is quoted that often is in both parts anyway. */
const BLOCK_TOKENS = 32;
/** Two hashes, rolled over the tokens, tell blocks apart. */
const BASES = [0x01000193, 0x2545f491] as const;

/** A stretch [from, to) of a document's tokens. */
export interface Stretch {
  readonly from: number;
  readonly to: number;
  readonly heldOut: boolean;
}

export class HeldOutText {
  /** Of blocks and, apart, of documents shorter than one. */
  readonly #blocks: BlockSet;
  readonly #short: ReadonlySet<number>;

  private constructor(blocks: BlockSet, short: ReadonlySet<number>) {
    this.#blocks = blocks;
    this.#short = short;
  }

  /**
   * What `before` held out and did not train on. Held-out documents are known by blocks that follow each other without a
   * gap, training ones are looked through at every token: of the two parts the smaller is kept in memory.
   * @throws TokenCacheCorruptError
   */
  static async of(
    before: Pick<TokenDataset, "train" | "validation">,
    endOfText: number,
    signal?: AbortSignal,
  ): Promise<HeldOutText> {
    const keys: number[] = [];
    const short = new Set<number>();
    for await (const document of documentsOf(before.validation, endOfText, signal)) {
      if (document.length < BLOCK_TOKENS) short.add(keyOf(document));
      else for (const from of blockStarts(document.length)) keys.push(keyOf(block(document, from)));
    }
    const blocks = new BlockSet(keys);
    for await (const document of documentsOf(before.train, endOfText, signal)) {
      if (document.length < BLOCK_TOKENS) short.delete(keyOf(document));
      else forEachBlock(document, (key) => blocks.remove(key));
    }
    return new HeldOutText(blocks, short);
  }

  /**
   * A document in stretches of what was held out and what was not; one stretch of the latter where nothing was. What lies
   * between two held-out blocks, or between one and an end, is too short to be another text and goes with them.
   */
  stretches(document: ArrayLike<number>): Stretch[] {
    const { length } = document;
    if (length < BLOCK_TOKENS) return [{ from: 0, to: length, heldOut: this.#short.has(keyOf(document)) }];
    const found: { from: number; to: number }[] = [];
    forEachBlock(document, (key, from) => {
      if (!this.#blocks.has(key)) return;
      const last = found.at(-1);
      if (last !== undefined && from - last.to < BLOCK_TOKENS) last.to = from + BLOCK_TOKENS;
      else found.push({ from: from < BLOCK_TOKENS ? 0 : from, to: from + BLOCK_TOKENS });
    });
    const stretches: Stretch[] = [];
    let at = 0;
    for (const { from, to } of found) {
      if (from > at) stretches.push({ from: at, to: from, heldOut: false });
      at = length - to < BLOCK_TOKENS ? length : to;
      stretches.push({ from, to: at, heldOut: true });
    }
    if (at < length) stretches.push({ from: at, to: length, heldOut: false });
    return stretches;
  }
}

/** Numbers that can be taken out: sorted, for tens of millions of them fit into memory that way. */
class BlockSet {
  readonly #keys: Float64Array;
  readonly #removed: Uint8Array;

  constructor(keys: readonly number[]) {
    this.#keys = Float64Array.from(keys).sort();
    this.#removed = new Uint8Array(keys.length);
  }

  has(key: number): boolean {
    const at = this.#firstOf(key);
    return this.#keys[at] === key && this.#removed[at] === 0;
  }

  remove(key: number): void {
    const at = this.#firstOf(key);
    if (this.#keys[at] === key) this.#removed[at] = 1;
  }

  /** Where the first that is not smaller stands. */
  #firstOf(key: number): number {
    let low = 0;
    let high = this.#keys.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#keys[middle]! < key) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** Blocks side by side, and one that ends where the document does. */
function* blockStarts(length: number): Generator<number> {
  for (let from = 0; from + BLOCK_TOKENS <= length; from += BLOCK_TOKENS) yield from;
  if (length % BLOCK_TOKENS !== 0) yield length - BLOCK_TOKENS;
}

const block = (document: Int32Array, from: number): Int32Array =>
  document.subarray(from, from + BLOCK_TOKENS);

/** Of all that is there, in order. */
function keyOf(tokens: ArrayLike<number>): number {
  let first = 0;
  let second = 0;
  for (let i = 0; i < tokens.length; i++) {
    first = (Math.imul(first, BASES[0]) + tokens[i]! + 1) | 0;
    second = (Math.imul(second, BASES[1]) + tokens[i]! + 1) | 0;
  }
  return joined(first, second);
}

/** The same for every block of a document, one token on each time. */
function forEachBlock(document: ArrayLike<number>, onBlock: (key: number, from: number) => void): void {
  const [firstOut, secondOut] = OUTGOING;
  let first = 0;
  let second = 0;
  for (let i = 0; i < document.length; i++) {
    const from = i - BLOCK_TOKENS + 1;
    if (from > 0) {
      first = (first - Math.imul(document[from - 1]! + 1, firstOut)) | 0;
      second = (second - Math.imul(document[from - 1]! + 1, secondOut)) | 0;
    }
    first = (Math.imul(first, BASES[0]) + document[i]! + 1) | 0;
    second = (Math.imul(second, BASES[1]) + document[i]! + 1) | 0;
    if (from >= 0) onBlock(joined(first, second), from);
  }
}

/** base^(BLOCK_TOKENS - 1): what a block's first token counts for. */
const OUTGOING = BASES.map((base) => {
  let power = 1;
  for (let i = 1; i < BLOCK_TOKENS; i++) power = Math.imul(power, base);
  return power;
}) as [number, number];

/** 52 bits of the two. */
const joined = (first: number, second: number): number => mix32(first) * 2 ** 20 + (mix32(second) >>> 12);

/** The tokens between two ends of a text; the last ones also without. */
async function* documentsOf(
  split: TokenSplit,
  endOfText: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<Int32Array> {
  let pending = new Int32Array(0);
  for await (const read of readTokens(split, signal)) {
    const tokens = new Int32Array(pending.length + read.length);
    tokens.set(pending);
    tokens.set(read, pending.length);
    let from = 0;
    for (let end = tokens.indexOf(endOfText); end >= 0; end = tokens.indexOf(endOfText, from)) {
      if (end > from) yield tokens.subarray(from, end);
      from = end + 1;
    }
    pending = tokens.slice(from);
  }
  if (pending.length > 0) yield pending;
}
