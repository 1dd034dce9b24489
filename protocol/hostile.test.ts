// Peers that say whatever the wire lets through, among honest ones; `testing/hostile.ts` takes any seed.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { RoundEvent } from "./core/round-events.ts";
import type { Phase } from "./core/types.ts";
import { Hostile } from "./testing/hostile.ts";
import { problemOf } from "./testing/problems.ts";
import { Bench, rootNamed, updateOf } from "./testing/round-logic.ts";
import { Swarm } from "./testing/swarm.ts";

const NAMES = ["ada", "bea", "cleo", "dora"];

describe("a swarm with peers in it that follow no rule", () => {
  // 1: a newcomer followed the one that it had heard first. 7: two made everyone believe in a swarm of thousands, in which
  // who is hardly ever drawn keeps no progress.
  it.each([1, 2, 7])(
    "trains on, takes a newcomer in and ends with one body (seed %i)",
    async (seed) => {
      const swarm = new Swarm({
        seed,
        conditions: { loss: seed % 2 === 0 ? 0 : 0.1 },
        averaging: {
          minimumPeers: NAMES.length,
          openRounds: 1 + (seed % 3),
          overlap: seed % 2 === 0 ? "off" : "on",
          weighting: seed % 2 === 0 ? "uniform" : "tokens",
        },
      });
      for (const name of NAMES) await swarm.add(name, { rounds: 8 });
      new Hostile(swarm, "mallory", seed);
      if (seed % 2 === 1) new Hostile(swarm, "oscar", seed);
      await swarm.clock.run(300_000, () => swarm.peer("ada").round >= 3);
      await swarm.add("eve", { rounds: 8 });
      const finished = await swarm.clock.run(1_500_000, () => swarm.live().length === 0);
      expect(problemOf(swarm, swarm.list, finished)).toBeUndefined();
    },
    60_000,
  );
});

const MAX_ROUND = 2 ** 31 - 1;
const round = fc.oneof(fc.nat(6), fc.constantFrom(0, 2 ** 20, MAX_ROUND - 1, MAX_ROUND));
const peer = fc.constantFrom("self", "ada", "bea", "cleo", "x".repeat(64));
const id = fc.record({ author: peer, round, statement: fc.nat(3) });
const root = fc.constantFrom("body2", "body3", "other", "0").map(rootNamed);

const presence = fc.record({
  type: fc.constant("presence" as const),
  author: peer,
  round,
  closedRound: round,
  root,
  closedRoot: root,
  sequence: fc.nat(500),
  phase: fc.constantFrom<Phase>(
    "waiting",
    "syncing",
    "warming",
    "training",
    "collecting",
    "settling",
    "done",
  ),
  step: fc.constantFrom(0, MAX_ROUND),
  leaving: fc.boolean(),
  sameUpdates: fc.constantFrom(true, false, undefined),
  intervalMs: fc.constantFrom(undefined, 2_001, 3_600_000),
});
const announced = fc.record({
  type: fc.constant("announced" as const),
  id,
  from: peer,
  payloadBytes: fc.constantFrom(1, 100, MAX_ROUND),
});
/** What comes of fetching and asking, also where nothing was asked. */
const answer = fc.record({
  type: fc.constantFrom("fetch-failed", "fetched", "untimely", "refused", "reconciled"),
  id,
});
const passing = fc.record({ type: fc.constant("wait" as const), ms: fc.constantFrom(250, 2_000, 70_000) });

describe("the round logic", () => {
  it("stays where it is and keeps little, whatever others say", () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(presence, announced, answer, passing), { maxLength: 60 }), (said) => {
        const bench = new Bench({ rounds: 9 }, { round: 3 });
        for (const event of said) {
          if (event.type === "wait") bench.wait(event.ms);
          else if (event.type === "presence") {
            const { type: _, author, sameUpdates, ...fields } = event;
            bench.hear(author, { ...fields, ...(sameUpdates !== undefined && { sameUpdates }) });
          } else if (event.type === "announced") {
            const { author, round: made, statement } = event.id;
            bench.announce(updateOf(author, made, String(statement)), event.from, event.payloadBytes);
          } else {
            const { author, round: made, statement } = event.id;
            const named = updateOf(author, made, String(statement));
            const key = `${made}/${author}/${named.statement}`;
            bench.put({
              ...event,
              id: named,
              key,
              peer: author,
              offence: undefined,
              detail: "",
            } as RoundEvent);
          }
        }
        const { state } = bench;
        expect(state.round).toBe(3);
        expect(state.wanted.size).toBeLessThanOrEqual(5 * 6 * 2);
        expect(state.reconciling.size).toBeLessThanOrEqual(4);
        for (const { closedRoots } of state.members.values()) expect(closedRoots.size).toBeLessThanOrEqual(4);
        for (const { id: wanted } of state.wanted.values()) expect(wanted.round).toBeLessThanOrEqual(5);
        // Whatever it has sent can be said: a round is below 2^31.
        for (const effect of bench.take("open-round")) expect(effect.round).toBe(4);
      }),
      { numRuns: 300 },
    );
  });
});
