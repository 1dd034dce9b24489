// `npm run bench -- codec --values 85000000`: what an update of a large body costs, each codec in a process of its own for the
// peak of its memory; and how long the thread that serves the network stands still while a round is applied.
import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { ArithmeticThread } from "#node/arithmetic/arithmetic-thread.ts";
import { CODEC_NAMES, type CodecName } from "#protocol/core/codec/registry.ts";
import { type ParameterLayout, parameterLayout } from "#protocol/core/layout.ts";
import { parseRunConfig } from "#protocol/core/run-config.ts";
import type { ArithmeticOptions, BodyArithmetic } from "#protocol/driver/arithmetic.ts";
import { LocalArithmetic } from "#protocol/driver/local-arithmetic.ts";
import { sha256 } from "#protocol/net/hash.ts";
import { seededRandom } from "#protocol/simulation/random.ts";

export type CodecSizeWork = "encode" | "decode" | "count" | "compress";

export interface CodecSizeSetting {
  readonly codec: CodecName;
  readonly topK: number;
  readonly values: number;
  readonly work: CodecSizeWork;
  /** Written by `encode`, read by `decode` and `count`. */
  readonly payloadFile: string;
}

interface Cost {
  /** CPU time of the best run. */
  readonly bestMs: number;
  /** With what the work is given. */
  readonly peakBytes?: number;
}

interface CodecRow extends Record<CodecSizeWork, Cost> {
  readonly codec: CodecName;
}

interface RoundRow {
  readonly where: "this thread" | "its own";
  /** From the first update to the next round's body. */
  readonly wallMs: number;
  /** The longest that this thread did nothing else. */
  readonly blockedMs: number;
  readonly partsMs: Readonly<Record<string, number>>;
}

export interface SizeReport {
  readonly values: number;
  readonly codecs: readonly CodecRow[];
  readonly rounds: readonly RoundRow[];
}

const CHILD = fileURLToPath(new URL("./codec-size-child.ts", import.meta.url));
const WORKS = ["encode", "decode", "count", "compress"] as const;
const COLUMNS = 4096;
const PERIOD = 2 ** 20;
const UPDATES = 3;
const SEVERAL_TURNS_MS = 50;

/** Matrices and a vector, as many values as wished. */
export function sampleLayout(values: number): ParameterLayout {
  const rows = Math.max(1, Math.floor((values - 1) / COLUMNS));
  const rest = values - rows * COLUMNS;
  return parameterLayout(
    [
      { name: "sample.weight", shape: [rows, COLUMNS] },
      { name: "sample.norm", shape: [rest] },
    ],
    sha256,
  );
}

/** Near normal, of 1e-3; repeated with other sizes, because to draw each would take longer than what is measured. */
export function manyValues(length: number): Float32Array {
  const random = seededRandom(1);
  const values = new Float32Array(length);
  for (let at = 0; at < Math.min(PERIOD, length); at++) {
    values[at] = 1e-3 * (random() + random() + random() + random() - 2);
  }
  for (let at = PERIOD; at < length; at++) values[at] = values[at - PERIOD]! * 0.99;
  return values;
}

export async function measureSize(values: number, topK: number): Promise<SizeReport> {
  const folder = await mkdtemp(join(tmpdir(), "glossa-codec-size-"));
  try {
    const codecs: CodecRow[] = [];
    for (const codec of CODEC_NAMES) {
      const costs = {} as Record<CodecSizeWork, Cost>;
      for (const work of WORKS) {
        costs[work] = await measureAlone({ codec, topK, values, work, payloadFile: join(folder, codec) });
      }
      codecs.push({ codec, ...costs });
    }
    return { values, codecs, rounds: await measureRounds(values) };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function measureAlone(setting: CodecSizeSetting): Promise<Cost> {
  const { stdout } = await promisify(execFile)(process.execPath, [CHILD, JSON.stringify(setting)]);
  return JSON.parse(stdout) as Cost;
}

export async function measureRounds(values: number): Promise<RoundRow[]> {
  const options: ArithmeticOptions = {
    config: parseRunConfig({ averaging: { codec: "int8" } }),
    layout: sampleLayout(values),
    hash: sha256,
  };
  const here = await measureRound("this thread", new LocalArithmetic(options), options);
  const thread = new ArithmeticThread();
  try {
    return [here, await measureRound("its own", thread.open(options), options)];
  } finally {
    await thread.close();
  }
}

/** A peer's part in a round: its own update made, it and others' counted, the round closed and the next body hashed. */
async function measureRound(
  where: RoundRow["where"],
  books: BodyArithmetic,
  { layout }: ArithmeticOptions,
): Promise<RoundRow> {
  const closed = await books.describe(manyValues(layout.total));
  await books.begin(0, closed);
  const delta = await books.describe(manyValues(layout.total));
  const residual = await books.describe(new Float32Array(layout.total));
  const delay = monitorEventLoopDelay({ resolution: 5 });
  delay.enable();
  // A pause is told from the turn before it to the one after.
  await sleep(SEVERAL_TURNS_MS);
  const startedMs = performance.now();
  const partsMs: Record<string, number> = {};
  const timed = async <Result>(part: string, work: () => Promise<Result>): Promise<Result> => {
    const beganMs = performance.now();
    const result = await work();
    partsMs[part] = (partsMs[part] ?? 0) + performance.now() - beganMs;
    return result;
  };
  const own = await timed("compress", () => books.compress(delta.body, residual.body));
  for (let author = 0; author < UPDATES; author++) {
    await timed("count", async () => {
      const decoded = await books.decode(own.payload);
      if (!decoded.ok) throw new TypeError(decoded.rejection.detail);
      await books.add(0, `author-${author}`, decoded.update, 1);
      await books.release(decoded.update);
    });
  }
  await timed("body and root", () => books.bodyAt(1));
  await timed("close", () => books.closeThrough(0));
  const wallMs = performance.now() - startedMs;
  await sleep(SEVERAL_TURNS_MS);
  delay.disable();
  return { where, wallMs, blockedMs: delay.max / 1e6, partsMs };
}

export function describeSize({ values, codecs, rounds }: SizeReport): string {
  const ms = (cost: Cost) => cost.bestMs.toFixed(0).padStart(8);
  const times = (cost: Cost) => ((cost.peakBytes ?? 0) / (4 * values)).toFixed(2).padStart(9);
  return [
    `an update of ${values} values, ${((4 * values) / 1e6).toFixed(0)} MB: CPU ms, and peak memory in sizes of the update`,
    "codec      encode  decode   count compress   encoding decoding compressing",
    ...codecs.map(
      (row) =>
        row.codec.padEnd(9) +
        ms(row.encode) +
        ms(row.decode) +
        ms(row.count) +
        ms(row.compress).padStart(9) +
        times(row.encode).padStart(11) +
        times(row.decode) +
        times(row.compress).padStart(12),
    ),
    "",
    `a round of ${UPDATES} int8 updates, ms: the whole, the longest that this thread stands still, and the parts`,
    ...rounds.map(
      ({ where, wallMs, blockedMs, partsMs }) =>
        `${where.padEnd(12)}${wallMs.toFixed(0).padStart(7)}${blockedMs.toFixed(0).padStart(7)}   ` +
        Object.entries(partsMs)
          .map(([part, time]) => `${part} ${time.toFixed(0)}`)
          .join(", "),
    ),
  ].join("\n");
}
