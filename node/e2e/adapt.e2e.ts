// What comes after peers have trained, with real processes: their model is evaluated, adapted to another language, and made
// the beginning of another run.
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { readModelFolder } from "#model/checkpoint/model-folder.ts";
import { loadModel } from "../models/load-model.ts";
import type { GlossaEvent } from "../observability/events.ts";
import type { GlossaProcess } from "./processes.ts";
import { LOOPBACK, rootsOf, type SmallRun, startRun } from "./small-run.ts";

type EventOf<Name extends GlossaEvent["event"]> = Extract<GlossaEvent, { event: Name }>;

function eventsOf<Name extends GlossaEvent["event"]>(process: GlossaProcess, name: Name): EventOf<Name>[] {
  return process.events.filter((event): event is EventOf<Name> => event.event === name);
}

let run: SmallRun;
let english: string;
let spanish: string;
/** A peer that has trained on Spanish and left. */
let spaniard: string;
beforeAll(async () => {
  run = await startRun();
  english = await run.bed.corpus("en-novels", 150_000);
  spanish = await run.bed.corpus("es-scripture", 150_000);
  const peer = run.peer("es", spanish, "--vocabulary-size", "400", "--rounds", "10");
  spaniard = (await peer.event("started")).stateDirectory;
  await peer.event("finished");
  expect(await peer.finished()).toBe(0);
});
afterAll(() => run.bed.close());

const path = (name: string) => join(run.bed.directory, name);

async function done(...args: string[]): Promise<GlossaProcess> {
  const process = run.bed.run(...args);
  expect(await process.finished(), process.output).toBe(0);
  return process;
}

/** Bits per byte of a model on a text, as `glossa eval` has them. */
async function evaluated(model: string, text: string, ...flags: string[]): Promise<number> {
  const limits = ["--max-bytes", "40000", "--device", "cpu", "--threads", "1"];
  const evaluation = await done("eval", "--json", "--model", model, ...limits, ...flags, text);
  return eventsOf(evaluation, "evaluation")[0]!.bitsPerByte;
}

function adapting(output: string, ...flags: string[]): string[] {
  return [
    ...[
      "adapt",
      "--json",
      "--output",
      path(output),
      "--batch-size",
      "8",
      "--threads",
      "1",
      "--device",
      "cpu",
    ],
    ...["--evaluate-every-steps", "50", "--evaluation-tokens", "4096", ...flags],
  ];
}

async function filesOf(output: string): Promise<Record<string, string>> {
  const names = (await readdir(path(output))).filter((name) => name !== ".adapt");
  const contents = names.map(async (name) => [name, await readFile(path(join(output, name)), "hex")]);
  return Object.fromEntries(await Promise.all(contents));
}

it("evaluates a peer by its name while it trains, and leaves it alone", async () => {
  const peer = run.peer("en", english, "--vocabulary-size", "400");
  const before = await peer.event("round-applied", ({ round }) => round >= 3);
  expect(await evaluated("en", english)).toBeLessThan(await evaluated(spaniard, english));
  await peer.event("round-applied", ({ round }) => round > before.round + 1);
  expect(await peer.signal("SIGINT")).toEqual({ code: 0, signal: null });
});

it("adapts what peers have trained to a language that none of them had", async () => {
  const foreign = await evaluated(spaniard, english);
  const target = ["--model", spaniard, "--vocabulary-size", "450", "--steps", "200", english];
  const whole = await done(...adapting("whole", ...target));
  const curve = eventsOf(whole, "curve-point");
  expect(curve.map(({ step }) => step)).toEqual([0, 50, 100, 150, 200]);
  expect(curve.at(-1)!.bitsPerByte).toBeLessThan(curve[0]!.bitsPerByte - 0.7);
  const adapted = await evaluated(path("whole"), english);
  expect(adapted).toBeLessThan(foreign - 1);

  // The embedding alone learns too, on a body that stays as it is.
  await done(...adapting("frozen", "--freeze-body", ...target));
  const frozen = await evaluated(path("frozen"), english);
  expect(frozen).toBeLessThan(foreign - 0.5);
  const { body } = await loadModel(spaniard, { signal: AbortSignal.timeout(10_000) });
  expect((await readModelFolder(path("frozen"))).body).toEqual(body);
  expect((await readModelFolder(path("whole"))).body).not.toEqual(body);

  // What it has become is a model like any other.
  await done("export", "--model", path("whole"), "--output", path("exported"));
  expect(await evaluated(path("exported"), english)).toBe(adapted);
  const text = await done("generate", "--model", path("whole"), "--prompt", "It is", "--max-tokens", "8");
  expect(text.output.length).toBeGreaterThan(0);
});

