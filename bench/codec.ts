// `npm run bench -- codec`: what the codecs cost and what they lose on a real update, and how fast updates are summed
// and bodies hashed. Measures the production code as it is; decides nothing.
import { readFile } from "node:fs/promises";
import { cpus } from "node:os";
import { parseArgs } from "node:util";
import { bodyTensors } from "#model/architecture.ts";
import { genesisBody } from "#model/genesis.ts";
import { ReplicatedBody } from "#protocol/core/averaging.ts";
import type { Codec } from "#protocol/core/codec/codec.ts";
import { int4Codec } from "#protocol/core/codec/int4.ts";
import { int8Codec } from "#protocol/core/codec/int8.ts";
import { CODEC_NAMES, codecs, DEFAULT_TOP_K } from "#protocol/core/codec/registry.ts";
import { signCodec } from "#protocol/core/codec/sign.ts";
import { topKCodec } from "#protocol/core/codec/topk.ts";
import { compressUpdate } from "#protocol/core/error-feedback.ts";
import { readFloats } from "#protocol/core/float-bytes.ts";
import { GRID_UNITS, type GridUpdate } from "#protocol/core/grid.ts";
import { type ParameterLayout, parameterLayout } from "#protocol/core/layout.ts";
import { bodyRoot } from "#protocol/core/merkle.ts";
import { type PresetName, presetNames, presets } from "#protocol/core/presets.ts";
import { parseRunConfig } from "#protocol/core/run-config.ts";
import { wholeCodec } from "#protocol/core/update-codec.ts";
import { describeSize, measureSize } from "./codec-size.ts";
import { sha256 } from "./languages.ts";
import { describeMachine } from "./machine.ts";
import { measureQuantisers, type QuantiserReport } from "./quantisers.ts";
import { type Delta, trainDelta } from "./real-update.ts";

const USAGE = `npm run bench -- codec [--json] [--delta FILE] [--steps N] [--small]
       npm run bench -- codec --values 85000000 [--top-k K] [--json]
  --delta FILE  a flat float32 little-endian update; without it the tiny model is trained on English novels
  --steps N     training steps before the update is taken (default: the tiny run's local steps)
  --small       leave out the 85M-parameter body, which needs 3 GB of memory
  --values N    instead: the time and memory that an update of N values takes, and how long a peer stands still for a round
  --top-k K     values that topk then keeps of 4,096 (default ${DEFAULT_TOP_K})`;

const REPETITIONS = 5;

interface CodecReport {
  readonly codec: string;
  readonly bytes: number;
  /** float32 bytes over payload bytes. */
  readonly ratio: number;
  /** Sum of squared errors over sum of squared values. */
  readonly relativeSquaredError: number;
  readonly largestError: number;
  readonly encodeMBps: number;
  /** Checking the payload and reading every value onto the grid. */
  readonly decodeMBps: number;
  readonly errorFeedbackMBps: number;
}

interface BodyReport {
  readonly preset: PresetName;
  readonly parameters: number;
  /** Adding one int8 update to a round's sums. */
  readonly accumulateMBps: number;
  /** Applying a round's mean to the body. */
  readonly foldMBps: number;
  readonly rootMBps: number;
  /** The three in milliseconds for a round of three peers: three updates, one fold, one root. */
  readonly roundOfThreeMs: number;
}

