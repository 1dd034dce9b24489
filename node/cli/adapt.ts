// `glossa adapt`: fits a model to a vocabulary and to texts, and leaves a model folder.
import { z } from "zod";
import {
  type AdaptProgress,
  type AdaptResult,
  adaptModel,
  type TargetVocabulary,
} from "../adapting/adapt-model.ts";
import type { CurvePoint } from "../adapting/curve.ts";
import { nodeConfigSchema, TEXT } from "../config.ts";
import { loadModel } from "../models/load-model.ts";
import { type AdaptEvent, eventWriter } from "../observability/events.ts";
import { choice, decimal, flagSwitch, integer, setting, text, UsageError } from "../settings.ts";
import { count, duration, percent } from "../terminal/format.ts";
import { ProgressLine } from "../terminal/progress-line.ts";
import { type CommandContext, defineCommand } from "./command.ts";

const { device, recompute, precision, threads, checkpointIntervalSeconds, textField } =
  nodeConfigSchema.shape;
const MODEL = "Model";
const TRAINING = "Training";
const COMPUTE = "Computation";

export const adaptCommand = defineCommand({
  name: "adapt",
  summary: "Fit a model to a vocabulary and to texts of your own.",
  description:
    "Takes the body of a model, gives it an embedding for the vocabulary that is asked for, and trains both on the texts: " +
    "the paper's second phase, which makes one model out of what peers have trained, or fits it to a language that nobody " +
    "had. The result is a model folder for eval, generate, export and adapt. Held-out text is evaluated on the way; the " +
    "curve is OUTPUT/curve.jsonl. Ctrl-C saves, also a kill loses little: the same command goes on, to the same bits.",
  settings: z.object({
    model: setting(text("must be a model"), {
      description: "A model folder, or a peer of this machine: its name or its state directory.",
      value: "MODEL",
      group: MODEL,
    }),
    global: setting(flagSwitch(), {
      description: "Of a peer in variant glob or trim, take the common embedding and tokenizer.",
      group: MODEL,
    }),
    output: setting(text("must be a folder"), {
      description: "Folder of the model to be.",
      value: "FOLDER",
      group: MODEL,
    }),
    force: setting(flagSwitch(), {
      description: "Begin anew, and replace the model that is in the output folder.",
      group: MODEL,
    }),
    tokenizer: setting(text("must be a tokenizer.json").optional(), {
      description: "Vocabulary: that of a byte-level BPE tokenizer.json.",
      value: "FILE",
      group: MODEL,
    }),
    vocabularySize: setting(integer(257, 1_048_576).optional(), {
      description: "Vocabulary: one of N tokens, trained on the texts.",
      value: "N",
      group: MODEL,
    }),
    keepVocabulary: setting(flagSwitch(), { description: "Vocabulary: the model's own.", group: MODEL }),
    embedding: setting(choice(["random", "matching", "kept"]).optional(), {
      description:
        "Embedding to start from: random; matching, random but for tokens that both vocabularies have; kept, the model's own.",
      value: "START",
      defaultText: "kept with --keep-vocabulary, else random",
      group: MODEL,
    }),
    freezeBody: setting(flagSwitch(), { description: "Train the embedding alone.", group: MODEL }),

    data: setting(
      z.array(text("must be paths"), { error: "must be paths" }).min(1, { error: "needs at least one path" }),
      {
        description: "A source: file or folder of .txt, .jsonl or .parquet, also as .gz or .zst.",
        value: "PATH",
        list: true,
        group: TEXT,
      },
    ),
    textField,
    sampling: setting(choice(["proportional", "uniform"]).default("proportional"), {
      description: "How several sources are mixed: by the size of their text, or all alike.",
      value: "LAW",
      group: TEXT,
    }),

    steps: setting(integer(1, 1_000_000_000), {
      description: "Training steps.",
      value: "N",
      group: TRAINING,
    }),
    batchSize: setting(integer(1, 65_536).default(16), {
      description: "Sequences in a step's batch.",
      value: "N",
      group: TRAINING,
    }),
    sequenceLength: setting(integer(8, 65_536).optional(), {
      description: "Tokens in a sequence.",
      value: "N",
      defaultText: "as trained",
      group: TRAINING,
    }),
    learningRate: setting(decimal(1e-9, 1).optional(), {
      description:
        "Peak rate of the pre-training: a random embedding starts at it, another one at half of it.",
      value: "RATE",
      defaultText: "the model's, or that of the preset of its width",
      group: TRAINING,
    }),
    schedule: setting(choice(["cosine", "constant"]).default("cosine"), {
      description: "How the rate goes on: along a cosine over all steps to a tenth, or not at all.",
      value: "SCHEDULE",
      group: TRAINING,
    }),
    warmupSteps: setting(integer(0, 1_000_000_000).default(0), {
      description: "Steps over which the rate rises first.",
      value: "N",
      group: TRAINING,
    }),
    seed: setting(integer(0, 2 ** 32 - 1).default(1), {
      description: "Of random rows and of the order of the text.",
      value: "N",
      group: TRAINING,
    }),
    evaluateEverySteps: setting(integer(1, 1_000_000_000).default(100), {
      description: "Evaluate on held-out text every N steps, and before the first and after the last.",
      value: "N",
      group: TRAINING,
    }),
    evaluationTokens: setting(integer(1, 1_000_000_000).default(16_384), {
      description: "Held-out tokens of each source that an evaluation reads at most.",
      value: "N",
      group: TRAINING,
    }),

    device,
    microBatch: setting(integer(1, 65_536).optional(), {
      description: "Sequences computed at once, a divisor of the batch: less memory.",
      value: "N",
      defaultText: "the batch",
      group: COMPUTE,
    }),
    recompute,
    precision,
    threads,
    checkpointIntervalSeconds,
  }),
  positionals: "data",
  examples: [
    [
      "glossa adapt --model ada --vocabulary-size 16384 --steps 1200 --output pooled en/ es/ zh/",
      "One vocabulary for the languages of three peers",
    ],
    [
      "glossa adapt --model ada --vocabulary-size 8192 --embedding matching --steps 1200 --output sw sw.jsonl.zst",
      "A language that nobody had, with the rows of tokens that are known",
    ],
    [
      "glossa adapt --model en.model --keep-vocabulary --freeze-body --steps 200 --output tuned en.txt",
      "The embedding alone, on more text",
    ],
  ],
  async run(settings, context) {
    const { signal, stdout, environment, flags } = context;
    const { microBatch, checkpointIntervalSeconds, keepVocabulary, vocabularySize, tokenizer, ...rest } =
      settings;
    const vocabulary = vocabularyOf(settings);
    const embedding = settings.embedding ?? (keepVocabulary ? "kept" : "random");
    const shown = new Shown(context, settings.steps);
    try {
      const result = await adaptModel(
        {
          ...rest,
          vocabulary,
          embedding,
          microBatchSize: microBatch,
          checkpointIntervalMs: 1000 * checkpointIntervalSeconds,
        },
        {
          signal,
          load: () => loadModel(settings.model, { signal, global: settings.global, environment }),
          onProgress: (progress) => shown.follow(progress),
        },
      );
      shown.end();
      if (flags.json) eventWriter(stdout)(resultEvent(result));
      else stdout.write(resultText(result));
    } catch (error) {
      shown.end();
      if (signal.aborted) shown.tellSaved();
      throw error;
    }
  },
});

