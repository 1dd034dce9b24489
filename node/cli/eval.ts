// `glossa eval`: how well models predict texts, in numbers that compare.
import { readFile } from "node:fs/promises";
import { z } from "zod";
import { Tokenizer } from "#model/tokenizer/tokenizer.ts";
import { nodeConfigSchema } from "../config.ts";
import { evaluateModel, sourcesOf } from "../evaluating/evaluate-model.ts";
import { evaluationEvents, evaluationText, type ModelEvaluation } from "../evaluating/report.ts";
import { type LoadedModel, loadModel } from "../models/load-model.ts";
import { eventWriter } from "../observability/events.ts";
import { choice, flagSwitch, integer, setting, text, UsageError } from "../settings.ts";
import { count, percent } from "../terminal/format.ts";
import { ProgressLine } from "../terminal/progress-line.ts";
import { type CommandContext, defineCommand } from "./command.ts";

const { device, threads } = nodeConfigSchema.shape;
const TEXT = "Text";

export const evalCommand = defineCommand({
  name: "eval",
  summary: "Measure how well models predict texts.",
  description:
    "Evaluates each model, with its own tokenizer, on each source: bits per byte, which compares any models; perplexity, " +
    "per token; and the loss without the cross-entropy of the source's own token frequencies. Every byte of every document counts.\n" +
    "The documents of a source, each with an end-of-text token behind it, are one stream of tokens. It is cut into " +
    "consecutive windows of the sequence length that the model was trained with, and each token is predicted from those " +
    "before it in its window; --stride lets windows overlap and counts only the last tokens of each, which have more " +
    "context. On one CPU the numbers are the same to the last bit whatever --micro-batch and --threads are.",
  settings: z.object({
    model: setting(
      z
        .array(text("must be models"), { error: "must be models" })
        .min(1, { error: "needs at least one model" }),
      {
        description: "A model folder, or a peer of this machine: its name or its state directory.",
        value: "MODEL",
        list: true,
        group: "Model",
      },
    ),
    global: setting(flagSwitch(), {
      description: "Of a peer in variant glob or trim, take the common embedding and tokenizer.",
      group: "Model",
    }),
    tokenizer: setting(text("must be a tokenizer.json").optional(), {
      description: "Another tokenizer.json than the model's own; its ids must mean the same.",
      value: "FILE",
      group: "Model",
    }),
    data: setting(
      z.array(text("must be paths"), { error: "must be paths" }).min(1, { error: "needs at least one path" }),
      {
        description: "A source: file or folder of .txt, .jsonl or .parquet, also as .gz or .zst.",
        value: "PATH",
        list: true,
        group: TEXT,
      },
    ),
    textField: setting(text().default("text"), {
      description: "Field of .jsonl or column of .parquet that holds the text.",
      value: "FIELD",
      group: TEXT,
    }),
    split: setting(choice(["all", "held-out"]).default("all"), {
      description: "held-out takes the documents that training leaves out, by their hash.",
      value: "SPLIT",
      group: TEXT,
    }),
    maxBytes: setting(integer(1, Number.MAX_SAFE_INTEGER).optional(), {
      description: "Bytes of text to take of each source, from the beginning of its files.",
      value: "N",
      defaultText: "all",
      group: TEXT,
    }),
    sequenceLength: setting(integer(1, 65_536).optional(), {
      description: "Tokens in a window.",
      value: "N",
      defaultText: "as trained",
      group: "Computation",
    }),
    stride: setting(integer(1, 65_536).optional(), {
      description: "Tokens from one window to the next.",
      value: "N",
      defaultText: "the sequence length",
      group: "Computation",
    }),
    device: setting(device.clone(), {
      description: "Where to compute: auto (the best that works), cpu, webgpu or cuda.",
      value: "DEVICE",
      group: "Computation",
    }),
    microBatch: setting(integer(1, 65_536).optional(), {
      description: "Windows computed at once.",
      value: "N",
      defaultText: "what suits the device",
      group: "Computation",
    }),
    threads: setting(threads.clone(), {
      description: "CPU threads.",
      value: "N",
      defaultText: "all cores but one",
      group: "Computation",
    }),
  }),
  positionals: "data",
  examples: [
    ["glossa eval --model ada texts.txt", "A peer of this machine, on a text"],
    [
      "glossa eval --model en.model --model es.model --data en/ --data es/",
      "Two models on two sources, side by side",
    ],
    [
      "glossa eval --model en.model --data en.jsonl.zst --split held-out --json | jq .bitsPerByte",
      "For programs",
    ],
  ],
  async run({ model: references, data: paths, global, tokenizer, ...options }, context) {
    const { signal, stdout, stderr, environment, flags } = context;
    if (tokenizer !== undefined && references.length > 1) {
      throw new UsageError(
        "--tokenizer replaces the tokenizer of one model: give one --model, or leave it out.",
      );
    }
    const sources = sourcesOf(paths);
    const progress = new ProgressLine(stderr);
    const evaluations: ModelEvaluation[] = [];
    try {
      for (const reference of references) {
        const loaded = await loadModel(reference, { signal, global, environment });
        const model = tokenizer === undefined ? loaded : await withTokenizer(loaded, tokenizer);
        requireStride(options.stride, options.sequenceLength ?? model.config.sequenceLength);
        const found = await evaluateModel(
          model,
          { ...options, sources },
          {
            signal,
            onProgress: showing(progress, reference, context),
          },
        );
        evaluations.push({ model: reference, description: describe(model), sources: found });
      }
    } finally {
      progress.end();
    }
    if (flags.json) evaluationEvents(evaluations).forEach(eventWriter(stdout));
    else stdout.write(evaluationText(evaluations));
  },
});

/** A program that reads JSON wants none of it in a log. */
function showing(progress: ProgressLine, reference: string, { stderr, flags }: CommandContext) {
  if (flags.json && stderr.isTTY !== true) return undefined;
  return (now: { source: string; fraction: number; tokens: number; nats: number; tokensPerSecond: number }) =>
    progress.show(
      () =>
        `${reference} on ${now.source}: ${percent(now.fraction)} read, ${count(now.tokens)} tokens, ` +
        `${(now.nats / now.tokens).toFixed(3)} nats each, ${count(now.tokensPerSecond)} tokens/s`,
    );
}

function requireStride(stride: number | undefined, sequenceLength: number): void {
  if (stride === undefined || stride <= sequenceLength) return;
  throw new UsageError(
    `--stride ${stride} would skip tokens: give at most the sequence length, ${sequenceLength}.`,
  );
}

async function withTokenizer(model: LoadedModel, path: string): Promise<LoadedModel> {
  const tokenizerJson = await readFile(path, "utf8");
  const tokenizer = Tokenizer.fromJson(tokenizerJson);
  if (tokenizer.vocabularySize > model.config.vocabularySize) {
    throw new UsageError(
      `--tokenizer ${path} has ${tokenizer.vocabularySize} tokens and the model ${model.config.vocabularySize}: give the one it was trained with.`,
    );
  }
  return { ...model, tokenizer, tokenizerJson };
}

function describe({ config, source }: LoadedModel): string {
  return `${source.description}: ${config.blocks} blocks of width ${config.width}, ${config.vocabularySize} tokens, windows of ${config.sequenceLength}`;
}
