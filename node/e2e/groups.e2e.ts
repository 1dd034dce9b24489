// Peers that share their embeddings in a group within a run, each a process of its own: what they agree on, what others see
// of it, who is killed, and who finds nobody.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { Tokenizer } from "#model/tokenizer/tokenizer.ts";
import { bodyRoot } from "#protocol/core/merkle.ts";
import { sha256 } from "#protocol/net/hash.ts";
import type { PeerStatus } from "../observability/status.ts";
import { loadVocabularyRows } from "../storage/vocabulary-rows.ts";
import { loadTrainerCheckpoint } from "../trainer/checkpoint-file.ts";
import { type GlossaProcess, TestBed } from "./processes.ts";
import { rootsOf, type SmallRun, startRun } from "./small-run.ts";

/** Large beside the body's 6,984 values: an embedding on the wire cannot be overlooked. */
const VOCABULARY = 2000;
const WIDTH = 24;

let library: TestBed;
let english: string;
let spanish: string;
let tokenizer: string;
let run: SmallRun;

beforeAll(async () => {
  library = await TestBed.create();
  english = await library.corpus("en-novels", 150_000);
  spanish = await library.corpus("es-scripture", 150_000);
  tokenizer = await makeTokenizer("en.json", english);
});
afterAll(() => library.close());
afterEach(() => run.bed.close());

async function makeTokenizer(name: string, ...texts: string[]): Promise<string> {
  const path = join(library.directory, name);
  const size = ["--vocabulary-size", `${VOCABULARY}`];
  await library.run("tokenizer", "--json", ...size, "--output", path, ...texts).event("tokenizer-created");
  return path;
}

const inGroup = (name: string, ...flags: string[]) => ["--tokenizer", tokenizer, "--group", name, ...flags];

/** A peer's embedding as it is on disk. */
async function embeddingOf(peer: GlossaProcess): Promise<Float32Array> {
  const { stateDirectory } = await peer.event("started");
  const checkpoint = await loadTrainerCheckpoint(join(stateDirectory, "trainer.checkpoint"));
  return checkpoint!.state.embedding;
}

const groupRounds = (peer: GlossaProcess) =>
  peer.events.flatMap((event) => (event.event === "group-round-applied" ? [event] : []));

it("two peers of one tokenizer end with one embedding, a third with its own, all with one body", async () => {
  run = await startRun(["--minimum-peers", "3", "--quorum", "1"]);
  const rounds = ["--rounds", "8"];
  const ada = run.peer("ada", english, ...inGroup("readers"), ...rounds);
  const ben = run.peer("ben", english, ...inGroup("readers"), ...rounds);
  const eve = run.peer("eve", spanish, "--vocabulary-size", `${VOCABULARY}`, ...rounds);
  const peers = [ada, ben, eve];
  const rows = await Promise.all(peers.map((peer) => peer.event("finished")));
  expect(await Promise.all(peers.map((peer) => peer.finished()))).toEqual([0, 0, 0]);

  const [first, ...others] = peers.map(rootsOf);
  expect(first!.size).toBe(8);
  for (const roots of others) expect(roots).toEqual(first);

  // Both took part in rounds of the group, and left it with the same bits, which are what they train with.
  const [ofAda, ofBen, ofEve] = await Promise.all(peers.map(embeddingOf));
  expect(ofAda).toHaveLength(VOCABULARY * WIDTH);
  expect(ofBen).toEqual(ofAda);
  expect(rows.map(({ group }) => group)).toEqual([
    { name: "readers", rounds: expect.any(Number), embeddingRoot: bodyRoot(ofAda!, sha256) },
    rows[0]!.group,
    undefined,
  ]);
  for (const peer of [ada, ben]) {
    expect(groupRounds(peer).filter(({ updates }) => updates === 2).length).toBeGreaterThanOrEqual(3);
  }
  expect(ofEve).not.toEqual(ofAda);
  expect(groupRounds(eve)).toEqual([]);
  for (const row of rows) expect(row.bitsPerByteEnd!).toBeLessThan(row.bitsPerByteStart! - 0.3);

  // What the third got is less than one embedding, whole or as an int8 update; the two exchanged many.
  expect(ofEve).toHaveLength(VOCABULARY * WIDTH);
  const payloads = peers.flatMap(({ events }) =>
    events.flatMap((event) => (event.event === "published" ? [event.payloadBytes] : [])),
  );
  expect(Math.max(...payloads)).toBeLessThan(10_000);
  const embeddingBytes = VOCABULARY * WIDTH;
  expect(rows[0]!.bytesReceived - rows[2]!.bytesReceived).toBeGreaterThan(3 * embeddingBytes);
  expect(rows[1]!.bytesReceived - rows[2]!.bytesReceived).toBeGreaterThan(3 * embeddingBytes);
});

