// A trainer whose process is really killed, again and again: nothing that it has learnt is lost, changed or counted twice.
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { bodyLength } from "#model/architecture.ts";
import type { CreateOptions, PrepareOptions } from "./messages.ts";
import type { RoundProgress } from "./round-progress.ts";
import type { TrainerCrash } from "./supervisor.ts";
import { Trainer, type TrainerOptions } from "./trainer.ts";

const corpus = fileURLToPath(new URL("../demo/corpora/es-scripture.txt.gz", import.meta.url));
const body = { blocks: 1, width: 16, heads: 2, sequenceLength: 16 };
const vocabularySize = 300;
const STEPS = 30;
/** More than V8 needs to go on, less than a step does. */
const SLACK_BYTES = 64 * 2 ** 20;
const never = new AbortController().signal;

let directory: string;
/** Tokenizer and tokens, made once. */
let shared: Omit<PrepareOptions, "paths">;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "glossa-crash-"));
  shared = {
    textField: "text",
    vocabulary: { kind: "own", tokenizerPath: undefined, vocabularySize },
    tokenizerFile: join(directory, "tokenizer.json"),
    rowsFile: join(directory, "vocabulary.rows"),
    cacheDirectory: join(directory, "tokens"),
    minimumValidationTokens: 100,
  };
});
const open: Trainer[] = [];
afterEach(() => Promise.all(open.splice(0).map((trainer) => trainer.close())));
afterAll(() => rm(directory, { recursive: true, force: true }));

interface Watched {
  readonly trainer: Trainer;
  readonly genesis: Float32Array;
  readonly crashes: TrainerCrash[];
  readonly resumed: (RoundProgress | undefined)[];
  kill(signal: NodeJS.Signals): void;
}

function watched(options: TrainerOptions = {}): Omit<Watched, "genesis"> & { readonly pids: number[] } {
  const pids: number[] = [];
  const crashes: TrainerCrash[] = [];
  const resumed: (RoundProgress | undefined)[] = [];
  const trainer = new Trainer({
    restartDelaysMs: [0],
    ...options,
    onStart: (pid) => {
      pids.push(pid);
      options.onStart?.(pid);
    },
    onCrash: (crash) => crashes.push(crash),
    onResume: (progress) => resumed.push(progress),
  });
  open.push(trainer);
  return { trainer, crashes, resumed, pids, kill: (signal) => process.kill(pids.at(-1)!, signal) };
}

function optionsOf(name: string, genesis: Float32Array, more: Partial<CreateOptions>): CreateOptions {
  return {
    body,
    genesis,
    sharedVocabularySize: undefined,
    optimizer: {
      learningRate: 0.01,
      beta1: 0.9,
      beta2: 0.95,
      epsilon: 1e-8,
      weightDecay: 0,
      gradientClip: 1,
      warmupSteps: 1,
      totalSteps: 100,
      finalLearningRateRatio: 0.1,
    },
    batchSize: 4,
    plan: { localSteps: STEPS, momentsAcrossRounds: "keep", checkpointIntervalMs: 1e9 },
    device: "auto",
    threads: 1,
    privateSeed: "mine",
    checkpointFile: join(directory, `${name}.checkpoint`),
    evaluationTokens: 64,
    ...more,
  };
}

/** Ready to train, from the same seeds every time. */
async function training(
  name: string,
  checkpointIntervalMs: number,
  more: Partial<CreateOptions> = {},
): Promise<Watched> {
  const watch = watched();
  const { trainer } = watch;
  await trainer.prepare({ ...shared, paths: [corpus] }, () => undefined, never);
  const genesis = await trainer.genesis(body, undefined, "1", never);
  const plan = { localSteps: STEPS, momentsAcrossRounds: "keep", checkpointIntervalMs } as const;
  await trainer.create(optionsOf(name, genesis, { plan, ...more }), never);
  return { ...watch, genesis };
}

const moved = (from: Float32Array, delta: Float32Array) => from.map((value, at) => value - delta[at]!);

/** Resolves when a crash has been got over. */
const recovered = (watch: Watched) => watch.trainer.evaluate(watch.genesis, never);