/** MB/s are always 10^6 float32 bytes of the body per second, so that all rows compare. */
export async function benchCodec(args: string[]): Promise<void> {
  const { values: flags } = parseArgs({
    args,
    options: {
      json: { type: "boolean", default: false },
      delta: { type: "string" },
      steps: { type: "string" },
      small: { type: "boolean", default: false },
      values: { type: "string" },
      "top-k": { type: "string", default: String(DEFAULT_TOP_K) },
      help: { type: "boolean", default: false },
    },
  });
  if (flags.help) return console.log(USAGE);
  if (flags.values !== undefined) {
    const machine = describeMachine();
    const topK = wholeNumber("--top-k", flags["top-k"]);
    const report = { machine, ...(await measureSize(wholeNumber("--values", flags.values), topK)) };
    const heading = `${machine.processor}, Node ${machine.node}`;
    return console.log(flags.json ? JSON.stringify(report) : `${heading}\n${describeSize(report)}`);
  }
  const delta =
    flags.delta === undefined
      ? await trainDelta({ preset: "tiny", steps: stepsFrom(flags.steps) })
      : await readDelta(flags.delta);
  const variants: [string, Codec][] = [
    ...CODEC_NAMES.map((name): [string, Codec] => [name, codecs[name]]),
    ...[64, 128, 1024].map((block): [string, Codec] => [`int8, block ${block}`, int8Codec(block)]),
    ...[32, 128, 256].map((block): [string, Codec] => [`int4, block ${block}`, int4Codec(block)]),
    ...[64, 1024].map((block): [string, Codec] => [`sign, block ${block}`, signCodec(block)]),
    ...[16, 128, 256, 512, 1024].map((k): [string, Codec] => [`topk, k ${k}`, topKCodec(k)]),
  ];
  const report = {
    machine: `${cpus()[0]?.model ?? "unknown"}, Node ${process.versions.node}`,
    delta: { source: delta.source, values: delta.values.length, kurtosis: kurtosis(delta) },
    codecs: variants.map(([name, codec]) => measureCodec(name, codec, delta)),
    quantisers: [64, 256].map((k) => measureQuantisers(delta.values, delta.layout, k)),
    bodies: (flags.small ? (["tiny"] as const) : (["tiny", "12-block"] as const)).map(measureBody),
  };
  console.log(flags.json ? JSON.stringify(report) : describe(report));
}

function measureCodec(name: string, codec: Codec, { values, layout }: Delta): CodecReport {
  const payload = codec.encode(values, layout);
  const update = accepted(codec, payload, layout);
  let errors = 0;
  let signal = 0;
  let largestError = 0;
  update.forEachChunk((offset, grid) => {
    for (let at = 0; at < grid.length; at++) {
      const value = values[offset + at]!;
      const error = Math.abs(value - grid[at]! / GRID_UNITS);
      errors += error * error;
      signal += value * value;
      largestError = Math.max(largestError, error);
    }
  });
  const residual = new Float32Array(values.length);
  const whole = wholeCodec(codec, layout);
  const megabytes = (4 * values.length) / 1e6;
  return {
    codec: name,
    bytes: payload.length,
    ratio: (4 * values.length) / payload.length,
    relativeSquaredError: errors / signal,
    largestError,
    encodeMBps: megabytes / seconds(() => codec.encode(values, layout)),
    decodeMBps: megabytes / seconds(() => accepted(codec, payload, layout).forEachChunk(() => {})),
    errorFeedbackMBps: megabytes / seconds(() => compressUpdate(values, residual, whole)),
  };
}

function measureBody(preset: PresetName): BodyReport {
  const { model } = parseRunConfig(presets[preset].config);
  const layout = parameterLayout(bodyTensors(model), sha256);
  const closedBody = genesisBody(model, 1);
  // Any values will do for speed; the body's own are at hand.
  const payload = codecs.int8.encode(closedBody, layout);
  const update = accepted(codecs.int8, payload, layout);
  const body = new ReplicatedBody({ closedRound: 0, closedBody, layout });
  body.add(0, "first", update, 1);
  let key = 0;
  const accumulate = seconds(() => body.add(0, `${key++}`, update, 1));
  const fold = seconds(
    () => body.bodyAt(1),
    () => body.add(0, `${key++}`, update, 1),
  );
  const root = seconds(() => bodyRoot(closedBody, sha256));
  const megabytes = (4 * layout.total) / 1e6;
  return {
    preset,
    parameters: layout.total,
    accumulateMBps: megabytes / accumulate,
    foldMBps: megabytes / fold,
    rootMBps: megabytes / root,
    roundOfThreeMs: 1000 * (3 * accumulate + fold + root),
  };
}

