// Which tile is asked of whom: everyone takes the next one as it is free, so that the fast carry more; when none is left,
// the last ones are asked for twice. Pure bookkeeping on the caller's clock.
import { TILE_BYTES } from "../core/merkle.ts";
import type { PeerId } from "../core/types.ts";

/** What arrived longer ago than this counts for little in a donor's rate. */
const RATE_MEMORY_MS = 3_000;
/** So much is asked for ahead: a round trip over the worst way, and little that a donor who fails leaves behind. */
const AHEAD_MS = 500;
const FEWEST_AHEAD = 2;
const MOST_AHEAD = 16;
const FIRST_AHEAD = 4;
/** A donor of unknown rate is taken to need this long for a tile. */
const GUESSED_TILE_MS = 500;
/** The last tiles are asked for of so many at a time. */
const MAX_COPIES = 2;
/** A second copy must be expected this much sooner than the first. */
const SOONER = 1.5;

interface Asked {
  readonly index: number;
  readonly atMs: number;
}

/** How fast one donor is, and what it has been asked for. Answers come in the order asked. */
export class DonorPace {
  readonly peer: PeerId;
  readonly asked: Asked[] = [];
  /** Tiles that it was the first to give. */
  tiles = 0;
  #bytes = 0;
  #spanMs = 0;
  #lastMs = Number.NEGATIVE_INFINITY;

  constructor(peer: PeerId) {
    this.peer = peer;
  }

  /** While it was asked for something; undefined until it has given something. */
  get bytesPerSecond(): number | undefined {
    return this.#spanMs > 0 ? (this.#bytes / this.#spanMs) * 1000 : undefined;
  }

  /** `bytesPerSecond` if nothing came from now on: falls while an answer is overdue. */
  rateAt(nowMs: number): number | undefined {
    const waitedMs = this.waitedMs(nowMs);
    const spanMs = this.#spanMs + Math.max(0, waitedMs - this.#tileMs());
    return spanMs > 0 ? (this.#bytes / spanMs) * 1000 : undefined;
  }

  /** Tiles to ask for at a time. */
  get ahead(): number {
    const rate = this.bytesPerSecond;
    if (rate === undefined) return FIRST_AHEAD;
    const tiles = Math.ceil((rate * AHEAD_MS) / 1000 / TILE_BYTES);
    return Math.min(MOST_AHEAD, Math.max(FEWEST_AHEAD, tiles));
  }

  arrived(bytes: number, nowMs: number): void {
    const spanMs = this.waitedMs(nowMs);
    this.asked.shift();
    const kept = Math.exp(-spanMs / RATE_MEMORY_MS);
    this.#bytes = this.#bytes * kept + bytes;
    // Several may come in one millisecond: their time was counted with the first.
    this.#spanMs = this.#spanMs * kept + spanMs;
    this.#lastMs = nowMs;
  }

  /** When the answer at `position` in its queue is expected, from now. */
  expectedMs(position: number, nowMs: number): number {
    const waitedMs = this.waitedMs(nowMs);
    const due = (position + 1) * this.#tileMs() - waitedMs;
    // The longer it is overdue, the longer it will take.
    return Math.max(due, waitedMs - this.#tileMs());
  }

  #tileMs(): number {
    const rate = this.bytesPerSecond;
    return rate === undefined ? GUESSED_TILE_MS : (TILE_BYTES / rate) * 1000;
  }

  /** How long an answer has been awaited. */
  waitedMs(nowMs: number): number {
    const [first] = this.asked;
    return first === undefined ? 0 : Math.max(0, nowMs - Math.max(this.#lastMs, first.atMs));
  }
}

export class TileQueue {
  /** Popped from the end: in order. */
  readonly #missing: number[];
  readonly #asked = new Map<number, Set<DonorPace>>();
  #left: number;

  constructor(missing: readonly number[]) {
    this.#missing = missing.toReversed();
    this.#left = missing.length;
  }

  get isDone(): boolean {
    return this.#left === 0;
  }

  /** The tile to ask `donor` for next, noted as asked; undefined where it has nothing to do now. */
  take(donor: DonorPace, nowMs: number): number | undefined {
    const index = this.#missing.pop() ?? this.#slowestFor(donor, nowMs);
    if (index === undefined) return undefined;
    const holders = this.#asked.get(index) ?? new Set();
    this.#asked.set(index, holders.add(donor));
    donor.asked.push({ index, atMs: nowMs });
    return index;
  }

  /** A good tile has come from `donor`, which was asked for it. False where somebody else has given it already. */
  arrived(donor: DonorPace, index: number, bytes: number, nowMs: number): boolean {
    donor.arrived(bytes, nowMs);
    if (!this.#asked.delete(index)) return false;
    donor.tiles++;
    this.#left--;
    return true;
  }

  /** `donor` will not answer any more: what only it was asked for is missing again. */
  giveUp(donor: DonorPace): void {
    for (const { index } of donor.asked.splice(0)) {
      const holders = this.#asked.get(index);
      if (holders === undefined) continue;
      holders.delete(donor);
      if (holders.size > 0) continue;
      this.#asked.delete(index);
      this.#missing.push(index);
    }
  }

  /** Of what others were asked for, the tile that is furthest away, if `donor` would have it sooner. */
  #slowestFor(donor: DonorPace, nowMs: number): number | undefined {
    let slowest: number | undefined;
    let slowestMs = donor.expectedMs(donor.asked.length, nowMs) * SOONER;
    for (const [index, holders] of this.#asked) {
      if (holders.size >= MAX_COPIES || holders.has(donor)) continue;
      for (const holder of holders) {
        const position = holder.asked.findIndex((asked) => asked.index === index);
        const expectedMs = holder.expectedMs(position, nowMs);
        if (expectedMs <= slowestMs) continue;
        slowestMs = expectedMs;
        slowest = index;
      }
    }
    return slowest;
  }
}
