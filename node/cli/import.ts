// `glossa import`: makes a run that starts from a model of Hugging Face's MPT instead of from a seed.
import { join } from "node:path";
import { z } from "zod";
import { loadModel } from "../models/load-model.ts";
import { redescribed, setting, text, UsageError } from "../settings.ts";
import { defineCommand } from "./command.ts";
import { type InitSettings, initCommand, type MadeRun, makeRun, printRun } from "./init.ts";

/** What the model says is not asked for. */
const SAID_BY_THE_MODEL: ReadonlySet<string> = new Set(["tokenizer", "body", "blocks", "width", "heads"]);
const runSettings = Object.fromEntries(
  Object.entries(initCommand.settings.shape)
    .filter(([key]) => !SAID_BY_THE_MODEL.has(key))
    .map(([key, type]) => [
      key,
      key === "sequenceLength" ? redescribed(type, { defaultText: "the model's" }) : type,
    ]),
);

export const importCommand = defineCommand({
  name: "import",
  summary: "Make a run that goes on with a Hugging Face MPT model.",
  description:
    "Makes a run as init does, whose peers start from the body of a model folder: one that adapt or export has written, or " +
    "any MPT checkpoint with ALiBi, no biases and a tied head. The run has the model's size and its sequence length. In " +
    "variants trim and glob the model's embedding and tokenizer become the shared ones, in spec its tokenizer. The root of " +
    "what the run starts from is part of the run's id: the first peer brings the model with --body, the others get it from " +
    "their peers. Training and averaging are those of a --preset, whatever the model's size, and of the flags.",
  settings: z.object({
    folder: setting(text("must be a model folder"), {
      description: "The model: config.json, model.safetensors and tokenizer.json.",
      value: "FOLDER",
      group: "Run",
    }),
    ...runSettings,
  }),
  positionals: "folder",
  examples: [
    [
      "glossa import mpt-125m --name more --bootstrap /ip4/192.0.2.7/tcp/4001/p2p/12D3KooW…",
      "Go on with a body, under vocabularies of everyone's own",
    ],
    ["glossa import pooled --name shared --variant trim", "Share the model's embedding too"],
  ],
  async run({ folder: reference, ...settings }, context) {
    const model = await loadModel(reference, context);
    if (model.source.kind !== "folder") {
      throw new UsageError(
        `${reference} is a peer's state, not a model folder: export it first, or make the run with glossa init --body.`,
      );
    }
    const tokenizerPath = join(reference, "tokenizer.json");
    const run = await makeRun(settings as InitSettings, context, { reference, model, tokenizerPath });
    printRun(run, context, nextOf(run, reference));
  },
});

/** How peers have to be started, the first one in particular. */
function nextOf({ files, uploaded }: MadeRun, folder: string): string {
  const more = [
    ...(uploaded ? [] : ["--manifest", files.manifest]),
    ...(uploaded || files.tokenizer === undefined ? [] : ["--tokenizer", files.tokenizer]),
  ];
  const first = ["glossa peer --join <invite> --body", folder, ...more, "--data <texts>"].join(" ");
  const others = uploaded ? "" : " --bootstrap <a peer's address>";
  return [
    "The first peer brings the model, the others get it from their peers:",
    `  ${first}`,
    `  glossa peer --join <invite>${others} --data <texts>`,
  ].join("\n");
}
