import { expect, test } from "vitest";
import { TILE_BYTES } from "../core/merkle.ts";
import { DonorPace, TileQueue } from "./tile-queue.ts";

const range = (count: number) => Array.from({ length: count }, (_, index) => index);

/** Donors that give a tile every so many milliseconds, until all tiles are there; 0: never answers. */
function play(count: number, tileMs: readonly number[]): { endMs: number; given: number[]; asked: number } {
  const queue = new TileQueue(range(count));
  const donors = tileMs.map((_, at) => new DonorPace(String(at)));
  const nextMs = tileMs.map((ms) => ms);
  const seen = new Set<number>();
  let asked = 0;
  for (let nowMs = 0; ; nowMs += 10) {
    for (const [at, donor] of donors.entries()) {
      const ms = tileMs[at]!;
      while (ms > 0 && nextMs[at]! <= nowMs && donor.asked.length > 0) {
        const { index } = donor.asked[0]!;
        const isFirst = queue.arrived(donor, index, TILE_BYTES, nowMs);
        expect(isFirst).toBe(!seen.has(index));
        seen.add(index);
        nextMs[at] = nextMs[at]! + ms;
      }
      while (donor.asked.length < donor.ahead) {
        if (donor.asked.length === 0) nextMs[at] = Math.max(nextMs[at]!, nowMs + ms);
        if (queue.take(donor, nowMs) === undefined) break;
        asked++;
      }
    }
    if (queue.isDone) {
      return { endMs: nowMs, given: donors.map(({ tiles }) => tiles), asked };
    }
    if (nowMs > 1_000_000) throw new Error("never done");
  }
}

test("the fast carry more, and the whole takes as long as all of them together need", () => {
  const { endMs, given, asked } = play(220, [100, 100, 1000]);
  expect(given.reduce((sum, tiles) => sum + tiles)).toBe(220);
  // 21 tiles a second together.
  expect(endMs).toBeLessThan((220 / 21) * 1000 * 1.1);
  expect(given[0]).toBeGreaterThan(6 * given[2]!);
  // Asked for twice: no more than a few of the last.
  expect(asked).toBeLessThan(220 + 12);
});

test("the last tiles of one who does not answer, or hardly, are asked of another as well", () => {
  const { endMs, given } = play(40, [100, 0]);
  expect(given).toEqual([40, 0]);
  expect(endMs).toBeLessThan(6_000);
  expect(play(40, [100, 60_000]).endMs).toBeLessThan(6_000);
});

test("what a donor leaves behind is missing again, but not what somebody else was asked for too", () => {
  const queue = new TileQueue([4, 5]);
  const [gone, other] = [new DonorPace("gone"), new DonorPace("other")];
  expect(queue.take(gone, 0)).toBe(4);
  expect(queue.take(other, 0)).toBe(5);
  queue.giveUp(gone);
  expect(queue.take(other, 0)).toBe(4);
  expect(queue.take(other, 0)).toBeUndefined();
  expect(queue.arrived(other, 5, TILE_BYTES, 100)).toBe(true);
  expect(queue.isDone).toBe(false);
  // 20 s later the tile is long overdue: it is asked of one who has come back as well.
  expect(queue.take(gone, 20_000)).toBe(4);
  queue.giveUp(gone);
  expect(queue.take(gone, 20_000)).toBe(4);
  queue.giveUp(other);
  expect(queue.take(other, 20_000)).toBe(4);
  expect(queue.arrived(gone, 4, TILE_BYTES, 20_100)).toBe(true);
  expect(queue.arrived(other, 4, TILE_BYTES, 20_200)).toBe(false);
  expect(queue.isDone).toBe(true);
});

test("a donor's rate follows what it gives while it is asked, and more is asked ahead of the fast", () => {
  const donor = new DonorPace("fast");
  expect(donor.bytesPerSecond).toBeUndefined();
  let nowMs = 0;
  const give = (count: number, everyMs: number) => {
    const queue = new TileQueue(range(count));
    for (let at = 0; at < count; at++) {
      queue.take(donor, nowMs);
      nowMs += everyMs;
      queue.arrived(donor, at, TILE_BYTES, nowMs);
    }
  };
  give(50, 20);
  expect(donor.bytesPerSecond).toBeCloseTo(TILE_BYTES * 50, -3);
  expect(donor.ahead).toBe(16);
  nowMs += 60_000; // not asked: says nothing
  expect(donor.bytesPerSecond).toBeCloseTo(TILE_BYTES * 50, -3);
  give(20, 1000);
  expect(donor.bytesPerSecond).toBeLessThan(TILE_BYTES * 1.2);
  expect(donor.ahead).toBe(2);
});
