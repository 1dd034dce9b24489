// One measurement of bench/codec-size.ts, in a process of its own: CPU time and the peak of memory of one codec on one update.
import { readFile, writeFile } from "node:fs/promises";
import { ReplicatedBody } from "#protocol/core/averaging.ts";
import { codecFor } from "#protocol/core/codec/registry.ts";
import { compressUpdate } from "#protocol/core/error-feedback.ts";
import type { GridUpdate } from "#protocol/core/grid.ts";
import { wholeCodec } from "#protocol/core/update-codec.ts";
import { type CodecSizeSetting, type CodecSizeWork, manyValues, sampleLayout } from "./codec-size.ts";

const REPEATS = 3;

const { codec: name, topK, values, work, payloadFile }: CodecSizeSetting = JSON.parse(process.argv[2]!);
const layout = sampleLayout(values);
const codec = wholeCodec(codecFor({ codec: name, topK }), layout);

function decoded(payload: Uint8Array): GridUpdate {
  const result = codec.decode(payload);
  if (!result.ok) throw new TypeError(result.rejection.detail);
  return result.update;
}

/** What is done over and over; what it needs is there before. */
async function prepared(): Promise<() => unknown> {
  switch (work) {
    case "encode": {
      const delta = manyValues(values);
      return () => codec.encode(delta);
    }
    case "compress": {
      const [delta, residual] = [manyValues(values), manyValues(values)];
      return () => compressUpdate(delta, residual, codec, { target: delta });
    }
    case "decode": {
      const payload = await readFile(payloadFile);
      return () => decoded(payload).forEachChunk(() => {});
    }
    case "count": {
      const payload = await readFile(payloadFile);
      const body = new ReplicatedBody({ closedRound: 0, closedBody: new Float32Array(values), layout });
      let key = 0;
      return () => body.add(0, `update-${key++}`, decoded(payload), 1);
    }
  }
}

const PEAK_OF: ReadonlySet<CodecSizeWork> = new Set(["encode", "compress", "decode"]);

const before = process.memoryUsage.rss();
const run = await prepared();
const result = run();
// Node gives the peak in kibibytes. Later runs would add what the one before has left to the garbage collector.
const peakBytes = process.resourceUsage().maxRSS * 1024 - before;
if (work === "encode") await writeFile(payloadFile, result as Uint8Array);
let bestMs = Number.POSITIVE_INFINITY;
for (let repeat = 0; repeat < REPEATS; repeat++) {
  const started = process.cpuUsage();
  run();
  const { user, system } = process.cpuUsage(started);
  bestMs = Math.min(bestMs, (user + system) / 1000);
}
console.log(JSON.stringify({ bestMs, peakBytes: PEAK_OF.has(work) ? peakBytes : undefined }));