it("trains on to the same bits with the text that it had, whatever has become of it", async () => {
  const text = join(directory, "text.txt");
  const tokenizerPath = join(directory, "given.json");
  const lives = { ...shared, paths: [text], cacheDirectory: join(directory, "other-tokens") };
  const start = async (name: string, vocabulary: PrepareOptions["vocabulary"]) => {
    const watch = watched();
    const { trainer } = watch;
    const genesis = await trainer.genesis(body, undefined, "1", never);
    await trainer.prepare({ ...lives, vocabulary }, () => undefined, never);
    await trainer.create(optionsOf(name, genesis, { device: "cpu" }), never);
    return { ...watch, genesis };
  };
  await writeFile(
    text,
    gunzipSync(await readFile(corpus))
      .toString("utf8")
      .slice(0, 100_000),
  );
  const calm = await start("calm-text", shared.vocabulary);
  const expected = await calm.trainer.trainRound(0, calm.genesis, false, () => undefined, never);

  await writeFile(tokenizerPath, await readFile(shared.tokenizerFile));
  const shaken = await start("shaken-text", { kind: "own", tokenizerPath, vocabularySize: undefined });
  await Promise.all([text, tokenizerPath].map((path) => rm(path)));
  let isKilled = false;
  const onStep = () => {
    if (!isKilled) shaken.kill("SIGKILL");
    isKilled = true;
  };
  const { delta } = await shaken.trainer.trainRound(0, shaken.genesis, false, onStep, never);
  expect(shaken.crashes).toHaveLength(1);
  expect(delta).toEqual(expected.delta);
});

it.each([
  { checkpoints: "after every step", intervalMs: 0 },
  { checkpoints: "at the ends of rounds alone", intervalMs: 1e9 },
])("trains to the same bits whatever kills it on the way, with checkpoints $checkpoints", async (given) => {
  const { intervalMs } = given;
  const calm = await training(`calm-${intervalMs}`, intervalMs);
  const first = await calm.trainer.trainRound(0, calm.genesis, false, () => undefined, never);
  const base = moved(calm.genesis, first.delta);
  const second = await calm.trainer.trainRound(1, base, false, () => undefined, never);
  const bitsPerByte = await calm.trainer.evaluate(base, never);

  const shaken = await training(`shaken-${intervalMs}`, intervalMs);
  const killAt = new Map<number, NodeJS.Signals>([
    [5, "SIGSEGV"],
    [12, "SIGABRT"],
    [20, "SIGKILL"],
  ]);
  const seen: number[] = [];
  const onStep = (step: number) => {
    seen.push(step);
    const signal = killAt.get(step);
    killAt.delete(step);
    if (signal !== undefined) shaken.kill(signal);
  };
  const { computeMs: _, ...again } = await shaken.trainer.trainRound(0, shaken.genesis, false, onStep, never);
  expect(first).toMatchObject(again);
  // One restart is all it has in a row; each crash came after steps that were new.
  expect(shaken.crashes.map(({ ending, crashes }) => [ending.signal, crashes])).toEqual([
    ["SIGSEGV", 1],
    ["SIGABRT", 1],
    ["SIGKILL", 1],
  ]);
  if (intervalMs === 0) {
    expect(shaken.resumed.map((progress) => progress?.round)).toEqual([0, 0, 0]);
    expect(shaken.resumed.every((progress) => progress!.step >= 4)).toBe(true);
    expect(seen.length).toBeLessThan(2 * STEPS);
  } else {
    expect(shaken.resumed).toEqual([undefined, undefined, undefined]);
    expect(seen.length).toBeGreaterThan(STEPS + 5 + 12 + 19);
  }

  // Between rounds, with nothing asked of it; the one before it was interrupted in a save.
  await writeFile(join(directory, `shaken-${intervalMs}.checkpoint.0123456789ab.partial`), "half of a check");
  shaken.kill("SIGKILL");
  expect(await shaken.trainer.evaluate(base, never)).not.toBeNaN();
  const third = await shaken.trainer.trainRound(1, base, false, () => undefined, never);
  expect(third.delta).toEqual(second.delta);
  expect(await shaken.trainer.evaluate(base, never)).toBe(bitsPerByte);
  expect(shaken.resumed.at(-1)).toMatchObject({ round: 0, step: STEPS });
  expect((await readdir(directory)).filter((name) => name.endsWith(".partial"))).toEqual([]);
});

