// The variants whose peers share a tokenizer, with real processes: what is averaged, what travels, who comes late and who
// is killed.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { writeModelFolder } from "#model/checkpoint/model-folder.ts";
import { genesisBody, initialEmbedding } from "#model/genesis.ts";
import { Tokenizer } from "#model/tokenizer/tokenizer.ts";
import { parameterLayout } from "#protocol/core/layout.ts";
import { parseRunConfig, type RunConfig } from "#protocol/core/run-config.ts";
import { updateCodec } from "#protocol/core/update-codec.ts";
import { sha256 } from "#protocol/net/hash.ts";
import type { PeerStatus } from "../observability/status.ts";
import { loadVocabularyRows } from "../storage/vocabulary-rows.ts";
import { sharedTensorsOf } from "../variants.ts";
import { type GlossaProcess, TestBed } from "./processes.ts";
import { rootsOf, type SmallRun, scratchFile, startRun } from "./small-run.ts";

const CORPORA = ["en-novels", "es-scripture", "zh-poetry"] as const;
const TEXT_BYTES = 60_000;
const COMMON_VOCABULARY = 600;

/** One text for each peer, and a tokenizer that is trained on all of them. */
let texts: readonly string[];
let tokenizer: string;
let library: TestBed;
let run: SmallRun;

beforeAll(async () => {
  library = await TestBed.create();
  texts = await Promise.all(CORPORA.map((name) => library.corpus(name, TEXT_BYTES)));
  tokenizer = join(library.directory, "common.json");
  const made = library.run(
    ...["tokenizer", "--json", "--vocabulary-size", `${COMMON_VOCABULARY}`, "--output", tokenizer, ...texts],
  );
  await made.event("tokenizer-created");
});
afterAll(() => library.close());
afterEach(() => run.bed.close());

async function startVariant(variant: string, ...flags: string[]): Promise<RunConfig> {
  run = await startRun(["--variant", variant, "--tokenizer", tokenizer, ...flags]);
  const manifest = JSON.parse(await readFile(join(run.bed.directory, "run.json"), "utf8"));
  return parseRunConfig(manifest.config);
}

/** The common ids that a peer's own vocabulary stands for. */
async function rowsOf(peer: GlossaProcess): Promise<Int32Array | undefined> {
  const { stateDirectory } = await peer.event("started");
  const tokenizer = Tokenizer.fromJson(await readFile(join(stateDirectory, "tokenizer.json"), "utf8"));
  return loadVocabularyRows(join(stateDirectory, "vocabulary.rows"), tokenizer.fingerprint);
}

/** Bytes of an update of `config`, whatever its values are. */
function updateBytes(config: RunConfig, rows?: Int32Array): number {
  const layout = parameterLayout(sharedTensorsOf(config), sha256);
  return updateCodec(config, layout).encode(new Float32Array(layout.total).fill(0.01), rows).length;
}

const published = (peer: GlossaProcess) =>
  peer.events.flatMap((event) => (event.event === "published" ? [event.payloadBytes] : []));

it.each(["spec", "trim", "glob"] as const)(
  "in variant %s lets three texts train together",
  async (variant) => {
    // In three rounds of ten steps, a round taken ahead of its body is a third of all that is learnt. Updates of int4 are
    // as long whatever their values are.
    const flags = ["--minimum-peers", "3", "--quorum", "1", "--overlap", "off", "--codec", "int4"];
    const config = await startVariant(variant, ...flags);
    const peers = CORPORA.map((name, at) => run.peer(name, texts[at]!, "--rounds", "3"));
    const rows = await Promise.all(peers.map((peer) => peer.event("finished")));
    expect(await Promise.all(peers.map((peer) => peer.finished()))).toEqual([0, 0, 0]);

    // All agree after every round.
    const [first, ...others] = peers.map(rootsOf);
    expect([...first!.keys()]).toEqual([0, 1, 2]);
    for (const roots of others) expect(roots).toEqual(first);
    for (const row of rows) {
      expect(row).toMatchObject({
        variant,
        commonVocabularySize: COMMON_VOCABULARY,
        bodyRoot: first!.get(2),
      });
    }
    // In trim each text by itself need not gain: the others push down bytes that they hold and never use, of which Chinese is made.
    const gains = rows.map(({ bitsPerByteStart, bitsPerByteEnd }) => bitsPerByteStart! - bitsPerByteEnd!);
    expect(gains.reduce((sum, gain) => sum + gain) / gains.length).toBeGreaterThan(0.3);
    if (variant !== "trim") expect(Math.min(...gains)).toBeGreaterThan(0.2);

    for (const [at, peer] of peers.entries()) {
      const held = await rowsOf(peer);
      const size = rows[at]!.vocabularySize;
      if (variant === "glob") {
        expect({ held, size }).toEqual({ held: undefined, size: COMMON_VOCABULARY });
      } else {
        expect(held).toHaveLength(size);
        expect(size).toBeGreaterThan(256);
        expect(size).toBeLessThan(COMMON_VOCABULARY);
      }
      // What travels is the body, with the rows that are shared and held.
      expect(rows[at]!.heldRows).toBe(variant === "spec" ? undefined : size);
      const bytes = updateBytes(config, variant === "trim" ? held : undefined);
      expect(published(peer)).toEqual([bytes, bytes, bytes]);
    }
    const bodyAlone = updateBytes({ ...config, variant: "spec-opt", vocabulary: undefined });
    expect(updateBytes(config) === bodyAlone).toBe(variant === "spec");
  },
);

