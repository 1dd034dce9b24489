import { describe, expect, it } from "vitest";
import { type LinkRules, Links } from "./links.ts";
import { VirtualClock } from "./virtual-clock.ts";

/** 100 Mbit/s. */
const FAST = 12_500;
const MEGABYTE = 1_000_000;

interface Bench {
  readonly clock: VirtualClock;
  readonly links: Links;
  /** Moves bytes and says when they had arrived, in milliseconds from now, or why they had not. */
  move(from: string, to: string, bytes: number): Promise<number | string>;
}

function bench(
  rules: Partial<LinkRules> = {},
  rates: Record<string, { up: number; down: number }> = {},
): Bench {
  const clock = new VirtualClock(0);
  const links = new Links(clock, {
    access: (peer) => rates[peer] ?? { up: FAST, down: FAST },
    latencyMs: () => rules.meanLatencyMs ?? 1,
    meanLatencyMs: 1,
    packetLoss: 0,
    lossLimitsRate: true,
    reachable: () => true,
    life: () => "alive",
    ...rules,
  });
  const move = (from: string, to: string, bytes: number) => {
    const startMs = clock.nowMs();
    return new Promise<number | string>((resolve) => {
      links.start({ from, to, bytes, done: () => resolve(clock.nowMs() - startMs), failed: resolve });
    });
  };
  return { clock, links, move };
}

/** Runs the clock until all is said. */
async function all<Value>({ clock }: Bench, moves: readonly Promise<Value>[]): Promise<Value[]> {
  const results = Promise.all(moves);
  await clock.run(10_000_000);
  return results;
}

describe("a transfer", () => {
  it("takes its bytes over the slower of the two links, and the way", async () => {
    const links = bench({}, { slow: { up: 1_250, down: FAST } });
    const [ms] = await all(links, [links.move("slow", "fast", 10 * MEGABYTE)]);
    expect(ms).toBeGreaterThan(8_000);
    expect(ms).toBeLessThan(8_100);
  });

  it("shares an uplink with others about evenly, and a downlink too", async () => {
    const up = bench();
    const out = await all(
      up,
      ["a", "b", "c", "d"].map((peer) => up.move("source", peer, 10 * MEGABYTE)),
    );
    const down = bench();
    const into = await all(
      down,
      ["a", "b", "c", "d"].map((peer) => down.move(peer, "sink", 10 * MEGABYTE)),
    );
    for (const ms of [...out, ...into] as number[]) {
      // 40 MB at 12.5 MB/s; alone each would take 800 ms.
      expect(ms).toBeGreaterThan(2_800);
      expect(ms).toBeLessThan(3_350);
    }
  });

  it("in one direction does not slow down the other", async () => {
    const links = bench();
    const both = await all(links, [links.move("a", "b", 10 * MEGABYTE), links.move("b", "a", 10 * MEGABYTE)]);
    expect(Math.max(...(both as number[]))).toBeLessThan(900);
  });

  it("keeps a link busy while there is something to send, whoever is slow", async () => {
    const links = bench({}, { slow: { up: 125, down: FAST } });
    const [slow, ...fast] = await all(links, [
      links.move("slow", "sink", MEGABYTE),
      ...["a", "b", "c"].map((peer) => links.move(peer, "sink", 20 * MEGABYTE)),
    ]);
    expect(slow).toBeGreaterThan(8_000);
    expect(Math.max(...(fast as number[]))).toBeLessThan(1.05 * (61_000 / 12.5));
  });

  it("is held to the stream's window where the way is long", async () => {
    const links = bench({ meanLatencyMs: 200 });
    const [ms] = await all(links, [links.move("a", "b", 100 * MEGABYTE)]);
    // 1 MiB in flight for each 400 ms.
    expect(ms).toBeGreaterThan((0.95 * 400 * 100 * MEGABYTE) / 2 ** 20);
    expect(ms).toBeLessThan((1.1 * 400 * 100 * MEGABYTE) / 2 ** 20);
  });

  it("is slowed down by loss as TCP is, and without that only sends again what is lost", async () => {
    const lossy = { meanLatencyMs: 50, packetLoss: 0.01 };
    const tcp = bench(lossy);
    // 1460 bytes / 100 ms * 1.22 / sqrt(0.01)
    expect(tcp.links.connectionRate).toBeCloseTo(178.12, 1);
    const [slow] = await all(tcp, [tcp.move("a", "b", 10 * MEGABYTE)]);
    expect(slow).toBeGreaterThan((10 * MEGABYTE * 0.95) / 178.12);
    const other = bench({ ...lossy, lossLimitsRate: false });
    const [quick] = await all(other, [other.move("a", "b", 10 * MEGABYTE)]);
    expect(quick).toBeLessThan(2_000);
    expect(other.links.onWire(99)).toBeCloseTo(100, 9);
  });

  it("on two connections has twice what loss leaves one of them", async () => {
    const links = bench({ meanLatencyMs: 50, packetLoss: 0.01 });
    const [together, alone] = await all(links, [
      Promise.all([links.move("a", "b", 5 * MEGABYTE), links.move("a", "b", 5 * MEGABYTE)]),
      Promise.all([links.move("c", "b", 5 * MEGABYTE), links.move("d", "b", 5 * MEGABYTE)]),
    ] as Promise<(number | string)[]>[]);
    const last = (times: (number | string)[] | undefined) => Math.max(...(times as number[]));
    expect(last(together) / last(alone)).toBeGreaterThan(1.8);
  });

  it("that is small passes between the parts of large ones", async () => {
    const links = bench();
    const large = links.move("a", "b", 100 * MEGABYTE);
    await links.clock.run(1_000);
    const small = links.move("a", "b", 10_000);
    const [, ms] = await all(links, [large, small]);
    expect(ms).toBeLessThan(10);
  });

  it("fails twenty seconds after nothing gets through any more, and at once where a side has died", async () => {
    let isCut = false;
    const cut = bench({ reachable: () => !isCut });
    const first = cut.move("a", "b", 100 * MEGABYTE);
    await cut.clock.run(1_000);
    isCut = true;
    expect(await all(cut, [first])).toEqual(["nothing comes through"]);
    let life = 1;
    const dead = bench({ life: () => life });
    const second = dead.move("a", "b", 100 * MEGABYTE);
    await dead.clock.run(1_000);
    life = 2;
    expect(await all(dead, [second])).toEqual(["the connection is gone"]);
  });

  it("that is cut for a moment goes on", async () => {
    let isCut = false;
    const links = bench({ reachable: () => !isCut });
    const move = links.move("a", "b", 100 * MEGABYTE);
    await links.clock.run(1_000);
    isCut = true;
    await links.clock.run(5_000);
    isCut = false;
    const [ms] = await all(links, [move]);
    expect(ms).toBeGreaterThan(12_000);
    expect(ms).toBeLessThan(15_000);
  });

  it("that crawls is given up: a chunk must come within twenty seconds", async () => {
    const links = bench({}, { slow: { up: 10, down: FAST } });
    expect(await all(links, [links.move("slow", "b", 10 * MEGABYTE)])).toEqual([
      "a chunk took longer than 20 s",
    ]);
  });

  it("that was cancelled says nothing", async () => {
    const links = bench();
    let said = 0;
    const cancel = links.links.start({
      from: "a",
      to: "b",
      bytes: MEGABYTE,
      done: () => said++,
      failed: () => said++,
    });
    cancel();
    await links.clock.run(60_000);
    expect(said).toBe(0);
  });
});
