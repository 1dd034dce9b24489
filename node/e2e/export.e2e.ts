// From a peer to a model that others use: what `glossa generate` says, transformers.js says of the exported model too.
// @huggingface/transformers runs on the onnxruntime-node that glossa has; it is allowed no network.
import { spawn } from "node:child_process";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import {
  AutoModelForCausalLM,
  AutoTokenizer,
  env,
  type PreTrainedModel,
  type PreTrainedTokenizer,
  type Tensor,
} from "@huggingface/transformers";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { exportModel } from "../generating/export-model.ts";
import type { Sample } from "../generating/generate-text.ts";
import { loadModel } from "../models/load-model.ts";
import type { GlossaProcess } from "./processes.ts";
import { type SmallRun, startRun } from "./small-run.ts";

const LAUNCHER = fileURLToPath(new URL("../bin/glossa.js", import.meta.url));
/** Texts of one, two and three bytes a character; the last has letters that the corpus never had. */
const PROMPTS = ["It was", "She said, “No", "The  old\n\nman é 诗"];
const TOKENS = 60;
/** What no untrained model says. */
const WORDS = / (the|and|to|of|in|he|was|had) /;

let run: SmallRun;
let peer: GlossaProcess;
let place = "";
beforeAll(async () => {
  // Three heads: a number for which ALiBi's slopes come in another order.
  const model = ["--blocks", "2", "--width", "48", "--heads", "3", "--sequence-length", "48"];
  // Of sparse updates so few rounds would leave most in the residuals, and the body would have learnt little.
  const rounds = ["--minimum-peers", "1", "--rounds", "1000", "--local-steps", "50", "--codec", "int4"];
  run = await startRun([...rounds, ...model]);
  place = run.bed.directory;
  const corpus = await run.bed.corpus("en-novels", 300_000);
  peer = run.peer("en", corpus, "--vocabulary-size", "500", "--state-dir", join(place, "en"));
  await peer.event("round-applied", ({ round }) => round === 8);
  env.allowRemoteModels = false;
  env.useFSCache = false;
  env.localModelPath = `${place}/`;
});
afterAll(() => run.bed.close());

interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `glossa` to its end. */
async function glossa(args: readonly string[], stdin = ""): Promise<Outcome> {
  const child = spawn(process.execPath, [LAUNCHER, ...args], {
    env: { ...process.env, NO_COLOR: "1", GLOSSA_RUNTIME_DIR: join(place, "runtime") },
    stdio: "pipe",
    timeout: 60_000,
  });
  child.stdin.end(stdin);
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)]);
  const code = await new Promise<number | null>((resolve) => {
    if (child.exitCode !== null) resolve(child.exitCode);
    else child.once("exit", resolve);
  });
  return { code, stdout, stderr };
}

async function greedy(model: string, prompt: string) {
  const flags = ["--temperature", "0", "--max-tokens", String(TOKENS), "--threads", "1", "--json"];
  const { code, stdout, stderr } = await glossa(["generate", "--model", model, "--prompt", prompt, ...flags]);
  expect(code, stderr).toBe(0);
  const result = JSON.parse(stdout) as { prompt: { tokens: number[] }; samples: Sample[] };
  return { prompt: result.prompt.tokens, sample: result.samples[0]! };
}