it("lets a newcomer join trim late, and gives it the tokenizer and the rows", async () => {
  await startVariant("trim", "--minimum-peers", "2", "--local-steps", "20");
  const [en, es] = [0, 1].map((at) => run.peer(CORPORA[at]!, texts[at]!));
  const { addresses } = await en!.event("listening");
  const met = await es!.event("round-applied", ({ round, updates }) => round >= 2 && updates === 2);
  await run.bootstrap.signal("SIGKILL");

  const zh = run.peer(CORPORA[2], texts[2]!, "--bootstrap", addresses[0]!);
  expect(await zh.event("tokenizer-ready")).toMatchObject({ trained: false });
  const joined = await zh.event("round-started");
  expect(joined.round).toBeGreaterThan(met.round);
  await zh.event("round-applied", ({ round, updates, bodyRoot }) => {
    return updates === 3 && [en!, es!].every((peer) => rootsOf(peer).get(round) === bodyRoot);
  });
  // The rows of bytes that the others have trained come with the body: there is nothing to fit first.
  expect(zh.events.some(({ event }) => event === "warming")).toBe(false);

  const { stateDirectory } = await zh.event("started");
  const stats = run.bed.run("stats", "--json", "--state-dir", stateDirectory);
  expect(await stats.finished()).toBe(0);
  const { training, traffic } = JSON.parse(stats.output) as PeerStatus;
  const held = (await rowsOf(zh))!.length;
  expect(training).toMatchObject({ variant: "trim", vocabularySize: held, heldRows: held });
  expect(training.commonVocabularySize).toBe(COMMON_VOCABULARY);
  // An eighth of float32 and a little (int4), of what an update of its rows has.
  expect(traffic.payloadRatio).toBeGreaterThan(6);
  expect(traffic.payloadRatio).toBeLessThan(8);
  for (const peer of [en!, es!, zh]) expect(await peer.signal("SIGINT")).toEqual({ code: 0, signal: null });
});

it("loses nothing of a trim peer that is killed and started again", async () => {
  await startVariant("trim", "--minimum-peers", "2", "--local-steps", "60");
  const flags = ["--checkpoint-interval-seconds", "1"];
  const en = run.peer("en", texts[0]!);
  const first = run.peer("es", texts[1]!, ...flags);
  const ready = await first.event("tokenizer-ready");
  const rows = await rowsOf(first);
  const before = await first.event("round-applied", ({ round }) => round === 1);
  await first.event("step", ({ round, step }) => round === before.round + 1 && step > 10);
  expect(await first.signal("SIGKILL")).toMatchObject({ signal: "SIGKILL" });

  const second = run.peer("es", texts[1]!, ...flags);
  expect(await second.event("tokenizer-ready")).toEqual(ready);
  expect(await rowsOf(second)).toEqual(rows);
  // In some round both have both updates in time; where one comes late, the two agree only afterwards.
  await second.event("round-applied", ({ round, updates, bodyRoot }) => {
    return updates === 2 && rootsOf(en).get(round) === bodyRoot;
  });
  const [, round, tokens] = /"resumed":\{"round":(\d+),.*?"totalTokens":(\d+)/.exec(second.output)!;
  expect(Number(round)).toBeGreaterThanOrEqual(before.round);
  expect(Number(tokens)).toBeGreaterThanOrEqual((before.round + 1) * 60 * 8 * 32);
  for (const peer of [en, second]) expect(await peer.signal("SIGINT")).toEqual({ code: 0, signal: null });
});

it("starts from a model that one peer brings and the others fetch from it", async () => {
  const model = { blocks: 1, width: 24, heads: 2, sequenceLength: 32, vocabularySize: COMMON_VOCABULARY };
  const folder = join(library.directory, "model");
  await writeModelFolder(folder, {
    config: model,
    body: genesisBody(model, "a model"),
    embedding: initialEmbedding(model, "a model"),
    tokenizer: await readFile(tokenizer, "utf8"),
  });
  const { initialBody } = await startVariant(
    "glob",
    ...["--body", folder, "--minimum-peers", "2", "--quorum", "1"],
  );
  const fetches = run.peer("fetches", texts[1]!, "--rounds", "2");
  await fetches.event("joined");
  const brings = run.peer("brings", texts[0]!, "--rounds", "2", "--body", folder);
  for (const peer of [brings, fetches]) {
    expect(await peer.event("round-started")).toMatchObject({ round: 0, bodyRoot: initialBody });
    expect(await peer.event("finished")).toMatchObject({ rounds: 2 });
  }
  expect(rootsOf(fetches)).toEqual(rootsOf(brings));
});

it("refuses a vocabulary that is not the run's", async () => {
  await startVariant("trim");
  const own = run.peer("own", texts[0]!, "--vocabulary-size", "400");
  expect(await own.finished()).toBe(2);
  expect(own.output).toMatch(
    /share one tokenizer of 600 tokens \(variant trim\): leave --vocabulary-size out/,
  );

  const foreign = await scratchFile(run.bed, "foreign.json", `${await readFile(tokenizer, "utf8")}\n`);
  const other = run.peer("other", texts[0]!, "--tokenizer", foreign);
  expect(await other.finished()).toBe(14);
  expect(other.output).toMatch(/foreign\.json is not the tokenizer of the run/);
});
