// What the simulator charges for arithmetic over whole bodies: values a second, measured on one matrix on this machine.
import { ReplicatedBody } from "#protocol/core/averaging.ts";
import { CODEC_NAMES, codecFor, DEFAULT_TOP_K } from "#protocol/core/codec/registry.ts";
import { compressUpdate } from "#protocol/core/error-feedback.ts";
import type { GridUpdate } from "#protocol/core/grid.ts";
import { parameterLayout } from "#protocol/core/layout.ts";
import { rootOfTiles, tileIds } from "#protocol/core/merkle.ts";
import { wholeCodec } from "#protocol/core/update-codec.ts";
import { sha256, sha256Hex } from "#protocol/net/hash.ts";
import { seededRandom } from "#protocol/simulation/random.ts";

const ROWS = 2048;
const COLUMNS = 4096;
const REPEATS = 3;

export interface Rates {
  readonly name: string;
  /** Values a second: compressed with error feedback and hashed; hashed, checked, decoded and added. */
  readonly encoded: number;
  readonly applied: number;
  readonly bytesPerValue: number;
}

export interface RateReport {
  readonly values: number;
  readonly codecs: readonly Rates[];
  /** Values a second: a round's mean folded into the body, and that hashed. */
  readonly opened: number;
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
  const body = () => new ReplicatedBody({ closedRound: 0, closedBody: values, layout });
  const codecs = CODEC_NAMES.map((name): Rates => {
    const codec = wholeCodec(codecFor({ codec: name, topK: DEFAULT_TOP_K }), layout);
    const compress = () => compressUpdate(values, residual, codec, { decay: 1 });
    const { payload } = compress();
    const target = body();
    target.add(0, "first", decoded(codec.decode(payload)), 1);
    let key = 0;
    return {
      name,
      encoded: layout.total / fastest(() => sha256Hex(compress().payload)),
      applied:
        layout.total /
        fastest(() => {
          sha256Hex(payload);
          target.add(0, `update-${key++}`, decoded(codec.decode(payload)), 1);
        }),
      bytesPerValue: payload.length / layout.total,
    };
  });
  const sparse = wholeCodec(codecFor({ codec: "topk", topK: DEFAULT_TOP_K }), layout);
  const update = decoded(sparse.decode(sparse.encode(values)));
  const target = body();
  let key = 0;
  const opened = fastest(() => {
    // A cheap update makes the body's old mean out of date.
    target.add(0, `update-${key++}`, update, 1);
    rootOfTiles(tileIds(target.bodyAt(1), sha256), sha256);
  });
  return { values: layout.total, codecs, opened: layout.total / opened };
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

export function rateLines({ values, codecs, opened }: RateReport): string[] {
  const millions = (rate: number) => (rate / 1e6).toFixed(0).padStart(10);
  return [
    `million values a second, of ${(values / 1e6).toFixed(1)} million; rounds are opened at ${millions(opened).trim()}`,
    "codec      encoded   applied  bytes/value",
    ...codecs.map(
      ({ name, encoded, applied, bytesPerValue }) =>
        name.padEnd(8) + millions(encoded) + millions(applied) + bytesPerValue.toFixed(4).padStart(13),
    ),
  ];
}
