// `glossa train`: one model on this machine alone, the ways that DEPT is compared with.
import { join } from "node:path";
import { z } from "zod";
import { listDataFiles } from "#model/data/list-data-files.ts";
import { type PresetName, presetNames, presets } from "#protocol/core/presets.ts";
import { parseRunConfig, type RunConfigInput, runConfigSchema } from "#protocol/core/run-config.ts";
import { nodeConfigSchema } from "../config.ts";
import { sourcesOf } from "../evaluating/evaluate-model.ts";
import { eventWriter } from "../observability/events.ts";
import { withChosenCodec } from "../planning/automatic-codec.ts";
import { choice, decimal, flagSwitch, redescribed, setting, text, UsageError } from "../settings.ts";
import { type BaselineEvent, type BaselineResult, runBaseline } from "../single-machine/run-baseline.ts";
import { count, fixed, percent } from "../terminal/format.ts";
import { ProgressLine } from "../terminal/progress-line.ts";
import { table } from "../terminal/table.ts";
import { defineCommand } from "./command.ts";
import { mergeConfigs, nestRunFlags, runFlags } from "./run-flags.ts";

const { data, textField, vocabularySize, tokenizer, device, microBatch, recompute, precision, threads } =
  nodeConfigSchema.shape;
const { evaluationTokens, checkpointIntervalSeconds } = nodeConfigSchema.shape;

/** What of a run there is to choose where nothing is averaged and nobody joins. */
const WITHOUT_EFFECT: ReadonlySet<string> = new Set([
  ...["name", "variant", "momentsAcrossRounds", "embeddingWarmupSteps"],
  ...Object.keys(runConfigSchema.shape.averaging.unwrap().shape),
]);
const ownFlags = Object.fromEntries(Object.entries(runFlags).filter(([key]) => !WITHOUT_EFFECT.has(key)));

export const trainCommand = defineCommand({
  name: "train",
  summary: "Train one model on this machine alone.",
  description:
    "Trains without peers and writes a model folder. Every --data is a source. All steps of a run are taken, rounds * " +
    "local-steps. Defaults of sizes and numbers are those of the preset tiny.\n" +
    "  std: the sources mixed, in one vocabulary; --temperature says how;\n" +
    "  act: as std, but the embedding begins anew every --local-steps steps, with a learning rate of its own (active " +
    "forgetting);\n" +
    "  local: each source by itself, with a vocabulary of its own, one model folder each.\n" +
    "Ctrl-C or a power cut leave a checkpoint: the same command goes on, to the same bits.",
  settings: z.object({
    method: setting(choice(["std", "act", "local"]).default("std"), {
      description: "How to train: std, act or local.",
      value: "METHOD",
      group: "Training",
    }),
    temperature: setting(decimal(0, 1).default(1), {
      description:
        "A sequence's source is drawn in proportion to its bytes to this power: 0 uniform, 1 proportional.",
      value: "TAU",
      group: "Training",
    }),
    output: setting(text("must be a folder"), {
      description: "The model folder to write; with local a folder of them.",
      value: "FOLDER",
      group: "Training",
    }),
    force: setting(flagSwitch(), {
      description: "Begin anew, and replace the model that is in the output folder.",
      group: "Training",
    }),
    preset: setting(choice(presetNames as readonly [PresetName, ...PresetName[]]).default("tiny"), {
      description: "Sizes and numbers to begin with; the flags below change them.",
      value: "PRESET",
      group: "Training",
    }),
    data,
    textField,
    vocabularySize: redescribed(vocabularySize, {
      description: "Tokens in the vocabulary that is trained on the data.",
    }),
    tokenizer: redescribed(tokenizer, {
      description: "Take this byte-level BPE tokenizer.json instead of training one.",
    }),
    device,
    microBatch,
    recompute,
    precision,
    threads,
    evaluationTokens,
    checkpointIntervalSeconds,
    ...ownFlags,
  }),
  positionals: "data",
  examples: [
    ["glossa train --output pooled.model en.txt.gz es.txt.gz zh.txt.gz", "One model of three languages"],
    ["glossa train --method local --output alone/ en.txt.gz es.txt.gz", "Each language alone"],
    [
      "glossa train --method act --temperature 0 --output act.model en/ es/ --json | jq .bitsPerByte",
      "For programs",
    ],
  ],
  async run(settings, { signal, stdout, stderr, flags: { json } }) {
    const { method, temperature, output, force, preset, data: paths, textField: field, ...more } = settings;
    const { vocabularySize: size, tokenizer: file, device: on, microBatch: atOnce, ...others } = more;
    const { recompute: again, precision: products, threads: cores, ...further } = others;
    const { evaluationTokens: tokens, ...rest } = further;
    const { checkpointIntervalSeconds: seconds, ...own } = rest;
    if (file !== undefined && size !== undefined) {
      throw new UsageError(
        "--tokenizer brings its own vocabulary: leave out --vocabulary-size, or let one be trained.",
      );
    }
    const run = parseRunConfig(
      withChosenCodec(mergeConfigs(presets[preset].config, nestRunFlags(own)) as RunConfigInput).config,
    );
    const sources = sourcesOf(paths);
    await listDataFiles(paths);
    const trainings =
      method === "local"
        ? sources.map((source) => ({ sources: [source], output: join(output, fileName(source.name)) }))
        : [{ sources, output }];
    const progress = new ProgressLine(stderr);
    const write = eventWriter(stdout);
    let saved: number | undefined;
    try {
      for (const training of trainings) {
        const show = json && stderr.isTTY !== true ? () => {} : showing(progress, training.output);
        saved = undefined;
        const result = await runBaseline(
          {
            ...training,
            method: method === "local" ? "std" : method,
            textField: field,
            temperature,
            tokenizerPath: file,
            vocabularySize: size,
            run,
            force,
            device: on,
            threads: cores,
            microBatch: atOnce,
            recompute: again,
            precision: products,
            evaluationTokens: tokens,
            checkpointIntervalMs: 1000 * seconds,
          },
          (event) => {
            if (event.stage === "saved") saved = event.step;
            if (event.stage === "saved" && json)
              write({ event: "saved", output: training.output, step: event.step });
            show(event);
          },
          signal,
        );
        progress.end();
        if (json) write({ event: "trained", ...result });
        else stdout.write(`${lines(result)}\n`);
      }
    } catch (error) {
      progress.end();
      if (signal.aborted && saved !== undefined && !json) {
        progress.print(`Stopped and saved after step ${saved}: the same command goes on.`);
      }
      throw error;
    } finally {
      progress.end();
    }
  },
});