it("carries nothing twice when a round is called off while its process is gone", async () => {
  const calm = await training("calm-carry", 1e9);
  const published = await calm.trainer.trainRound(0, calm.genesis, false, () => undefined, never);
  const base = moved(calm.genesis, published.delta);
  await expect(
    calm.trainer.trainRound(1, base, false, () => undefined, AbortSignal.abort()),
  ).rejects.toMatchObject({ name: "AbortError" });
  const expected = await calm.trainer.trainRound(2, calm.genesis, true, () => undefined, never);

  const shaken = await training("shaken-carry", 1e9);
  await shaken.trainer.trainRound(0, shaken.genesis, false, () => undefined, never);
  const controller = new AbortController();
  const onStep = (step: number) => {
    if (step !== 3) return;
    shaken.kill("SIGKILL");
    controller.abort();
  };
  await expect(shaken.trainer.trainRound(1, base, false, onStep, controller.signal)).rejects.toMatchObject({
    name: "AbortError",
  });
  expect(shaken.resumed).toMatchObject([{ round: 0, step: STEPS }]);
  const result = await shaken.trainer.trainRound(2, shaken.genesis, true, () => undefined, never);
  expect(result.delta).toEqual(expected.delta);
});

it("gives a group what it would have got, and takes its base again where no checkpoint has it", async () => {
  const deltas: Float32Array[][] = [];
  for (const disturbed of [false, true]) {
    const embedding = new Float32Array(vocabularySize * body.width).fill(0.01);
    const watch = await training(`group-${disturbed}`, 1e9, { group: { runId: "ab".repeat(32), embedding } });
    const { trainer, genesis } = watch;
    const disturb = async () => {
      if (!disturbed) return;
      watch.kill("SIGSEGV");
      await recovered(watch);
    };
    await trainer.enterGroup(0, embedding, false);
    await disturb();
    const waiting = trainer.collectGroup("round-end", never);
    let mayKill = disturbed;
    const onStep = (step: number) => {
      if (step === 9 && mayKill) watch.kill("SIGABRT");
      if (step === 9) mayKill = false;
    };
    await trainer.trainRound(0, genesis, false, onStep, never);
    const first = await waiting;
    await disturb();
    await trainer.enterGroup(1, moved(embedding, first.delta), false);
    await disturb();
    await trainer.trainRound(1, genesis, false, () => undefined, never);
    const second = await trainer.collectGroup("now", never);
    expect(watch.crashes).toHaveLength(disturbed ? 4 : 0);
    deltas.push([first.delta, second.delta]);
  }
  expect(deltas[1]).toEqual(deltas[0]);
});

it("gives up after crashes with nothing learnt between them, and says what helps", async () => {
  const { trainer, crashes } = watched({
    restartDelaysMs: [0, 0],
    onStart: (pid) => process.kill(pid, "SIGSEGV"),
  });
  const genesis = trainer.genesis(body, undefined, "1", never);
  await expect(genesis).rejects.toMatchObject({
    code: "TRAINER_CRASHED",
    crashes: 3,
    message: expect.stringMatching(
      /3 times .* not its own \(SIGSEGV\); take another --device, a smaller --micro-batch/,
    ),
  });
  expect(crashes.map(({ restartInMs }) => restartInMs)).toEqual([0, 0, undefined]);
  await expect(trainer.genesis(body, undefined, "1", never)).rejects.toMatchObject({ crashes: 3 });
});

