// A swarm in which one peer is four times slower than the others.
import { expect, it } from "vitest";
import { expectAgreement, expectNothingLost, finish } from "./testing/expectations.ts";
import { Swarm, type SwarmPeer } from "./testing/swarm.ts";

const ROUNDS = 16;
const STEPS = 20;
/** Tokens of a step of a simulated trainer. */
const STEP_TOKENS = 100;
/** The first rounds teach how long one takes. */
const LEARNED = 4;

async function unequal(pacing: "off" | "on", overlap: "off" | "on") {
  const swarm = new Swarm({
    localSteps: STEPS,
    conditions: { latencyMs: [50, 100] },
    averaging: { minimumPeers: 4, weighting: "tokens", pacing, overlap },
  });
  for (const name of ["ada", "bea", "cleo"]) await swarm.add(name, { rounds: ROUNDS, stepMs: 200 });
  const dora = await swarm.add("dora", { rounds: ROUNDS, stepMs: 800 });
  await finish(swarm);
  expectAgreement(swarm, ROUNDS - 2);
  for (const peer of swarm.list) expectNothingLost(swarm, peer, swarm.peer("ada"));
  return { ada: swarm.peer("ada"), dora };
}

const stepsOf = ({ events }: SwarmPeer) =>
  events.flatMap((event) => (event.type === "published" ? [event.tokens / STEP_TOKENS] : []));

it.each(["off", "on"] as const)(
  "a paced peer makes an update in every round, of the steps it has (overlap %s)",
  async (overlap) => {
    const { ada, dora } = await unequal("on", overlap);
    expect(stepsOf(ada)).toEqual(Array(ROUNDS).fill(STEPS));
    expect(stepsOf(dora)).toHaveLength(ROUNDS);
    expect(Math.min(...stepsOf(dora))).toBeGreaterThan(0);
    expect(Math.max(...stepsOf(dora).slice(LEARNED))).toBeLessThanOrEqual(STEPS / 2);
    expect(dora.count("fell-behind")).toBe(0);
    const slowest = Math.max(
      ...ada.driver
        .status()
        .rounds.slice(LEARNED)
        .map(({ durationMs }) => durationMs),
    );
    expect(slowest).toBeLessThan(0.6 * STEPS * 800);
  },
);

it("without pacing it falls behind, and its progress waits for the end", async () => {
  const { dora } = await unequal("off", "off");
  expect(dora.count("fell-behind")).toBeGreaterThan(0);
  expect(stepsOf(dora).length).toBeLessThan(ROUNDS / 2);
});
