// `npm run bench -- quality`: what each codec costs in bits per byte. Trains peers on three languages, each with
// its own vocabulary, in this one process with the production trainer, codec, error feedback and average; only the
// network is left out. All codecs start from the same bits and see the same tokens in the same order.
import { appendFile, readFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { bodyTensors } from "#model/architecture.ts";
import { genesisBody } from "#model/genesis.ts";
import { ReplicatedBody } from "#protocol/core/averaging.ts";
import { type CodecName, DEFAULT_TOP_K } from "#protocol/core/codec/registry.ts";
import type { Defence } from "#protocol/core/defence.ts";
import { compressUpdate, returnToResidual } from "#protocol/core/error-feedback.ts";
import type { GridUpdate } from "#protocol/core/grid.ts";
import { parameterLayout } from "#protocol/core/layout.ts";
import { parseRunConfig, type RunConfig } from "#protocol/core/run-config.ts";
import { updateCodec } from "#protocol/core/update-codec.ts";
import { mean, norm, type PeerText, sha256, trainTogether, withTexts } from "./languages.ts";
import { describeMachine } from "./machine.ts";

const USAGE = `npm run bench -- quality [--json] [--codecs LIST] [--log FILE] [--rounds N] [--steps N] [--batch N] …
  --codecs LIST     with commas; topk-K keeps K of 4,096, and a codec followed by xR has the outer learning rate R:
                    topk-64x2 (default float32,int8,int4,sign,topk-256,topk-64); the first one is what the others are
                    compared with
  --log FILE        each result as a line of JSON; what a line there has is not trained again
  --rounds N        rounds, over which the learning rate's cosine runs (default 12)
  --steps N         steps that a peer trains in a round (default 25)
  --batch N         sequences in a batch (default 8)
  --warmup N        steps of the learning rate's warm-up (default 20)
  --blocks N, --width N, --heads N, --sequence N
                    the body, and tokens in a sequence (default 4, 128, 4 and 128: preset tiny)
  --vocabulary S    the vocabularies' share of the demo's 1,024 to 2,048 tokens (default 1)
  --decay D         share of what is dropped that error feedback keeps (default 1)
  --seed N          of the body, the embeddings and the order of the text (default 1)
  --peers N         peers: languages are dealt out in turn, those of one share its documents (default 3)
  --evaluate-after LIST
                    rounds, with commas, after which the body is evaluated on the way
  --defence RULE    as in a run: none, clip or majority (default none)`;

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
  /** The mean on the way, by the rounds done. */
  readonly onTheWay: Readonly<Record<string, number>>;
  /** Of the mean, against the first codec; 0.01 is 1% worse. */
  readonly relativeLoss: number;
  /** Squared error over squares of what was compressed, delta and residual; mean over peers and rounds. */
  readonly relativeSquaredError: number;
  /** Norm of what is still kept back at the end over the norm of the last delta; mean over peers. */
  readonly residualNorm: number;
  /** Share of the updates of which the defence took something. */
  readonly restrained: number;
  readonly seconds: number;
}

export async function benchAveragingQuality(args: string[]): Promise<void> {
  const { values: flags } = parseArgs({
    args,
    options: {
      json: { type: "boolean", default: false },
      codecs: { type: "string", default: DEFAULT_CODECS },
      log: { type: "string" },
      rounds: { type: "string", default: "12" },
      steps: { type: "string", default: "25" },
      batch: { type: "string", default: "8" },
      warmup: { type: "string", default: "20" },
      blocks: { type: "string", default: "4" },
      width: { type: "string", default: "128" },
      heads: { type: "string", default: "4" },
      sequence: { type: "string", default: "128" },
      vocabulary: { type: "string", default: "1" },
      decay: { type: "string", default: "1" },
      seed: { type: "string", default: "1" },
      peers: { type: "string", default: "3" },
      "evaluate-after": { type: "string", default: "" },
      defence: { type: "string", default: "none" },
      help: { type: "boolean", default: false },
    },
  });
  if (flags.help) return console.log(USAGE);
  // Every choice is checked before anything is trained.
  const runs = flags.codecs.split(",").map((choice) => ({ choice, config: configOf(choice, flags) }));
  const { model, training, seed } = runs[0]!.config;
  const evaluateAfter = flags["evaluate-after"]
    .split(",")
    .filter((rounds) => rounds !== "")
    .map((rounds) => wholeNumber("--evaluate-after", rounds));
  const { decay, vocabulary, peers, defence } = flags;
  const of = JSON.stringify({ model, training, seed, decay, vocabulary, peers, defence, evaluateAfter });
  const known = flags.log === undefined ? [] : await logged(flags.log, of);
  const train = async (texts: readonly PeerText[]) => {
    const reports: CodecQuality[] = [];
    if (!flags.json) console.log(heading(runs[0]!.config, texts));
    for (const { choice, config } of runs) {
      const before = known.find(({ codec }) => codec === choice);
      const measured = before ?? (await measure(choice, config, texts, evaluateAfter));
      if (flags.log !== undefined && before === undefined) {
        await appendFile(flags.log, `${JSON.stringify({ of, report: measured })}\n`);
      }
      const reference = reports[0]?.meanBitsPerByte ?? measured.meanBitsPerByte;
      reports.push({ ...measured, relativeLoss: measured.meanBitsPerByte / reference - 1 });
      if (!flags.json) console.log(row(reports.at(-1)!));
    }
    if (flags.json) console.log(JSON.stringify({ machine: describeMachine(), flags, codecs: reports }));
  };
  await withTexts(runs[0]!.config, train, Number(flags.vocabulary), wholeNumber("--peers", peers));
}