// Needs util-linux.
it.runIf(process.platform === "linux")(
  "tells that memory runs out, where onnxruntime finds none",
  async () => {
    const roomy = { ...body, blocks: 2, width: 128, sequenceLength: 128 };
    const watch = watched({ restartDelaysMs: [] });
    const { trainer, pids, crashes } = watch;
    await trainer.prepare({ ...shared, paths: [corpus] }, () => undefined, never);
    const genesis = await trainer.genesis(roomy, undefined, "1", never);
    await trainer.create(optionsOf("short", genesis, { body: roomy, batchSize: 512, device: "cpu" }), never);
    // What can be written to: of addresses V8 reserves gigabytes, and gives them back when it likes.
    const [, kibibytes] = /VmData:\s+(\d+)/.exec(await readFile(`/proc/${pids[0]}/status`, "utf8"))!;
    execFileSync("prlimit", ["--pid", `${pids[0]}`, `--data=${1024 * Number(kibibytes) + SLACK_BYTES}`]);
    await expect(trainer.trainRound(0, genesis, false, () => undefined, never)).rejects.toMatchObject({
      code: "TRAINER_CRASHED",
      message: expect.stringMatching(
        /memory ran out .*; take a smaller --micro-batch or --recompute, and start/,
      ),
    });
    expect(crashes.map(({ cause }) => cause.kind)).toEqual(["memory"]);
  },
);

/** Where nobody collects the dead, as in many a container, they keep their ids. */
async function isAlive(pid: number): Promise<boolean> {
  try {
    process.kill(pid, 0);
    return (
      process.platform !== "linux" || !/^State:\s+Z/m.test(await readFile(`/proc/${pid}/status`, "utf8"))
    );
  } catch {
    return false;
  }
}

it("ends with the peer's process, also where that is killed", async () => {
  const url = new URL("./trainer.ts", import.meta.url).href;
  const program = `import { Trainer } from ${JSON.stringify(url)};
    new Trainer({ onStart: (pid) => console.log(pid) });`;
  const parent: ChildProcess = spawn(process.execPath, ["--input-type=module", "--eval", program], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [line] = (await once(parent.stdout!, "data")) as [Buffer];
  const trainer = Number(line);
  expect(await isAlive(trainer)).toBe(true);
  parent.kill("SIGKILL");
  await once(parent, "close");
  await expect.poll(() => isAlive(trainer), { timeout: 20_000 }).toBe(false);
});

it("leaves Ctrl-C and a service manager's signals to the peer", async () => {
  const { trainer, crashes, pids } = watched();
  expect(await trainer.genesis(body, undefined, "1", never)).toHaveLength(bodyLength(body));
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.kill(pids[0]!, signal);
  expect(await trainer.genesis(body, undefined, "2", never)).toHaveLength(bodyLength(body));
  expect(crashes).toEqual([]);
});

it.each([
  { checkpoints: "after every step", intervalMs: 0 },
  { checkpoints: "at the ends of rounds alone", intervalMs: 1e9 },
])(
  "goes ahead of a round to the same bits when it is killed, with checkpoints $checkpoints",
  async (given) => {
    const killFrom = [5, 20];
    let kills = 0;
    const aheadOf = async (name: string, onStep: (watch: Watched, step: number) => void) => {
      const watch = await training(`${name}-${given.intervalMs}`, given.intervalMs);
      const { trainer, genesis } = watch;
      const { delta } = await trainer.trainRound(0, genesis, false, () => undefined, never);
      await trainer.trainAhead(1, (step) => onStep(watch, step), never);
      const base = moved(genesis, delta).map((value) => value + 0.01);
      const { delta: learnt, tokens } = await trainer.trainRound(1, base, false, () => undefined, never);
      return { result: { learnt, tokens }, crashes: watch.crashes };
    };
    const calm = await aheadOf("ahead-calm", () => undefined);
    const shaken = await aheadOf("ahead-shaken", (watch, step) => {
      // Never the same process twice: what it had said before it died is still heard.
      if (step < (killFrom[kills] ?? STEPS + 1) || watch.crashes.length < kills) return;
      kills++;
      watch.kill("SIGKILL");
    });
    expect(shaken.crashes.length).toBeGreaterThan(0);
    expect(shaken.result).toEqual(calm.result);
    expect(calm.result.tokens).toBe(STEPS * 4 * body.sequenceLength);
  },
);