describe("the body of a running peer", () => {
  beforeAll(async () => {
    // By its name, while it trains; then it leaves, so that what is compared stands still.
    const exported = await glossa(["export", "--model", "en", "--output", join(place, "en-running")]);
    expect(exported.code, exported.stderr).toBe(0);
    expect(await peer.signal("SIGINT")).toEqual({ code: 0, signal: null });
    for (const format of ["hf", "onnx"]) {
      const output = join(place, `en-${format}`);
      const { code, stderr } = await glossa([
        ...["export", "--model", join(place, "en"), "--format", format, "--output", output],
      ]);
      expect(code, stderr).toBe(0);
    }
  });

  it("is exported by the peer's name while it trains", async () => {
    const { sample } = await greedy(join(place, "en-running"), "It was");
    expect(sample.text).toMatch(WORDS);
    const about = JSON.parse(await readFile(join(place, "en-running", "glossa.json"), "utf8"));
    expect(about.round).toBeGreaterThanOrEqual(8);
  });

  it("has learnt, and says the same from the peer's state as from the exported folder", async () => {
    const [state, folder] = [
      await greedy(join(place, "en"), "It was"),
      await greedy(join(place, "en-hf"), "It was"),
    ];
    expect(folder).toEqual(state);
    expect(state.sample.tokens).toHaveLength(TOKENS);
    expect(state.sample.text).toMatch(WORDS);
  });

  describe("in transformers.js", () => {
    let tokenizer: PreTrainedTokenizer;
    let model: PreTrainedModel;
    beforeAll(async () => {
      tokenizer = await AutoTokenizer.from_pretrained("en-onnx");
      model = await AutoModelForCausalLM.from_pretrained("en-onnx");
    });
    afterAll(() => model.dispose());

    async function generate(prompts: string | string[]): Promise<number[][]> {
      const inputs = tokenizer(prompts, { padding: true });
      const output = (await model.generate({
        ...inputs,
        max_new_tokens: TOKENS,
        do_sample: false,
      })) as Tensor;
      const length = (inputs.input_ids as Tensor).dims[1]!;
      return (output.tolist() as bigint[][]).map((row) => row.slice(length).map(Number));
    }

    it.each(PROMPTS)("goes on from %j with the same tokens as glossa generate", async (prompt) => {
      const { prompt: ids, sample } = await greedy(join(place, "en-hf"), prompt);
      expect(tokenizer.encode(prompt)).toEqual(ids);
      expect(tokenizer.decode(ids)).toBe(prompt);
      expect(await generate(prompt)).toEqual([sample.tokens]);
      expect(tokenizer.decode([...sample.tokens])).toBe(sample.text);
    });

    it("goes on from prompts in one padded batch as from each alone", async () => {
      const alone = [];
      for (const prompt of PROMPTS) alone.push((await generate(prompt))[0]);
      expect(await generate(PROMPTS)).toEqual(alone);
    });

    it("gives every text of the corpus the ids that it was trained on, and the text back", async () => {
      const { tokenizer: own } = await loadModel(join(place, "en-hf"), {
        signal: new AbortController().signal,
      });
      const corpus = await readFile(join(place, "en-novels.txt"), "utf8");
      const pieces = Array.from({ length: 30 }, (_, at) => corpus.slice(at * 9_000, at * 9_000 + 700));
      for (const piece of [...pieces, " \t\n x  y\n", "naïve 诗🎉", "it's “I’ll”"]) {
        expect(piece.length).toBeGreaterThan(5);
        const ids = tokenizer.encode(piece);
        expect(ids).toEqual([...own.encode(piece)]);
        expect(tokenizer.decode(ids)).toBe(piece);
      }
    });

    it("says the same with its weights in files beside the model", async () => {
      const { signal } = new AbortController();
      const loaded = await loadModel(join(place, "en-hf"), { signal });
      const options = { format: "onnx", force: false, largestFileBytes: 30_000 } as const;
      await exportModel(loaded, join(place, "en-parts"), options, signal);
      expect((await readdir(join(place, "en-parts", "onnx"))).length).toBeGreaterThan(2);
      const whole = await generate(PROMPTS[0]!);
      const parts = await AutoModelForCausalLM.from_pretrained("en-parts");
      const inputs = tokenizer(PROMPTS[0]!);
      const output = (await parts.generate({
        ...inputs,
        max_new_tokens: TOKENS,
        do_sample: false,
      })) as Tensor;
      const [row] = output.tolist() as bigint[][];
      expect(row!.slice(-TOKENS).map(Number)).toEqual(whole[0]);
      await parts.dispose();
    });
  });
});

describe("glossa generate", () => {
  const model = () => ["generate", "--model", join(place, "en-hf"), "--threads", "1"];

  it("goes on with stdin, the same for the same seed, and says on stderr how fast it was", async () => {
    const flags = [...model(), "--seed", "5", "--max-tokens", "40"];
    const piped = await glossa(flags, "It was\n");
    const given = await glossa([...flags, "--prompt", "It was"]);
    expect(piped.code, piped.stderr).toBe(0);
    expect(piped.stdout).toBe(given.stdout);
    expect(piped.stderr).toMatch(/^40 tokens in .+, \d[\d.]* tokens\/s; prompt of \d+ in .+; seed 5\n$/);
    const json = await glossa([...flags, "--prompt", "It was", "--json"]);
    expect(`${JSON.parse(json.stdout).samples[0].text}\n`).toBe(given.stdout);
    const other = await glossa([...model(), "--seed", "6", "--max-tokens", "40"], "It was");
    expect(other.stdout).not.toBe(given.stdout);
  });

  it("makes several texts, each up to where it is told to end", async () => {
    const flags = ["--prompt", "It was", "--samples", "3", "--seed", "1", "--stop", " ", "--stop", "e"];
    const { stdout } = await glossa([...model(), ...flags, "--json"]);
    const { samples } = JSON.parse(stdout) as { samples: Sample[] };
    expect(samples).toHaveLength(3);
    expect(samples.filter(({ end }) => end === "stop").length).toBeGreaterThan(0);
    for (const { text: made, end } of samples) if (end === "stop") expect(made).not.toMatch(/[ e]/);
    const shown = await glossa([...model(), ...flags]);
    expect(shown.stdout.match(/--- \d of 3 ---/g)).toEqual(["--- 2 of 3 ---", "--- 3 of 3 ---"]);
  });

  it("and export say what is wrong with a folder and what to do", async () => {
    const full = await glossa([
      "export",
      "--model",
      join(place, "en-hf"),
      "--output",
      join(place, "en-onnx"),
    ]);
    expect([full.code, full.stderr]).toEqual([18, expect.stringMatching(/is not empty.*--force/)]);
    const other = join(place, "llama");
    await mkdir(other);
    await writeFile(join(other, "config.json"), JSON.stringify({ model_type: "llama" }));
    const wrong = await glossa(["generate", "--model", other, "--prompt", ""]);
    expect([wrong.code, wrong.stderr]).toEqual([17, expect.stringMatching(/model_type is "llama".*MPT/)]);
    const usage = await glossa([...model(), "--top-p", "1.5"]);
    expect([usage.code, usage.stderr]).toEqual([
      2,
      expect.stringMatching(/--top-p must be a number from 0 to 1/),
    ]);
  });
});
