// `glossa export`: a model as a folder that other programs load.
import { z } from "zod";
import { EXPORT_FORMATS, exportModel } from "../generating/export-model.ts";
import { loadModel } from "../models/load-model.ts";
import { eventWriter } from "../observability/events.ts";
import { choice, flagSwitch, setting, text } from "../settings.ts";
import { defineCommand } from "./command.ts";

export const exportCommand = defineCommand({
  name: "export",
  summary: "Write a model for other programs.",
  description:
    "Writes a model's newest state as a folder in float32:\n" +
    "  hf: safetensors with config and tokenizer, for transformers in Python (MptForCausalLM) and for glossa itself;\n" +
    "  onnx: an ONNX model with a cache of keys and values, for transformers.js and onnxruntime.\n" +
    "A peer may go on running meanwhile.",
  settings: z.object({
    model: setting(text("must be a model"), {
      description: "A model folder, or a peer of this machine: its name or its state directory.",
      value: "MODEL",
    }),
    global: setting(flagSwitch(), {
      description: "Of a peer in variant glob or trim, take the common embedding and tokenizer.",
    }),
    format: setting(choice(EXPORT_FORMATS).default("hf"), {
      description: "What to write: hf or onnx.",
      value: "FORMAT",
    }),
    output: setting(text("must be a folder"), {
      description: "The folder to write; it is made where it is not there.",
      value: "FOLDER",
    }),
    force: setting(flagSwitch(), {
      description: "Replace the model in a folder that is not empty.",
    }),
  }),
  examples: [
    ["glossa export --model alice --output alice-model/", "For Python, and for glossa generate"],
    ["glossa export --model alice --format onnx --output alice-onnx/", "For JavaScript, also in browsers"],
  ],
  async run({ model: reference, global, format, output, force }, context) {
    const { signal, stdout, environment, flags } = context;
    const model = await loadModel(reference, { signal, global, environment });
    await exportModel(model, output, { format, force }, signal);
    const { source, config } = model;
    if (flags.json)
      eventWriter(stdout)({ event: "exported", model: reference, source, config, format, output });
    else stdout.write(`Wrote ${source.description} as ${format} to ${output}\n`);
  },
});