interface VocabularyFlags {
  readonly tokenizer?: string | undefined;
  readonly vocabularySize?: number | undefined;
  readonly keepVocabulary: boolean;
}

function vocabularyOf({ tokenizer, vocabularySize, keepVocabulary }: VocabularyFlags): TargetVocabulary {
  const given = [tokenizer !== undefined, vocabularySize !== undefined, keepVocabulary].filter(
    Boolean,
  ).length;
  if (given !== 1) {
    throw new UsageError(
      `${given === 0 ? "No vocabulary is given" : "Several vocabularies are given"}: give one of --tokenizer FILE, --vocabulary-size N and --keep-vocabulary.`,
    );
  }
  if (tokenizer !== undefined) return { kind: "file", path: tokenizer };
  return vocabularySize === undefined ? { kind: "kept" } : { kind: "trained", size: vocabularySize };
}

/** What a person sees on the way, on stderr. */
class Shown {
  readonly #context: CommandContext;
  readonly #line: ProgressLine;
  readonly #steps: number;
  /** Where and when training began in this process. */
  #from: { readonly step: number; readonly atMs: number } | undefined;
  #step = 0;
  #saved: number | undefined;
  #point: CurvePoint | undefined;

  constructor(context: CommandContext, steps: number) {
    this.#context = context;
    this.#line = new ProgressLine(context.stderr);
    this.#steps = steps;
  }

