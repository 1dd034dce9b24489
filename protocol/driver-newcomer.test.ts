// Who joins a run that others have trained counts little at first, and as the others soon.
import { expect, it } from "vitest";
import { expectAgreement, swarmOf } from "./testing/expectations.ts";
import type { Swarm, SwarmPeer } from "./testing/swarm.ts";

/** What `author` said of its probation, by round, as `witness` counted it. */
const probations = (witness: SwarmPeer, author: string) =>
  witness.driver.content
    .inventory(0)
    .map(({ announcement }) => announcement)
    .filter((announcement) => announcement.author === author)
    .map(({ probation = 0 }) => probation);

const made = (swarm: Swarm, author: string, updates: number) =>
  swarm.clock.run(120_000, () => probations(swarm.peer("ada"), author).length >= updates);

it("a newcomer's weight grows with its updates, also through a crash, and a founder's is whole", async () => {
  const swarm = await swarmOf(["ada", "bea"], { embeddingWarmupSteps: 2 });
  await swarm.reach(3);
  const cleo = await swarm.add("cleo");
  expect(await made(swarm, "cleo", 2)).toBe(true);
  swarm.crash(cleo);
  await swarm.clock.run(2_000);
  await swarm.restart(cleo);
  expect(await made(swarm, "cleo", 6)).toBe(true);
  const [ada, bea] = ["ada", "bea"].map((name) => swarm.peer(name)) as [SwarmPeer, SwarmPeer];
  expect(probations(ada, "cleo").slice(0, 6)).toEqual([3, 2, 1, 0, 0, 0]);
  expect(new Set([...probations(bea, "ada"), ...probations(ada, "bea")])).toEqual(new Set([0]));
  expectAgreement(swarm, 6);
});

it("a founder that comes back from a crash is no newcomer", async () => {
  const swarm = await swarmOf(["ada", "bea", "cleo"]);
  await swarm.reach(2);
  const cleo = swarm.peer("cleo");
  swarm.crash(cleo);
  await swarm.clock.run(20_000);
  await swarm.restart(cleo);
  const { round } = swarm.peer("ada");
  await swarm.reach(round + 4);
  expect(new Set(probations(swarm.peer("ada"), "cleo"))).toEqual(new Set([0]));
});
