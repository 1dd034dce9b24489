// The log and the payloads of rounds that close while a body is on its way.
import { describe, expect, it } from "vitest";
import { parameterLayout } from "../core/layout.ts";
import { parseRunConfig } from "../core/run-config.ts";
import type { Inventory, SignedUpdate } from "../core/types.ts";
import { BodyOutrunError } from "../errors.ts";
import { sha256, sha256Hex } from "../net/hash.ts";
import { MemoryDisk, memoryStore } from "../simulation/memory-store.ts";
import { Power } from "../simulation/power.ts";
import { VirtualClock } from "../simulation/virtual-clock.ts";
import { BodyProgress } from "./body-progress.ts";
import type { DriverContext } from "./context.ts";
import { Following } from "./following.ts";

const RUN_ID = "ab".repeat(32);
const layout = parameterLayout([{ name: "a.weight", shape: [8, 8] }], sha256);
const config = parseRunConfig({});
const payloadOf = (round: number) => Uint8Array.of(round, 1);
const rootOf = (round: number, lineage = "body") => `${lineage}${round}`.padEnd(64, "0");

const updateOf = (round: number): SignedUpdate => ({
  announcement: {
    ...{ runId: RUN_ID, round, author: "ada", payload: sha256Hex(payloadOf(round)), payloadBytes: 2 },
    ...{ baseRoot: RUN_ID, tokens: 100, lossNatsPerToken: 1, bitsPerByte: 1 },
  },
  envelope: new Uint8Array(1),
});

/** What a donor at `closedRound` remembers that keeps `rounds` of its log: of each round one update, of every fifth opposed. */
function logAt(closedRound: number, fromRound: number, lineage = "body", rounds = 10): Inventory {
  const oldest = Math.max(fromRound, closedRound - rounds, 0);
  const numbers = Array.from({ length: closedRound - oldest }, (_, at) => oldest + at);
  const updates = numbers.map(updateOf);
  return {
    updates,
    closedRoots: new Map([...numbers, closedRound].map((round) => [round, rootOf(round, lineage)])),
    opposed: updates.filter(({ announcement }) => announcement.round % 5 === 0),
  };
}

/** A donor that closes a round every ten seconds, and a peer that follows it. */
function follow(lineageAt: (round: number) => string = () => "body") {
  const clock = new VirtualClock();
  const startMs = clock.nowMs();
  const closed = () => 3 + Math.floor((clock.nowMs() - startMs) / 10_000);
  const disk = new MemoryDisk();
  const donor = {
    presence: {
      get closedRound() {
        return closed();
      },
    },
  };
  const context = {
    options: { runId: RUN_ID, config, layout, hash: sha256 },
    modules: {
      clock,
      store: memoryStore(disk, new Power()),
      network: {
        fetchInventory: async (_: string, from: number) => logAt(closed(), from, lineageAt(closed())),
        fetchPayload: async ({ announcement }: SignedUpdate) => payloadOf(announcement.round),
      },
    },
    state: () => ({ members: new Map([["donor", donor]]) }),
  } as unknown as DriverContext;
  const following = new Following(context, "donor", new AbortController().signal);
  following.begin(3, rootOf(3));
  return { clock, context, disk, following, log: () => logAt(closed(), 0, lineageAt(closed())) };
}

describe("a log that is followed", () => {
  it("leads from the body to the present, however much of it the donor has forgotten, with every payload", async () => {
    const { clock, disk, following, log } = follow();
    await clock.run(600_000);
    const { updates, closedRoots, opposed } = following.continued(log());
    const rounds = Array.from({ length: 60 }, (_, at) => 3 + at);
    expect(updates.map(({ announcement }) => announcement.round)).toEqual(rounds);
    expect([...closedRoots.keys()]).toEqual([...rounds, 63]);
    expect(opposed?.map(({ announcement }) => announcement.round)).toEqual(
      rounds.filter((at) => at % 5 === 0),
    );
    const kept = [...disk.payloads.values()].map(({ round }) => round);
    expect(kept.slice(0, 55)).toEqual(rounds.slice(0, 55));
  });

  it("loses nothing of a donor whose log goes further back than its bodies", async () => {
    const { clock, following, log } = follow();
    await clock.run(60_000);
    const { updates, closedRoots } = log();
    const taken = { updates, closedRoots: new Map([...closedRoots].filter(([round]) => round >= 5)) };
    expect(following.continued(taken).updates).toEqual(updates);
  });

  it("is not continued with another body's", async () => {
    const { clock, following, log } = follow((round) => (round > 20 ? "other" : "body"));
    await clock.run(300_000);
    expect(following.continued(log())).toEqual(log());
  });

  it("is left alone when the body is here", async () => {
    const { clock, disk, following } = follow();
    await clock.run(30_000);
    following.stop();
    const kept = disk.payloads.size;
    await clock.run(300_000);
    expect(disk.payloads.size).toBe(kept);
  });
});

describe("a body that comes too slowly", () => {
  it("is said to, with its size, its speed and how long rounds would have to be", async () => {
    const { clock, context } = follow();
    const progress = new BodyProgress(context, "donor");
    const cause = new Error("only 3 of 64 pieces of the body could be fetched");
    progress.begin(3);
    await clock.run(200_000);
    progress.advance(20_000_000, 340_000_000);
    // Twenty rounds are not the reason.
    expect(progress.explained(cause)).toBe(cause);
    await clock.run(120_000);
    progress.advance(32_000_000, 340_000_000);
    const error = progress.explained(cause);
    expect(error).toBeInstanceOf(BodyOutrunError);
    expect(error).toMatchObject({
      code: "BODY_OUTRUN",
      bytesPerSecond: 1e5,
      rounds: 32,
      roundSeconds: 10,
      cause,
    });
    expect((error as Error).message).toBe(
      "The body of 340 MB comes at 0.100 MB/s, and 32 rounds of 10.0 s closed before it was here: it takes a faster link, " +
        "or a run whose rounds last 121.4 s (more local steps).",
    );
  });
});
