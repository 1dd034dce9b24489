// `glossa generate`: lets a model go on with a text, and shows the text while it is made.
import { randomInt } from "node:crypto";
import { text as textOf } from "node:stream/consumers";
import { z } from "zod";
import { Decoder } from "#model/inference/decoder.ts";
import { nodeConfigSchema } from "../config.ts";
import { type Generation, type GenerationReport, generateText } from "../generating/generate-text.ts";
import { loadModel } from "../models/load-model.ts";
import { eventWriter } from "../observability/events.ts";
import { decimal, flagSwitch, integer, setting, text } from "../settings.ts";
import { duration } from "../terminal/format.ts";
import { paintFor } from "../terminal/paint.ts";
import { defineCommand } from "./command.ts";

const LARGEST_SEED = 2 ** 32;
const CHOOSING = "Choosing";

export const generateCommand = defineCommand({
  name: "generate",
  summary: "Let a model go on with a text.",
  description:
    "Goes on with the prompt, token by token, and prints each as it is made. Without --prompt the prompt is read from " +
    "stdin, less one line break at its end; an empty one starts a new text. Runs on the CPU.",
  settings: z.object({
    model: setting(text("must be a model"), {
      description: "A model folder, or a peer of this machine: its name or its state directory.",
      value: "MODEL",
    }),
    global: setting(flagSwitch(), {
      description: "Of a peer in variant glob or trim, take the common embedding and tokenizer.",
    }),
    prompt: setting(z.string({ error: "must be a text" }).optional(), {
      description: "The text to go on with.",
      value: "TEXT",
      defaultText: "from stdin",
    }),
    maxTokens: setting(integer(1, 1_000_000).default(128), {
      description: "Tokens to make at most; fewer where the model ends the text.",
      value: "N",
    }),
    stop: setting(
      z.array(z.string({ error: "must be texts" }).min(1, { error: "must not be empty" })).default([]),
      {
        description: "End before this text.",
        value: "TEXT",
        list: true,
      },
    ),
    samples: setting(integer(1, 10_000).default(1), {
      description: "Texts to make, one after the other.",
      value: "N",
    }),
    temperature: setting(decimal(0, 100).default(0.8), {
      description: "Below 1 favours likely tokens, above 1 unlikely ones; 0 takes the likeliest always.",
      value: "T",
      group: CHOOSING,
    }),
    topK: setting(integer(0, 10_000_000).default(40), {
      description: "Choose among the K likeliest tokens only; 0 for all.",
      value: "K",
      group: CHOOSING,
    }),
    topP: setting(decimal(0, 1).default(0.95), {
      description: "Choose among the likeliest tokens that together hold this share of the probability.",
      value: "P",
      group: CHOOSING,
    }),
    seed: setting(integer(0, LARGEST_SEED).optional(), {
      description: "The same seed gives the same texts again.",
      value: "N",
      defaultText: "another each time",
      group: CHOOSING,
    }),
    threads: setting(nodeConfigSchema.shape.threads.clone(), {
      description: "CPU threads.",
      value: "N",
      defaultText: "all cores but one",
    }),
  }),
  examples: [
    ['glossa generate --model alice --prompt "In the beginning"', "A peer of this machine"],
    ["glossa generate --model model/ --temperature 0 < prompt.txt", "The likeliest text, always the same"],
    ["glossa generate --model model/ --prompt Once --samples 3 --seed 7 --json", "For programs"],
  ],
  async run({ model: reference, global, prompt: given, threads, seed: chosen, ...options }, context) {
    const { signal, stdout, stderr, environment, flags } = context;
    const seed = chosen ?? randomInt(LARGEST_SEED);
    const model = await loadModel(reference, { signal, global, environment });
    const prompt = given ?? (await promptFromStdin());
    const decoder = await Decoder.create({ ...model, threads });
    try {
      const paint = paintFor(stdout, environment);
      const isShown = !flags.json;
      if (isShown && stdout.isTTY) stdout.write(paint("dim", prompt));
      const generation = await generateText(
        { decoder, tokenizer: model.tokenizer },
        { ...options, prompt, seed: String(seed) },
        {
          onSample(sample) {
            if (isShown && sample > 0) stdout.write(`\n\n--- ${sample + 1} of ${options.samples} ---\n`);
          },
          onText(piece) {
            if (isShown) stdout.write(piece);
          },
        },
        signal,
      );
      if (flags.json) {
        const { source } = model;
        eventWriter(stdout)({
          event: "generated",
          model: reference,
          source,
          ...report(prompt, seed, generation),
        });
      } else {
        stdout.write("\n");
        stderr.write(`${speedLine(seed, generation)}\n`);
      }
    } finally {
      await decoder.dispose();
    }
  },
});

/** Nothing from a terminal: whoever gives no prompt there wants a text from its beginning. */
async function promptFromStdin(): Promise<string> {
  return process.stdin.isTTY ? "" : (await textOf(process.stdin)).replace(/\r?\n$/, "");
}

function tokensPerSecond({ samples, generatingMs }: Generation): number {
  const tokens = samples.reduce((sum, sample) => sum + sample.tokens.length, 0);
  return (1000 * tokens) / Math.max(generatingMs, 1e-3);
}

function report(prompt: string, seed: number, generation: Generation): GenerationReport {
  const { promptTokens, samples, promptMs } = generation;
  return {
    prompt: { text: prompt, tokens: promptTokens },
    seed,
    samples,
    promptMs: Math.round(promptMs),
    tokensPerSecond: Number(tokensPerSecond(generation).toFixed(1)),
  };
}

function speedLine(seed: number, generation: Generation): string {
  const { promptTokens, promptMs, generatingMs, samples } = generation;
  const tokens = samples.reduce((sum, sample) => sum + sample.tokens.length, 0);
  return (
    `${tokens} tokens in ${duration(generatingMs)}, ${tokensPerSecond(generation).toFixed(1)} tokens/s; ` +
    `prompt of ${promptTokens.length} in ${duration(promptMs)}; seed ${seed}`
  );
}
