// `glossa peer`: reads the settings and hands them to the composition root.
import { nodeConfigSchema } from "../config.ts";
import { eventWriter } from "../observability/events.ts";
import { defineCommand } from "./command.ts";

export const peerCommand = defineCommand({
  name: "peer",
  summary: "Join a run and train on your own text.",
  description:
    "Joins the run that an invite names, trains its common body together with the embeddings of a vocabulary of " +
    "your own, and averages with the other peers, until stopped. Your text never leaves this machine; nor do your " +
    "tokenizer and embeddings, unless the run's variant shares them or you join a --group. Ctrl-C saves and leaves; " +
    "the same command resumes, also where the text has changed.",
  settings: nodeConfigSchema,
  positionals: "data",
  readsEnvironment: true,
  examples: [
    [
      "glossa peer --join glossa1… --data ~/texts",
      "Train a vocabulary of 8192 tokens on a folder, then train",
    ],
    [
      "glossa peer --join glossa1… --data corpus.jsonl.zst --text-field body --vocabulary-size 32000",
      "A larger vocabulary, from a field of your own",
    ],
    [
      "glossa peer --join glossa1… --name ada --listen /ip4/0.0.0.0/tcp/4001 --metrics-port 9464 books/*.txt",
      "A name, a fixed port, Prometheus metrics, and files without a flag",
    ],
  ],
  async run(config, { signal, stdout }) {
    const { runPeer } = await import("../peer.ts");
    const emit = config.events === "json" ? eventWriter(stdout) : () => {};
    await runPeer(config, { signal, emit });
  },
});
