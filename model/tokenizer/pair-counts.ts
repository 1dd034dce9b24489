// The trainer's books: how often each pair of neighbouring tokens occurs, in which words, and which pair is first.
// Typed arrays throughout: a corpus has millions of pairs, which as objects would take ten times the memory.
import { hashPair } from "./merge-table.ts";

const NONE = -1;

export class PairCounts {
  left = new Int32Array(1024);
  right = new Int32Array(1024);
  /** Occurrences of each pair over all words, weighted by the words' counts. */
  count = new Float64Array(1024);
  size = 0;

  #slots = new Int32Array(4096).fill(NONE);
  /** A pair's words are a linked list: first node of each pair, then word and next node of each node. */
  #firstNode = new Int32Array(1024);
  #nodeWord = new Int32Array(4096);
  #nodeNext = new Int32Array(4096);
  #nodes = 0;
  #freeNode = NONE;

  #heap = new Int32Array(1024);
  /** The count that a pair had when it was put in the heap; it may have fallen since. */
  #heapCount = new Float64Array(1024);
  #heapSize = 0;

  /** The pair's index, made if need be. */
  index(left: number, right: number): number {
    let slot = hashPair(left, right) & (this.#slots.length - 1);
    for (;;) {
      const pair = this.#slots[slot]!;
      if (pair === NONE) break;
      if (this.left[pair] === left && this.right[pair] === right) return pair;
      slot = (slot + 1) & (this.#slots.length - 1);
    }
    if (this.size === this.left.length) this.#growPairs();
    const pair = this.size++;
    this.left[pair] = left;
    this.right[pair] = right;
    this.#firstNode[pair] = NONE;
    this.#slots[slot] = pair;
    if (this.size * 2 > this.#slots.length) this.#rehash();
    return pair;
  }

  /** Adds to a pair's count and remembers that `word` holds it. Words come one after another: one look back is enough. */
  add(pair: number, amount: number, word: number): void {
    this.count[pair] = this.count[pair]! + amount;
    const first = this.#firstNode[pair]!;
    if (first !== NONE && this.#nodeWord[first] === word) return;
    const node = this.#takeNode();
    this.#nodeWord[node] = word;
    this.#nodeNext[node] = first;
    this.#firstNode[pair] = node;
  }

  /** Visits the words that hold or once held `pair`, and forgets them. */
  drainWords(pair: number, visit: (word: number) => void): void {
    let node = this.#firstNode[pair]!;
    this.#firstNode[pair] = NONE;
    while (node !== NONE) {
      const next = this.#nodeNext[node]!;
      const word = this.#nodeWord[node]!;
      this.#nodeNext[node] = this.#freeNode;
      this.#freeNode = node;
      visit(word);
      node = next;
    }
  }

  /** Makes `pair` a candidate with its present count. */
  push(pair: number): void {
    if (this.#heapSize === this.#heap.length) {
      this.#heap = grown(this.#heap, Int32Array);
      this.#heapCount = grown(this.#heapCount, Float64Array);
    }
    let i = this.#heapSize++;
    const count = this.count[pair]!;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (!this.#before(pair, count, this.#heap[parent]!, this.#heapCount[parent]!)) break;
      this.#heap[i] = this.#heap[parent]!;
      this.#heapCount[i] = this.#heapCount[parent]!;
      i = parent;
    }
    this.#heap[i] = pair;
    this.#heapCount[i] = count;
  }

  /**
   * Takes the most frequent pair; of equally frequent ones the lowest left token, then the lowest right one
   * (Hugging Face's order). Counts that fell since `push` are corrected on the way. -1 when no candidate is left.
   */
  pop(): number {
    while (this.#heapSize > 0) {
      const pair = this.#heap[0]!;
      const count = this.count[pair]!;
      const isCurrent = count === this.#heapCount[0];
      if (isCurrent || count <= 0) {
        this.#heapSize -= 1;
        if (this.#heapSize > 0) {
          this.#sink(this.#heap[this.#heapSize]!, this.#heapCount[this.#heapSize]!);
        }
        if (isCurrent && count > 0) return pair;
      } else {
        this.#sink(pair, count);
      }
    }
    return NONE;
  }

  #sink(pair: number, count: number): void {
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= this.#heapSize) break;
      const other = child + 1;
      if (
        other < this.#heapSize &&
        this.#before(this.#heap[other]!, this.#heapCount[other]!, this.#heap[child]!, this.#heapCount[child]!)
      ) {
        child = other;
      }
      if (!this.#before(this.#heap[child]!, this.#heapCount[child]!, pair, count)) break;
      this.#heap[i] = this.#heap[child]!;
      this.#heapCount[i] = this.#heapCount[child]!;
      i = child;
    }
    this.#heap[i] = pair;
    this.#heapCount[i] = count;
  }

  #before(a: number, countA: number, b: number, countB: number): boolean {
    if (countA !== countB) return countA > countB;
    if (this.left[a] !== this.left[b]) return this.left[a]! < this.left[b]!;
    return this.right[a]! < this.right[b]!;
  }

  #takeNode(): number {
    if (this.#freeNode !== NONE) {
      const node = this.#freeNode;
      this.#freeNode = this.#nodeNext[node]!;
      return node;
    }
    if (this.#nodes === this.#nodeWord.length) {
      this.#nodeWord = grown(this.#nodeWord, Int32Array);
      this.#nodeNext = grown(this.#nodeNext, Int32Array);
    }
    return this.#nodes++;
  }

  #growPairs(): void {
    this.left = grown(this.left, Int32Array);
    this.right = grown(this.right, Int32Array);
    this.count = grown(this.count, Float64Array);
    this.#firstNode = grown(this.#firstNode, Int32Array);
  }

  #rehash(): void {
    const slots = new Int32Array(this.#slots.length * 2).fill(NONE);
    for (let pair = 0; pair < this.size; pair++) {
      let slot = hashPair(this.left[pair]!, this.right[pair]!) & (slots.length - 1);
      while (slots[slot] !== NONE) slot = (slot + 1) & (slots.length - 1);
      slots[slot] = pair;
    }
    this.#slots = slots;
  }
}

/** A copy of twice the length. */
function grown<A extends Int32Array | Float64Array>(array: A, Kind: new (length: number) => A): A {
  const larger = new Kind(array.length * 2);
  larger.set(array);
  return larger;
}