/** A flat update from a file, laid out as the preset with as many body parameters, or as one matrix. */
async function readDelta(path: string): Promise<Delta> {
  const bytes = await readFile(path);
  const values = readFloats(bytes, 0, bytes.length >> 2);
  const layouts = presetNames.map((name) =>
    parameterLayout(bodyTensors(parseRunConfig(presets[name].config).model), sha256),
  );
  const layout =
    layouts.find(({ total }) => total === values.length) ??
    parameterLayout([{ name: "delta", shape: [1, values.length] }], sha256);
  return { source: path, values, layout };
}

function accepted(codec: Codec, payload: Uint8Array, layout: ParameterLayout): GridUpdate {
  const result = codec.decode(payload, layout);
  if (!result.ok) throw new Error(`${codec.name} rejects its own payload: ${result.rejection.detail}`);
  return result.update;
}

/** Best of several runs: what the code costs when the machine does nothing else. */
function seconds(work: () => unknown, prepare: () => unknown = () => {}): number {
  let best = Number.POSITIVE_INFINITY;
  for (let run = 0; run < REPETITIONS; run++) {
    prepare();
    const startMs = performance.now();
    work();
    best = Math.min(best, (performance.now() - startMs) / 1000);
  }
  return best;
}

/** Fourth moment over the squared second: 3 for normal values, more for heavier tails. */
function kurtosis({ values }: Delta): number {
  let second = 0;
  let fourth = 0;
  for (const value of values) {
    second += value ** 2;
    fourth += value ** 4;
  }
  return (fourth * values.length) / second ** 2;
}

function stepsFrom(text: string | undefined): number | undefined {
  return text === undefined ? undefined : wholeNumber("--steps", text);
}

function wholeNumber(flag: string, text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) {
    throw new Error(`${flag} is ${text}; give a whole number from 1`);
  }
  return value;
}

interface Report {
  readonly machine: string;
  readonly delta: { readonly source: string; readonly values: number; readonly kurtosis: number };
  readonly codecs: readonly CodecReport[];
  readonly quantisers: readonly QuantiserReport[];
  readonly bodies: readonly BodyReport[];
}

function describe({ machine, delta, codecs: rows, quantisers, bodies }: Report): string {
  const whole = (value: number) => value.toFixed(0).padStart(8);
  return [
    machine,
    `update: ${delta.source}; ${delta.values} values, kurtosis ${delta.kurtosis.toFixed(1)}`,
    "",
    "codec               bytes   ratio  rel.sq.error   enc MB/s dec MB/s  ef MB/s",
    ...rows.map(
      (row) =>
        row.codec.padEnd(16) +
        `${row.bytes}`.padStart(9) +
        row.ratio.toFixed(3).padStart(8) +
        row.relativeSquaredError.toExponential(2).padStart(14) +
        `  ${whole(row.encodeMBps)} ${whole(row.decodeMBps)} ${whole(row.errorFeedbackMBps)}`,
    ),
    "",
    "topk keeps    share of squares   2-bit rel.sq.error: two magnitudes   four bins   1-bit: sign",
    ...quantisers.map(
      (row) =>
        `${row.k} of 4096`.padEnd(14) +
        row.keptEnergy.toFixed(3).padStart(16) +
        row.twoMagnitudes.toFixed(4).padStart(37) +
        row.fourBins.toFixed(4).padStart(12) +
        row.sign.toFixed(4).padStart(14),
    ),
    "",
    "body          parameters   add MB/s fold MB/s root MB/s  round of 3 peers",
    ...bodies.map(
      (row) =>
        row.preset.padEnd(12) +
        `${row.parameters}`.padStart(12) +
        `  ${whole(row.accumulateMBps)}  ${whole(row.foldMBps)}  ${whole(row.rootMBps)}` +
        `${row.roundOfThreeMs.toFixed(0).padStart(15)} ms`,
    ),
  ].join("\n");
}