/** A whole number from 1. */
function wholeNumber(flag: string, text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1)
    throw new RangeError(`${flag} is ${text}; give a whole number from 1`);
  return value;
}

function configOf(choice: string, flags: Readonly<Record<string, string | boolean | undefined>>): RunConfig {
  const number = (name: string) => Number(flags[name]);
  const [rounds, localSteps] = [number("rounds"), number("steps")];
  return parseRunConfig({
    seed: number("seed"),
    model: {
      blocks: number("blocks"),
      width: number("width"),
      heads: number("heads"),
      sequenceLength: number("sequence"),
    },
    training: {
      rounds,
      localSteps,
      batchSize: number("batch"),
      warmupSteps: Math.min(number("warmup"), rounds * localSteps),
    },
    averaging: {
      ...codecChoice(choice),
      errorFeedbackDecay: number("decay"),
      defence: flags.defence as Defence,
    },
  });
}

/** What a log has of runs like this one. */
async function logged(path: string, of: string): Promise<readonly CodecQuality[]> {
  const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return "";
    throw error;
  });
  const lines = text.split("\n").filter((line) => line !== "");
  return lines
    .map((line) => JSON.parse(line) as { of: string; report: CodecQuality })
    .filter((entry) => entry.of === of)
    .map(({ report }) => report);
}

/**
 * `topk-128` is codec topk with k = 128, `int4x2` int4 with an outer learning rate of 2; a name that is no codec is for
 * parseRunConfig to refuse.
 */
export function codecChoice(choice: string): { codec: CodecName; topK: number; outerLearningRate: number } {
  const [, name = choice, k, rate] = /^([a-z0-9]+?)(?:-(\d+))?(?:x([\d.]+))?$/.exec(choice) ?? [];
  const codec = (k === undefined || name === "topk" ? name : choice) as CodecName;
  return { codec, topK: Number(k ?? DEFAULT_TOP_K), outerLearningRate: Number(rate ?? 1) };
}

async function measure(
  choice: string,
  config: RunConfig,
  texts: readonly PeerText[],
  evaluateAfter: readonly number[],
): Promise<CodecQuality> {
  const startMs = performance.now();
  const layout = parameterLayout(bodyTensors(config.model), sha256);
  const codec = updateCodec(config, layout);
  const { errorFeedbackDecay: decay, outerLearningRate, defence: rule } = config.averaging;
  const closedBody = genesisBody(config.model, config.seed);
  const defence = { rule, hash: sha256 };
  const replica = new ReplicatedBody({ closedRound: 0, closedBody, layout, outerLearningRate, defence });
  const residuals: Float32Array[] = texts.map(() => new Float32Array(layout.total));
  let bytes = 0;
  let squaredErrors = 0;
  let restrained = 0;
  let residualNorms: number[] = [];
  const trained = await trainTogether({
    config,
    texts,
    evaluateAfter,
    average({ round, deltas }) {
      residualNorms = [];
      const sentBy = new Map<string, { readonly at: number; readonly update: GridUpdate }>();
      for (const [at, delta] of deltas.entries()) {
        const residual = residuals[at]!;
        const input = delta.map((value, index) => value + decay * residual[index]!);
        const sent = compressUpdate(delta, residual, codec, { decay });
        sentBy.set(texts[at]!.name, { at, update: sent.update });
        replica.add(round, texts[at]!.name, sent.update, 1);
        residuals[at] = sent.residual;
        bytes += sent.payload.length;
        squaredErrors += (norm(sent.residual) / norm(input)) ** 2;
        residualNorms.push(norm(sent.residual) / norm(delta));
      }
      for (const { key, why } of replica.restraints(round)) {
        const { at, update } = sentBy.get(key)!;
        restrained++;
        if (why === "opposed") returnToResidual(residuals[at]!, update);
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
    onTheWay: Object.fromEntries([...trained.onTheWay].map(([rounds, each]) => [rounds, mean(each)])),
    relativeLoss: 0,
    relativeSquaredError: squaredErrors / updates,
    residualNorm: mean(residualNorms),
    restrained: restrained / updates,
    seconds: (performance.now() - startMs) / 1000,
  };
}

function heading({ model, training, averaging, seed }: RunConfig, texts: readonly PeerText[]): string {
  const { processor, node, onnxruntime } = describeMachine();
  return [
    `${processor}, Node ${node}, onnxruntime ${onnxruntime}`,
    `${model.blocks} blocks of width ${model.width}, ${texts.length} peers, ${training.rounds} rounds of ${training.localSteps} steps, batch ${training.batchSize} x ${model.sequenceLength}, ` +
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
    .join("") +
  (report.restrained > 0 ? `  restrained ${(100 * report.restrained).toFixed(1)}%` : "") +
  Object.entries(report.onTheWay)
    .map(([rounds, value]) => `\n          after ${rounds} rounds`.padEnd(40) + value.toFixed(4).padStart(16))
    .join("");
