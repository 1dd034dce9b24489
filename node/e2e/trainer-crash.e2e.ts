// A peer whose trainer is killed: it stays in the network, trains on, and ends with the others' bits; or it ends, with a
// reason, where that happens again and again.
import { afterEach, expect, it } from "vitest";
import type { GlossaProcess } from "./processes.ts";
import { rootsOf, type SmallRun, startRun } from "./small-run.ts";

let run: SmallRun | undefined;
afterEach(async () => {
  await run?.bed.close();
  run = undefined;
});

/** Process ids of a peer's trainers, oldest first. */
function trainersOf({ output }: GlossaProcess): number[] {
  return [...output.matchAll(/"pid":(\d+),"msg":"trainer started"/g)].map(([, pid]) => Number(pid));
}

function isThere(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

it("keeps a peer in the network whose trainer is killed in the middle of a round", async () => {
  run = await startRun(["--minimum-peers", "2", "--quorum", "1", "--local-steps", "40"]);
  const rounds = 4;
  const more = ["--rounds", `${rounds}`, "--checkpoint-interval-seconds", "1"];
  const en = run.peer("en", await run.bed.corpus("en-novels", 200_000), "--vocabulary-size", "400", ...more);
  const es = run.peer(
    "es",
    await run.bed.corpus("es-scripture", 200_000),
    "--vocabulary-size",
    "500",
    ...more,
  );

  await es.event("step", ({ round, step }) => round === 1 && step === 15);
  const [first] = trainersOf(es);
  process.kill(first!, "SIGKILL");
  expect(await es.event("trainer-crashed")).toMatchObject({ signal: "SIGKILL", crashes: 1 });
  // Nobody took it for gone: the round has both updates, and the others were never told that it left.
  expect(await es.event("round-applied", ({ round }) => round === 1)).toMatchObject({ updates: 2 });
  expect(en.output).not.toContain("peer left");

  const rows = await Promise.all([en, es].map((peer) => peer.event("finished")));
  expect(await Promise.all([en, es].map((peer) => peer.finished()))).toEqual([0, 0]);
  expect(rootsOf(es)).toEqual(rootsOf(en));
  expect([...rootsOf(es).keys()]).toEqual(Array.from({ length: rounds }, (_, round) => round));
  for (const peer of [en, es]) {
    for (const event of peer.events) if (event.event === "round-applied") expect(event.updates).toBe(2);
  }
  // Steps that were taken again count once.
  expect(rows.map(({ steps }) => steps)).toEqual([rounds * 40, rounds * 40]);
  expect(trainersOf(es)).toHaveLength(2);
  expect([...trainersOf(es), ...trainersOf(en)].filter(isThere)).toEqual([]);
});

it("ends a peer whose trainer crashes again and again, with an exit code and a remedy", async () => {
  run = await startRun();
  const text = await run.bed.corpus("en-novels", 200_000);
  const peer = run.peer("en", text, "--vocabulary-size", "400");
  for (let crash = 0; crash < 3; crash++) {
    // Every line that it prints is a look at what it has printed.
    await peer.event("started", () => trainersOf(peer).length > crash);
    process.kill(trainersOf(peer)[crash]!, "SIGSEGV");
  }
  expect(await peer.finished()).toBe(42);
  expect(peer.output).toMatch(
    /glossa: The trainer crashed 3 times .*SIGSEGV.*--micro-batch or --recompute, and start the peer again/,
  );
});
