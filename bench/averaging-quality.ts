// `npm run bench -- quality`: what each codec costs in bits per byte. Trains three peers on three languages, each with
// its own vocabulary, in this one process with the production trainer, codec, error feedback and average; only the
// network is left out. All codecs start from the same bits and see the same tokens in the same order.
import { parseArgs } from "node:util";
import { bodyTensors } from "#model/architecture.ts";
import { genesisBody } from "#model/genesis.ts";
import { ReplicatedBody } from "#protocol/core/averaging.ts";
import { type CodecName, DEFAULT_TOP_K } from "#protocol/core/codec/registry.ts";
import { compressUpdate } from "#protocol/core/error-feedback.ts";
import { parameterLayout } from "#protocol/core/layout.ts";
import { presets } from "#protocol/core/presets.ts";
import { parseRunConfig, type RunConfig } from "#protocol/core/run-config.ts";
import { updateCodec } from "#protocol/core/update-codec.ts";
import { mean, norm, type PeerText, sha256, trainTogether, withTexts } from "./languages.ts";
import { describeMachine } from "./machine.ts";

const USAGE = `npm run bench -- quality [--json] [--codecs LIST] [--rounds N] [--steps N] [--batch N] [--decay D] [--seed N]
  --codecs LIST  with commas; topk-K keeps K of 4,096 (default float32,int8,int4,sign,topk-256,topk-64); the first one
                 is what the others are compared with
  --rounds N     rounds, over which the learning rate's cosine runs (default 12)
  --steps N      steps that a peer trains in a round (default 25)
  --batch N      sequences in a batch (default 8)
  --decay D      share of what is dropped that error feedback keeps (default 1)
  --seed N       of the body, the embeddings and the order of the text (default 1)`;

const DEFAULT_CODECS = "float32,int8,int4,sign,topk-256,topk-64";
interface CodecQuality {
  readonly codec: string;
  /** Mean over peers and rounds. */
  readonly bytesPerUpdate: number;
  /** float32 bytes of the body over bytes of an update. */
  readonly ratio: number;
  /** Held-out, per peer, of the averaged body after the last round. */
  readonly bitsPerByte: Readonly<Record<string, number>>;
  readonly meanBitsPerByte: number;
  /** Of the mean, against the first codec; 0.01 is 1% worse. */
  readonly relativeLoss: number;
  /** Squared error over squares of what was compressed, delta and residual; mean over peers and rounds. */
  readonly relativeSquaredError: number;
  /** Norm of what is still kept back at the end over the norm of the last delta; mean over peers. */
  readonly residualNorm: number;
  readonly seconds: number;
}

export async function benchAveragingQuality(args: string[]): Promise<void> {
  const { values: flags } = parseArgs({
    args,
    options: {
      json: { type: "boolean", default: false },
      codecs: { type: "string", default: DEFAULT_CODECS },
      rounds: { type: "string", default: "12" },
      steps: { type: "string", default: "25" },
      batch: { type: "string", default: "8" },
      decay: { type: "string", default: "1" },
      seed: { type: "string", default: "1" },
      help: { type: "boolean", default: false },
    },
  });
  if (flags.help) return console.log(USAGE);
  const rounds = Number(flags.rounds);
  const localSteps = Number(flags.steps);
  const base = { ...presets.tiny.config, seed: Number(flags.seed) };
  const training = {
    rounds,
    localSteps,
    batchSize: Number(flags.batch),
    warmupSteps: Math.min(20, rounds * localSteps),
  };
  // Every choice is checked before anything is trained.
  const runs = flags.codecs.split(",").map((choice) => ({
    choice,
    config: parseRunConfig({
      ...base,
      training,
      averaging: { ...codecChoice(choice), errorFeedbackDecay: Number(flags.decay) },
    }),
  }));
  await withTexts(runs[0]!.config, async (texts) => {
    const reports: CodecQuality[] = [];
    if (!flags.json) console.log(heading(runs[0]!.config, texts));
    for (const { choice, config } of runs) {
      const report = await measure(choice, config, texts, reports[0]?.meanBitsPerByte);
      reports.push(report);
      if (!flags.json) console.log(row(report));
    }
    if (flags.json) console.log(JSON.stringify({ machine: describeMachine(), flags, codecs: reports }));
  });
}