it("resumes an adaptation that was killed, and one that was stopped, to the same bytes", async () => {
  const flags = [
    "--model",
    spaniard,
    "--keep-vocabulary",
    "--embedding",
    "random",
    "--steps",
    "1500",
    spanish,
  ];
  const saving = ["--checkpoint-interval-seconds", "0.1"];
  await done(...adapting("undisturbed", ...flags));

  const killed = run.bed.run(...adapting("disturbed", ...saving, ...flags));
  const saved = await killed.event("saved");
  expect(await killed.signal("SIGKILL")).toMatchObject({ signal: "SIGKILL" });

  const stopped = run.bed.run(...adapting("disturbed", ...saving, ...flags));
  const resumed = await stopped.event("adapting");
  expect(resumed.step).toBeGreaterThanOrEqual(saved.step);
  await stopped.event("curve-point", ({ step }) => step >= resumed.step + 50);
  expect(await stopped.signal("SIGINT")).toMatchObject({ code: 130 });

  const last = await done(...adapting("disturbed", ...saving, ...flags));
  const from = eventsOf(last, "adapting")[0]!.step;
  expect(from).toBeGreaterThan(resumed.step);
  expect(await filesOf("disturbed")).toEqual(await filesOf("undisturbed"));
});

it("makes a run out of a model: the first peer brings it, the second gets it, and both are ahead", async () => {
  await done("export", "--model", spaniard, "--output", path("es-model"));
  const { addresses } = await run.bootstrap.event("listening");
  const terms = [
    "--batch-size",
    "8",
    "--local-steps",
    "10",
    "--learning-rate",
    "0.005",
    "--minimum-peers",
    "2",
  ];
  const make = async (name: string, ...from: string[]) => {
    const output = ["--output", path(`${name}.json`), "--bootstrap", addresses[0]!];
    const made = await done(...from, "--json", "--name", name, ...terms, ...output);
    return eventsOf(made, "run-created")[0]!;
  };
  const start = (invite: string, name: string, text: string, size: string, ...flags: string[]) =>
    run.bed.run(
      ...["peer", "--join", invite, "--name", name, "--data", text, "--listen", LOOPBACK, "--rounds", "3"],
      ...["--device", "cpu", "--threads", "1", "--events", "json", "--log-format", "json"],
      ...["--vocabulary-size", size, ...flags],
    );
  const train = async (invite: string, name: string, ...first: string[]) => {
    const peers = [
      start(invite, `${name}-es`, spanish, "400", ...first),
      start(invite, `${name}-en`, english, "450"),
    ];
    const rows = await Promise.all(peers.map((peer) => peer.event("finished")));
    const [roots, others] = peers.map(rootsOf);
    expect(roots!.size).toBe(3);
    expect(others).toEqual(roots);
    return rows.map(({ bitsPerByteEnd }) => bitsPerByteEnd!);
  };

  const size = ["--blocks", "1", "--width", "24", "--heads", "2", "--sequence-length", "32"];
  const imported = await make("imported", "import", path("es-model"));
  const seeded = await make("seeded", "init", ...size);
  const [after, anew] = await Promise.all([
    train(imported.invite, "imported", "--body", path("es-model")),
    train(seeded.invite, "seeded"),
  ]);
  for (const [at, bits] of after.entries()) expect(bits).toBeLessThan(anew[at]!);
});