it("a member that is killed comes back to what the group has, and both end with the same", async () => {
  run = await startRun(["--minimum-peers", "2", "--local-steps", "40"]);
  const flags = inGroup("readers", "--checkpoint-interval-seconds", "1", "--rounds", "16");
  const ada = run.peer("ada", english, ...flags);
  const ben = run.peer("ben", english, ...flags);
  await ben.event("group-round-applied", ({ round, updates }) => round >= 1 && updates === 2);
  expect(await ben.signal("SIGKILL")).toMatchObject({ signal: "SIGKILL" });

  const again = run.peer("ben", english, ...flags);
  const joined = await again.event("group-round-applied", ({ updates }) => updates === 2);
  expect(joined.round).toBeGreaterThan(1);
  const rows = await Promise.all([ada, again].map((peer) => peer.event("finished")));
  expect(await Promise.all([ada, again].map((peer) => peer.finished()))).toEqual([0, 0]);
  expect(rows[1]!.bodyRoot).toBe(rows[0]!.bodyRoot);
  expect(rows[1]!.group).toEqual(rows[0]!.group);
  expect(await embeddingOf(again)).toEqual(await embeddingOf(ada));
});

it("in variant spec members average the rows that their texts have in common", async () => {
  const common = await makeTokenizer("common.json", english, spanish);
  run = await startRun(["--variant", "spec", "--tokenizer", common, "--minimum-peers", "2", "--quorum", "1"]);
  const flags = ["--group", "readers", "--rounds", "6"];
  const peers = [run.peer("ada", english, ...flags), run.peer("ben", spanish, ...flags)];
  const rows = await Promise.all(peers.map((peer) => peer.event("finished")));
  expect(rows[1]!.group).toEqual(rows[0]!.group);

  const held = await Promise.all(
    peers.map(async (peer) => {
      const { stateDirectory } = await peer.event("started");
      const own = Tokenizer.fromJson(await readFile(join(stateDirectory, "tokenizer.json"), "utf8"));
      const ids = (await loadVocabularyRows(join(stateDirectory, "vocabulary.rows"), own.fingerprint))!;
      return { ids: [...ids], embedding: await embeddingOf(peer) };
    }),
  );
  const [ada, ben] = held as [(typeof held)[0], (typeof held)[0]];
  const rowOf = ({ ids, embedding }: typeof ada, id: number) =>
    embedding.subarray(ids.indexOf(id) * WIDTH, (ids.indexOf(id) + 1) * WIDTH);
  const both = ada.ids.filter((id) => ben.ids.includes(id));
  expect(both.length).toBeGreaterThan(256);
  expect(both.length).toBeLessThan(Math.min(ada.ids.length, ben.ids.length));
  for (const id of both) expect(rowOf(ben, id)).toEqual(rowOf(ada, id));
});

it("says that nobody else is in the group where tokenizers differ, and refuses one where rows are shared", async () => {
  run = await startRun(["--minimum-peers", "2"]);
  const ada = run.peer("ada", english, ...inGroup("readers"));
  const ben = run.peer("ben", spanish, "--vocabulary-size", `${VOCABULARY}`, "--group", "readers");
  await ada.event("round-applied", ({ round, updates }) => round >= 2 && updates === 2);

  const asked = run.bed.run("stats", "--name", "ada", "--json");
  expect(await asked.finished()).toBe(0);
  const { group, peers } = JSON.parse(asked.output) as PeerStatus;
  expect(peers).toHaveLength(1);
  expect(group).toMatchObject({ name: "readers", phase: "waiting", round: 0, peers: [] });
  const shown = run.bed.run("stats", "--name", "ada");
  expect(await shown.finished()).toBe(0);
  expect(shown.output).toContain("nobody else with the same tokenizer yet");
  for (const peer of [ada, ben]) {
    expect(await peer.signal("SIGINT")).toEqual({ code: 0, signal: null });
    expect(groupRounds(peer)).toEqual([]);
  }
  await run.bed.close();

  run = await startRun(["--variant", "glob", "--tokenizer", tokenizer]);
  const refused = run.peer("ada", english, "--group", "readers");
  expect(await refused.finished()).toBe(2);
  expect(refused.output).toContain("leave --group out");
});