/** `topk-128` is codec topk with k = 128; a name that is no codec is for parseRunConfig to refuse. */
export function codecChoice(choice: string): { codec: CodecName; topK: number } {
  const match = /^topk-(\d+)$/.exec(choice);
  return match === null
    ? { codec: choice as CodecName, topK: DEFAULT_TOP_K }
    : { codec: "topk", topK: Number(match[1]) };
}

async function measure(
  choice: string,
  config: RunConfig,
  texts: readonly PeerText[],
  reference: number | undefined,
): Promise<CodecQuality> {
  const startMs = performance.now();
  const layout = parameterLayout(bodyTensors(config.model), sha256);
  const codec = updateCodec(config, layout);
  const { errorFeedbackDecay: decay, outerLearningRate } = config.averaging;
  const closedBody = genesisBody(config.model, config.seed);
  const replica = new ReplicatedBody({ closedRound: 0, closedBody, layout, outerLearningRate });
  const residuals: Float32Array[] = texts.map(() => new Float32Array(layout.total));
  let bytes = 0;
  let squaredErrors = 0;
  let residualNorms: number[] = [];
  const trained = await trainTogether({
    config,
    texts,
    average({ round, deltas }) {
      residualNorms = [];
      for (const [at, delta] of deltas.entries()) {
        const residual = residuals[at]!;
        const input = delta.map((value, index) => value + decay * residual[index]!);
        const sent = compressUpdate(delta, residual, codec, { decay });
        replica.add(round, texts[at]!.name, sent.update, 1);
        residuals[at] = sent.residual;
        bytes += sent.payload.length;
        squaredErrors += (norm(sent.residual) / norm(input)) ** 2;
        residualNorms.push(norm(sent.residual) / norm(delta));
      }
      replica.closeThrough(round);
      return replica.closedBody;
    },
  });
  const updates = texts.length * config.training.rounds;
  const meanBitsPerByte = mean(trained.bitsPerByte);
  return {
    codec: choice,
    bytesPerUpdate: bytes / updates,
    ratio: (4 * layout.total * updates) / bytes,
    bitsPerByte: Object.fromEntries(texts.map(({ name }, at) => [name, trained.bitsPerByte[at]!])),
    meanBitsPerByte,
    relativeLoss: reference === undefined ? 0 : meanBitsPerByte / reference - 1,
    relativeSquaredError: squaredErrors / updates,
    residualNorm: mean(residualNorms),
    seconds: (performance.now() - startMs) / 1000,
  };
}

function heading({ training, averaging, seed }: RunConfig, texts: readonly PeerText[]): string {
  const { processor, node, onnxruntime } = describeMachine();
  return [
    `${processor}, Node ${node}, onnxruntime ${onnxruntime}`,
    `tiny, ${texts.length} peers, ${training.rounds} rounds of ${training.localSteps} steps, batch ${training.batchSize}, ` +
      `error feedback ${averaging.errorFeedbackDecay}, seed ${seed}`,
    "",
    "codec     bytes/update   ratio  mean bits/byte    loss  rel.sq.error  residual  " +
      texts.map(({ name }) => name.padStart(13)).join(""),
  ].join("\n");
}

const row = (report: CodecQuality): string =>
  report.codec.padEnd(10) +
  report.bytesPerUpdate.toFixed(0).padStart(12) +
  report.ratio.toFixed(1).padStart(8) +
  report.meanBitsPerByte.toFixed(4).padStart(16) +
  `${(100 * report.relativeLoss).toFixed(2)}%`.padStart(8) +
  report.relativeSquaredError.toExponential(1).padStart(14) +
  report.residualNorm.toFixed(2).padStart(10) +
  "  " +
  Object.values(report.bitsPerByte)
    .map((value) => value.toFixed(4).padStart(13))
    .join("");
