// What the simulator charges for arithmetic over whole bodies: values a second, measured on one matrix on this machine.
import { ReplicatedBody } from "#protocol/core/averaging.ts";
import { CODEC_NAMES, type CodecName, codecFor, DEFAULT_TOP_K } from "#protocol/core/codec/registry.ts";
import type { Defence } from "#protocol/core/defence.ts";
import { compressUpdate } from "#protocol/core/error-feedback.ts";
import type { GridUpdate } from "#protocol/core/grid.ts";
import { parameterLayout } from "#protocol/core/layout.ts";
import { rootOfTiles, tileIds } from "#protocol/core/merkle.ts";
import { wholeCodec } from "#protocol/core/update-codec.ts";
import { agreement, signsOf } from "#protocol/core/update-signs.ts";
import { traitsOf } from "#protocol/core/update-traits.ts";
import { sha256, sha256Hex } from "#protocol/net/hash.ts";
import { seededRandom } from "#protocol/simulation/random.ts";

const ROWS = 2048;
const COLUMNS = 4096;
const REPEATS = 3;
const PAIRS = 16;
/** The most that `--codec auto` lets topk keep; the simulator goes straight from the default to it. */
const DENSE_TOP_K = 640;

export interface Rates {
  readonly name: string;
  /** Values a second: compressed with error feedback and hashed; hashed, checked, decoded and added. */
  readonly encoded: number;
  readonly applied: number;
  /** As `applied`, in a run whose defence is majority: measured tensor by tensor, and its signs kept. */
  readonly judged: number;
  readonly bytesPerValue: number;
}

export interface RateReport {
  readonly values: number;
  readonly codecs: readonly Rates[];
  /** Values a second: a round's mean folded into the body, and that hashed. */
  readonly opened: number;
  /** Values a second: an update's signs compared with another's. */
  readonly compared: number;
}

export function measureRates(): RateReport {
  const layout = parameterLayout([{ name: "sample.weight", shape: [ROWS, COLUMNS] }], sha256);
  const random = seededRandom(1);
  const values = Float32Array.from({ length: layout.total }, () => {
    let sum = -2;
    for (let draw = 0; draw < 4; draw++) sum += random();
    return 1e-3 * sum;
  });
  const residual = new Float32Array(layout.total);
  const body = (rule: Defence = "none") =>
    new ReplicatedBody({ closedRound: 0, closedBody: values, layout, defence: { rule, hash: sha256 } });
  const ratesOf = (name: CodecName, topK: number): Rates => {
    const codec = wholeCodec(codecFor({ codec: name, topK }), layout);
    const compress = () => compressUpdate(values, residual, codec, { decay: 1 });
    const { payload } = compress();
    let key = 0;
    const applied = (rule: Defence) => {
      const target = body(rule);
      target.add(0, "first", decoded(codec.decode(payload)), 1);
      return fastest(() => {
        target.add(0, `update-${key++}`, decoded(codec.decode(payload)), 1, sha256Hex(payload));
      });
    };
    return {
      name: topK === DEFAULT_TOP_K ? name : `${name}-${topK}`,
      encoded: layout.total / fastest(() => sha256Hex(compress().payload)),
      applied: layout.total / applied("none"),
      judged: layout.total / applied("majority"),
      bytesPerValue: payload.length / layout.total,
    };
  };
  const codecs = [...CODEC_NAMES.map((name) => ratesOf(name, DEFAULT_TOP_K)), ratesOf("topk", DENSE_TOP_K)];
  const sparse = wholeCodec(codecFor({ codec: "topk", topK: DEFAULT_TOP_K }), layout);
  const update = decoded(sparse.decode(sparse.encode(values)));
  const target = body();
  let key = 0;
  const opened = fastest(() => {
    // A cheap update makes the body's old mean out of date.
    target.add(0, `update-${key++}`, update, 1);
    rootOfTiles(tileIds(target.bodyAt(1), sha256), sha256);
  });
  const traits = traitsOf(update, layout, undefined);
  const [one, other] = [signsOf(update, layout, traits), signsOf(update, layout, traits)];
  const compared = fastest(() => {
    for (let pair = 0; pair < PAIRS; pair++) agreement(one, other);
  });
  const pairs = PAIRS * layout.total;
  return { values: layout.total, codecs, opened: layout.total / opened, compared: pairs / compared };
}

function decoded(result: ReturnType<ReturnType<typeof wholeCodec>["decode"]>): GridUpdate {
  if (!result.ok) throw new TypeError(result.rejection.detail);
  return result.update;
}

/** CPU seconds of the fastest of some runs. */
function fastest(work: () => void): number {
  let best = Number.POSITIVE_INFINITY;
  for (let repeat = 0; repeat < REPEATS; repeat++) {
    const before = process.cpuUsage();
    work();
    const { user, system } = process.cpuUsage(before);
    best = Math.min(best, (user + system) / 1e6);
  }
  return best;
}

export function rateLines({ values, codecs, opened, compared }: RateReport): string[] {
  const millions = (rate: number) => (rate / 1e6).toFixed(0).padStart(10);
  return [
    `million values a second, of ${(values / 1e6).toFixed(1)} million; rounds are opened at ${millions(opened).trim()}, pairs compared at ${millions(compared).trim()}`,
    "codec       encoded   applied    judged  bytes/value",
    ...codecs.map(
      ({ name, encoded, applied, judged, bytesPerValue }) =>
        name.padEnd(9) +
        millions(encoded) +
        millions(applied) +
        millions(judged) +
        bytesPerValue.toFixed(4).padStart(13),
    ),
  ];
}