/** A source may be called by its path, where two files have one name. */
const fileName = (name: string): string => name.replaceAll(/[^\p{L}\p{N}._-]+/gu, "-").replace(/^[.-]+/, "");

function showing(progress: ProgressLine, output: string): (event: BaselineEvent) => void {
  let bitsPerByte = "";
  return (event) => {
    switch (event.stage) {
      case "tokenizer":
        return progress.show(() => `${output}: vocabulary ${percent(event.fraction)}`);
      case "tokens":
        return progress.show(() => `${output}: tokens of ${event.source} ${percent(event.fraction)}`);
      case "saved":
        return;
      case "resumed":
        return progress.print(`${output}: goes on at step ${event.step}`);
      case "evaluated": {
        const values = Object.values(event.bitsPerByte);
        const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
        bitsPerByte = `, ${fixed(mean, 3)} bits/byte held out`;
        return;
      }
      case "training":
        return progress.show(
          () =>
            `${output}: step ${event.step} of ${event.steps}, loss ${fixed(event.loss, 3)}, ` +
            `${count(event.tokensPerSecond)} tokens/s${bitsPerByte}`,
        );
    }
  };
}

function lines(result: BaselineResult): string {
  const { output, steps, tokens, device, bodyParameters, embeddingParameters, vocabularySize, wasDone } =
    result;
  return [
    `${output}${wasDone ? " was trained before" : ""}: ${steps} steps, ${count(tokens)} tokens on ${device}; body ${count(bodyParameters)}, ` +
      `embedding ${count(embeddingParameters)} parameters (${vocabularySize} tokens)`,
    ...table(
      [{ title: "  source" }, { title: "bits/byte", align: "right" }],
      Object.entries(result.bitsPerByte).map(([name, value]) => [`  ${name}`, fixed(value, 4)]),
    ),
  ].join("\n");
}
