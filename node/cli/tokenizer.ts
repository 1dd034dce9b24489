// `glossa tokenizer`: trains the common tokenizer of a run on samples of several texts. A peer's own tokenizer needs no
// command: the peer trains it.
import { z } from "zod";
import { sampleDocuments } from "#model/data/read-documents.ts";
import { trainTokenizer } from "#model/tokenizer/train-tokenizer.ts";
import { sha256Hex } from "#protocol/net/hash.ts";
import { nodeConfigSchema, TEXT } from "../config.ts";
import { eventWriter } from "../observability/events.ts";
import { integer, setting, text, UsageError } from "../settings.ts";
import { readIfPresent, writeAtomic } from "../storage/atomic-file.ts";
import { count, percent } from "../terminal/format.ts";
import { ProgressLine } from "../terminal/progress-line.ts";
import { defineCommand } from "./command.ts";

const { data, textField, vocabularySize } = nodeConfigSchema.shape;

export const tokenizerCommand = defineCommand({
  name: "tokenizer",
  summary: "Train a tokenizer for a run whose peers share one.",
  description:
    "Trains a byte-level BPE tokenizer on a sample of texts, in equal parts of each file, and writes it as a " +
    "tokenizer.json. Give it to glossa init --variant spec, trim or glob. Everyone in the run has it then, and its tokens " +
    "are pieces of these texts. In variant spec-opt, the default, nobody needs it: each peer trains one of its own.",
  settings: z.object({
    data,
    textField,
    vocabularySize: setting(vocabularySize.unwrap(), {
      description: "Tokens in the vocabulary: the 256 bytes, the end-of-text token and merges.",
      value: "N",
      group: TEXT,
    }),
    output: setting(text("must be a file").default("tokenizer.json"), {
      description: "Where to write it.",
      value: "FILE",
      group: TEXT,
    }),
    sampleBytes: setting(integer(1, Number.MAX_SAFE_INTEGER).default(20_000_000), {
      description: "Bytes of text to learn from at most; beyond some 20 MB merges hardly change.",
      value: "N",
      group: TEXT,
    }),
  }),
  positionals: "data",
  examples: [
    ["glossa tokenizer --vocabulary-size 32000 en.txt.gz es.txt.gz zh.txt.gz", "One for three languages"],
    ["glossa init --variant trim --tokenizer tokenizer.json --bootstrap /ip4/…", "A run that uses it"],
  ],
  async run(settings, { signal, stdout, stderr, flags: { json } }) {
    const { data: paths, textField: field, output, sampleBytes } = settings;
    const progress = new ProgressLine(stderr);
    try {
      const documents = sampleDocuments(paths, { textField: field, signal, maxBytes: sampleBytes });
      const tokenizer = await trainTokenizer(documents, {
        vocabularySize: settings.vocabularySize,
        maxBytes: sampleBytes,
        signal,
        onProgress: ({ phase, done, total }) =>
          progress.show(
            () => `${phase === "counting" ? "reading text" : "making merges"} ${percent(done / total)}`,
          ),
      });
      const bytes = Buffer.from(tokenizer.toJson());
      await writeNew(output, bytes);
      const hash = sha256Hex(bytes);
      const size = tokenizer.vocabularySize;
      if (json) {
        eventWriter(stdout)({ event: "tokenizer-created", file: output, sha256: hash, vocabularySize: size });
      } else {
        progress.end();
        stdout.write(
          `${output}  ${count(size)} tokens, SHA-256 ${hash.slice(0, 12)}…\n\n` +
            `Make a run with it:  glossa init --variant trim --tokenizer ${output}\n`,
        );
      }
    } finally {
      progress.end();
    }
  },
});

/** Another tokenizer is never written over: the embeddings of a run may depend on it. */
async function writeNew(path: string, bytes: Uint8Array): Promise<void> {
  const there = await readIfPresent(path);
  if (there !== undefined && Buffer.compare(there, bytes) !== 0) {
    throw new UsageError(`${path} holds something else: give another --output.`);
  }
  await writeAtomic(path, bytes);
}