  follow(progress: AdaptProgress): void {
    const { stdout, stderr, flags } = this.#context;
    switch (progress.stage) {
      case "tokenizer":
        this.#show(() => `training the vocabulary: ${percent(progress.fraction)}`);
        return;
      case "tokens":
        this.#show(() => `tokens of ${progress.source}: ${percent(progress.fraction)}`);
        return;
      case "training":
        this.#from = { step: progress.step, atMs: performance.now() };
        this.#step = progress.step;
        if (flags.json) eventWriter(stdout)(beginningEvent(progress));
        else this.#line.print(beginningText(progress));
        return;
      case "evaluated":
        this.#point = progress.point;
        if (flags.json) eventWriter(stdout)({ event: "curve-point", ...progress.point });
        // A log keeps the curve; a terminal has it in the line that is drawn over.
        else if (stderr.isTTY !== true) this.#line.print(pointText(progress.point));
        return;
      case "saved":
        this.#saved = progress.step;
        if (flags.json) eventWriter(stdout)({ event: "saved", step: progress.step });
        return;
      case "step":
        this.#step = progress.step;
        this.#show(() => this.#stepText(progress.loss));
        return;
    }
  }

  tellSaved(): void {
    if (this.#context.flags.json || this.#saved === undefined) return;
    this.#line.print(
      `Stopped and saved after step ${this.#saved} of ${this.#steps}: the same command goes on.`,
    );
  }

  end(): void {
    this.#line.end();
  }

  #show(line: () => string): void {
    const { stderr, flags } = this.#context;
    if (!flags.json || stderr.isTTY === true) this.#line.show(line);
  }

  #stepText(loss: number): string {
    const { step, atMs } = this.#from!;
    const elapsedMs = performance.now() - atMs;
    const leftMs = (elapsedMs / Math.max(1, this.#step - step)) * (this.#steps - this.#step);
    const heldOut =
      this.#point === undefined ? "" : `, held out ${this.#point.bitsPerByte.toFixed(3)} bits/byte`;
    return `step ${this.#step} of ${this.#steps}: ${loss.toFixed(3)} nats/token${heldOut}, ${duration(leftMs)} left`;
  }
}

function beginningText({ plan, step }: Extract<AdaptProgress, { stage: "training" }>): string {
  const { config, optimizer, source, keptRows } = plan;
  return [
    source.description,
    `  vocabulary  ${config.vocabularySize} tokens, ${keptRows} of them with rows of the model`,
    `  training    ${optimizer.totalSteps} steps at a rate of ${optimizer.learningRate}${step === 0 ? "" : `, ${step} done before`}`,
  ].join("\n");
}

function beginningEvent({ plan, step }: Extract<AdaptProgress, { stage: "training" }>): AdaptEvent {
  const { config, optimizer, source, keptRows } = plan;
  const { vocabularySize } = config;
  const { totalSteps: steps, learningRate } = optimizer;
  return {
    event: "adapting",
    source: source.description,
    vocabularySize,
    keptRows,
    step,
    steps,
    learningRate,
  };
}

function pointText({ step, bitsPerByte, sources }: CurvePoint): string {
  const each = Object.entries(sources).map(([name, source]) => `${name} ${source.bitsPerByte.toFixed(4)}`);
  return `step ${step}: ${bitsPerByte.toFixed(4)} bits/byte held out${each.length > 1 ? ` (${each.join(", ")})` : ""}`;
}

function resultText({ output, curve, wasDone, plan }: AdaptResult): string {
  const [first, last] = [curve[0]!, curve.at(-1)!];
  const done = wasDone ? "was adapted before" : `is adapted: ${count(plan.optimizer.totalSteps)} steps`;
  return `${output} ${done}; held out ${first.bitsPerByte.toFixed(4)} -> ${last.bitsPerByte.toFixed(4)} bits/byte\n`;
}

function resultEvent({ output, curve, wasDone, plan }: AdaptResult): AdaptEvent {
  const { vocabularySize } = plan.config;
  return { event: "adapted", output, vocabularySize, wasDone, ...curve.at(-1)! };
}
