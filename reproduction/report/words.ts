// The report's standing words: what was done and how to read it, whatever came out. What came out is put into words by hand,
// in findings.md.
import type { Experiment } from "../cells.ts";
import { heldOutUnder } from "../cells.ts";
import { stepsOf } from "../settings.ts";
import { markdownTable } from "./markdown.ts";

export const INTRODUCTION = `
DEPT (Decoupled Embeddings for Pre-training, [arXiv 2410.05021](https://arxiv.org/abs/2410.05021)) against its baselines, at a
size that a small machine can take. All methods share the code of a training step, the data and the measure; DEPT's variants
run with the trainer, codec, error feedback and average that \`glossa peer\` uses, with one peer for each source, and without
the network: no update is late or lost.

**How to read the numbers.** All are bits per byte of held-out text, less is better. They are measured for every method the
same way: on the same stretch of each source's text, whatever it is in tokens, in neighbouring windows. They compare across
vocabularies, as perplexities do not. *a ± b* is a mean over seeds with its standard deviation. A difference is paired by
seed, with half of its 95% confidence interval (Student's t), and marked ≈ where the interval holds 0: that is noise, as far
as these seeds can tell. Which source is held out changes with the seed, so that a column's deviation has the difficulty of
sources in it; the paired differences have not.

**Tokens.** One worker of DEPT takes as many sequential steps as std, and there is a worker for each source: at equal steps
DEPT sees as many times the tokens as there are sources. The paper equals the steps. Here every baseline is trained twice, with
as many steps ("std τ 0") and with as many tokens ("by tokens": as many times the steps, at the same batch). A method that
beats the first only has shown that more text helps; the second is what it has to beat to be worth more than its
communication.
`.trim();

export const METHODS = `
- **std**: the sources mixed in one model with one vocabulary; a sequence's source is drawn in proportion to its bytes to the
  power τ (0 uniform, 1 proportional). Communicates at every step. It has the learning rate that suited it best; "at DEPT's
  rate" is the same without that choice, a control for what the rate does.
- **act**: as std (τ 0), with the embedding and its moments begun anew every round's worth of steps (active forgetting).
- **local**: each source alone, with its own vocabulary. No body for all comes of it.
- **glob**: body and embedding averaged; **trim**: of the embedding only the rows that a peer's text uses, each averaged over
  those that hold it; **spec**: the body only, the embedding a peer's own, of the global vocabulary what its text uses;
  **spec-opt**: the body only, a vocabulary of each peer's own.
- **untrained**: the body of the seed, never trained. What phase 2 gives without any pre-training; whatever is not better has
  learnt nothing that outlives its embedding.
`.trim();

/** Sizes and budget as a table, and what is held out under which seed. */
export function setupText(experiment: Experiment, seeds: readonly number[]): string {
  const { scale, corpora } = experiment;
  const { model, batchSize, localSteps, rounds, warmupSteps, learningRate } = scale;
  const rows = [
    ["model", `${model.blocks} blocks of width ${model.width}, ${model.heads} heads, ALiBi, tied embedding`],
    ["batch", `${batchSize} sequences of ${model.sequenceLength} tokens, at every worker`],
    ["pre-training", `${rounds} rounds of ${localSteps} steps: ${stepsOf(scale)} steps of a worker`],
    [
      "optimizer",
      `AdamW (0.9, 0.95), no weight decay, clipped at 1, ${warmupSteps} steps of warm-up, cosine to 10%`,
    ],
    ["learning rate", `${learningRate}; std takes the best of a grid`],
    ["moments between rounds", scale.momentsAcrossRounds],
    ["vocabularies", `${scale.globalVocabulary} tokens global, ${scale.ownVocabulary} a peer's own`],
    ["phase 2", `${scale.phase2Steps} steps, τ 0, from the peak rate down, nothing frozen`],
    ["adapting", `${scale.adaptSteps} steps on the training text of the held-out source`],
    ["measured on", `${scale.evaluationBytes} bytes of each source, curves on ${scale.curveBytes}`],
  ];
  const heldOut = seeds.map((seed) => `seed ${seed}: ${heldOutUnder(experiment, seed)}`).join(", ");
  return [
    markdownTable(["", `scale "${scale.name}"`], rows),
    "",
    `Sources: ${corpora.map(({ name, description }) => `${name} (${description})`).join("; ")}.`,
    `Held out of vocabulary and pre-training: ${heldOut}.`,
  ].join("\n");
}

export const CORPORA_FORMAT = `
\`--corpora DIR\` wants a folder with a \`manifest.json\`:

\`\`\`json
{
  "sources": [
    {
      "name": "en-novels",
      "language": "en",
      "domain": "fiction",
      "files": {
        "train": { "path": "en-novels/train.txt.gz", "sha256OfText": "…64 hex digits…" },
        "valid": { "path": "en-novels/valid.txt.gz", "sha256OfText": "…" }
      }
    }
  ]
}
\`\`\`

At least two sources; names of small letters, digits and dashes. Files are any that \`glossa peer --data\` reads, paths are
relative to the folder, a blank line separates documents. \`sha256OfText\` is of the text before it was packed: results are
filed under it, so that changed text makes new cells. Without \`--corpora\` the three corpora that come with glossa are used;
one document in twenty of each, by its hash, is held out.
`.trim();
