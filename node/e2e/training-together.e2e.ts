// Peers of three languages, each a process of its own, from tokenizer to a common body; who comes late, who is killed.
import { afterEach, expect, it } from "vitest";
import type { GlossaEvent } from "../observability/events.ts";
import { rootsOf, type SmallRun, startRun } from "./small-run.ts";

let run: SmallRun | undefined;
afterEach(async () => {
  await run?.bed.close();
  run = undefined;
});

it("lets three vocabularies train one body to the same bits", async () => {
  run = await startRun(["--minimum-peers", "3", "--quorum", "1"]);
  const rounds = 8;
  const peers = [
    run.peer(
      "en",
      await run.bed.corpus("en-novels", 200_000),
      "--vocabulary-size",
      "400",
      "--rounds",
      `${rounds}`,
    ),
    run.peer(
      "es",
      await run.bed.corpus("es-scripture", 200_000),
      "--vocabulary-size",
      "500",
      "--rounds",
      `${rounds}`,
    ),
    run.peer(
      "zh",
      await run.bed.corpus("zh-poetry", 200_000),
      "--vocabulary-size",
      "600",
      "--rounds",
      `${rounds}`,
    ),
  ];
  const rows = await Promise.all(peers.map((peer) => peer.event("finished")));
  expect(await Promise.all(peers.map((peer) => peer.finished()))).toEqual([0, 0, 0]);

  expect(rows.map((row) => row.vocabularySize)).toEqual([400, 500, 600]);
  expect(new Set(rows.map((row) => row.bodyRoot)).size).toBe(1);
  const [first, ...others] = peers.map(rootsOf);
  expect([...first!.keys()]).toEqual(Array.from({ length: rounds }, (_, round) => round));
  for (const roots of others) expect(roots).toEqual(first);
  for (const peer of peers) {
    for (const event of peer.events) if (event.event === "round-applied") expect(event.updates).toBe(3);
  }
  for (const row of rows) expect(row.bitsPerByteEnd!).toBeLessThan(row.bitsPerByteStart! - 0.3);
});

it("goes on without its bootstrap, and a newcomer joins through any peer", async () => {
  run = await startRun(["--minimum-peers", "2", "--local-steps", "30"]);
  const until = ["--rounds", "40"];
  const en = run.peer("en", await run.bed.corpus("en-novels", 200_000), "--vocabulary-size", "400", ...until);
  const es = run.peer(
    "es",
    await run.bed.corpus("es-scripture", 200_000),
    "--vocabulary-size",
    "500",
    ...until,
  );
  const { addresses } = await en.event("listening");
  const met = await es.event("round-applied", ({ updates }) => updates === 2);
  await run.bootstrap.signal("SIGKILL");

  const zh = run.peer(
    "zh",
    await run.bed.corpus("zh-poetry", 200_000),
    ...["--vocabulary-size", "600", "--bootstrap", addresses[0]!, ...until],
  );
  const joined = await zh.event("round-started");
  expect(joined.round).toBeGreaterThan(met.round);
  // It fits its embeddings to the body that it found before it contributes to it.
  expect(zh.events.filter(({ event }) => event === "warming")).toHaveLength(20);
  for (const peer of [en, es, zh]) await peer.event("round-applied", ({ updates }) => updates === 3);

  const rows = await Promise.all([en, es, zh].map((peer) => peer.event("finished")));
  expect(rows.map(({ rounds }) => rounds)).toEqual([40, 40, 40]);
  expect(new Set(rows.map(({ bodyRoot }) => bodyRoot)).size).toBe(1);
});

it("loses nothing of a peer that is killed and started again", async () => {
  run = await startRun(["--minimum-peers", "2", "--local-steps", "100"]);
  const text = await run.bed.corpus("es-scripture", 200_000);
  const flags = ["--vocabulary-size", "500", "--checkpoint-interval-seconds", "1"];
  const en = run.peer("en", await run.bed.corpus("en-novels", 200_000), "--vocabulary-size", "400");
  const first = run.peer("es", text, ...flags);
  const identity = await first.event("started");
  const before = await first.event("round-applied", ({ round }) => round === 1);
  await first.event("step", ({ round, step }) => round === before.round + 1 && step > 20);
  expect(await first.signal("SIGKILL")).toMatchObject({ signal: "SIGKILL" });

  // Nobody waits for the dead: the other peer applies rounds alone.
  await en.event("round-applied", ({ round, updates }) => round > before.round && updates === 1);

  const second = run.peer("es", text, ...flags);
  expect(await second.event("started")).toEqual(identity);
  expect(await second.event("tokenizer-ready")).toMatchObject({ vocabularySize: 500, trained: false });
  await second.event("round-applied", ({ updates }) => updates === 2);
  // Its first update may have come late: then the two have applied that round with other updates.
  await en.event("round-applied", ({ round, updates, bodyRoot }) => {
    const same = (event: GlossaEvent) =>
      event.event === "round-applied" && event.round === round && event.bodyRoot === bodyRoot;
    return updates === 2 && round > before.round && second.events.some(same);
  });
  // Everything that was trained is there: whole rounds, and what a checkpoint within the last one has kept.
  const [, round, tokens] = /"resumed":\{"round":(\d+),.*?"totalTokens":(\d+)/.exec(second.output)!;
  expect(Number(round)).toBeGreaterThanOrEqual(before.round);
  expect(Number(tokens)).toBeGreaterThanOrEqual((before.round + 1) * 100 * 8 * 32);
  // A newcomer would have fitted its embeddings first; this one has them.
  expect(second.events.some(({ event }) => event === "warming")).toBe(false);
  for (const peer of [en, second]) expect(await peer.signal("SIGINT")).toEqual({ code: 0, signal: null });
});
