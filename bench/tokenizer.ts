// `npm run bench -- tokenizer`: how fast a tokenizer is trained and text encoded, beside Hugging Face's (Rust) in the same
// run. Checks on the way that merges and ids are equal, for a faster tokenizer with other ids would be none.
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { BPE, byteLevelPreTokenizer, Tokenizer as HuggingFaceTokenizer } from "tokenizers";
import { readDocuments } from "#model/data/read-documents.ts";
import { Tokenizer } from "#model/tokenizer/tokenizer.ts";
import { trainTokenizer } from "#model/tokenizer/train-tokenizer.ts";
import { describeMachine } from "./machine.ts";

const USAGE = `npm run bench -- tokenizer [--json] [--data FILE]… [--bytes N] [--repetitions N]
  --data FILE        a .txt, .jsonl or .parquet; may be given more than once (default: the demo's corpora)
  --bytes N          UTF-8 bytes taken of each (default 20000000)
  --repetitions N    runs of each, of which the fastest counts (default 3)`;

const CORPORA = new URL("../node/demo/corpora/", import.meta.url);
const DEFAULT_DATA = ["en-novels", "es-scripture", "zh-poetry"].map(
  (name) => new URL(`${name}.txt.gz`, CORPORA).pathname,
);
/** Documents that the native encoder gets at once; more gave no more speed. */
const BATCH_DOCUMENTS = 256;

interface CorpusReport {
  readonly data: string;
  readonly bytes: number;
  readonly documents: number;
  /** Merges that the native trainer learns: up to 30,000 tokens, a number it does not let one choose. */
  readonly merges: number;
  readonly train: Comparison;
  /** One document after another, the word cache empty at the start. */
  readonly encode: Comparison;
  /** Against the native encoder on batches of documents, in threads. */
  readonly encodeBatch: Comparison;
  readonly bytesPerToken: number;
}

interface Comparison {
  readonly oursMBps: number;
  readonly nativeMBps: number;
  /** Ours over native: above 1 we are faster. */
  readonly ratio: number;
}

export async function benchTokenizer(args: string[]): Promise<void> {
  const { values: flags } = parseArgs({
    args,
    options: {
      json: { type: "boolean", default: false },
      data: { type: "string", multiple: true, default: DEFAULT_DATA },
      bytes: { type: "string", default: "20000000" },
      repetitions: { type: "string", default: "3" },
      help: { type: "boolean", default: false },
    },
  });
  if (flags.help) return console.log(USAGE);
  const bytes = wholeNumber("--bytes", flags.bytes);
  const repetitions = wholeNumber("--repetitions", flags.repetitions);
  const native: { version: string } = createRequire(import.meta.url)("tokenizers/package.json");
  const { onnxruntime: _, ...machine } = describeMachine();
  const corpora: CorpusReport[] = [];
  for (const data of flags.data) corpora.push(await measure(data, bytes, repetitions));
  const report = { machine: { ...machine, tokenizers: native.version }, corpora };
  console.log(flags.json ? JSON.stringify(report) : describe(report));
}

async function measure(data: string, maxBytes: number, repetitions: number): Promise<CorpusReport> {
  const documents: string[] = [];
  let bytes = 0;
  for await (const document of readDocuments([data])) {
    documents.push(document);
    bytes += Buffer.byteLength(document);
    if (bytes >= maxBytes) break;
  }
  // The native trainer reads files, by line: so do both here.
  const text = `${documents.join("\n\n")}\n`;
  const lines = text.split(/(?<=\n)/);
  const mbps = (seconds: number): number => bytes / seconds / 1e6;

  const folder = await mkdtemp(join(tmpdir(), "glossa-bench-"));
  try {
    const file = join(folder, "text.txt");
    await writeFile(file, text);
    let nativeMerges: readonly string[] = [];
    const nativeTrain = await fastest(repetitions, async () => {
      const trained = new HuggingFaceTokenizer(BPE.empty());
      trained.setPreTokenizer(byteLevelPreTokenizer(false, true));
      const seconds = await time(() => trained.train([file]));
      trained.save(join(folder, "native.json"));
      nativeMerges = JSON.parse(await readFile(join(folder, "native.json"), "utf8")).model.merges;
      return seconds;
    });
    const vocabularySize = 257 + nativeMerges.length;
    let tokenizer: Tokenizer | undefined;
    const ourTrain = await fastest(repetitions, () =>
      time(async () => {
        tokenizer = await trainTokenizer(lines, {
          vocabularySize,
          minimumPairCount: 1,
          maxBytes: Number.POSITIVE_INFINITY,
        });
      }),
    );
    const json = tokenizer!.toJson();
    if (JSON.stringify(tokenizer!.mergePairs()) !== JSON.stringify(nativeMerges)) {
      throw new Error(`On ${data} the merges differ from the native trainer's: the comparison is void.`);
    }

    let tokens = 0;
    let ids: Uint32Array[] = [];
    const ourEncode = await fastest(repetitions, () => {
      const fresh = Tokenizer.fromJson(json);
      return time(() => {
        ids = documents.map((document) => fresh.encode(document));
      });
    });
    const oracle = HuggingFaceTokenizer.fromString(json);
    const nativeEncode = await fastest(repetitions, () =>
      time(async () => {
        for (const document of documents) tokens += (await oracle.encode(document)).getIds().length;
      }),
    );
    const nativeBatch = await fastest(repetitions, () =>
      time(async () => {
        for (let at = 0; at < documents.length; at += BATCH_DOCUMENTS) {
          const encodings = await oracle.encodeBatch(documents.slice(at, at + BATCH_DOCUMENTS));
          for (const encoding of encodings) tokens += encoding.getIds().length;
        }
      }),
    );
    const ourTokens = ids.reduce((sum, { length }) => sum + length, 0);
    if (tokens !== ourTokens * 2 * repetitions) {
      throw new Error(`On ${data} the ids differ from the native encoder's: the comparison is void.`);
    }
    return {
      data,
      bytes,
      documents: documents.length,
      merges: nativeMerges.length,
      train: compare(mbps(ourTrain), mbps(nativeTrain)),
      encode: compare(mbps(ourEncode), mbps(nativeEncode)),
      encodeBatch: compare(mbps(ourEncode), mbps(nativeBatch)),
      bytesPerToken: bytes / ourTokens,
    };
  } finally {
    await rm(folder, { recursive: true });
  }
}

function compare(oursMBps: number, nativeMBps: number): Comparison {
  return { oursMBps, nativeMBps, ratio: oursMBps / nativeMBps };
}

async function time(work: () => unknown): Promise<number> {
  const startMs = performance.now();
  await work();
  return (performance.now() - startMs) / 1000;
}

/** Least of several runs: what the code costs when the machine does nothing else. */
async function fastest(runs: number, seconds: () => Promise<number>): Promise<number> {
  let best = Number.POSITIVE_INFINITY;
  for (let run = 0; run < runs; run++) best = Math.min(best, await seconds());
  return best;
}

function wholeNumber(flag: string, text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) {
    throw new Error(`${flag} is ${text}; give a whole number from 1`);
  }
  return value;
}

function describe({ machine, corpora }: { machine: object; corpora: readonly CorpusReport[] }): string {
  const row = ({ oursMBps, nativeMBps, ratio }: Comparison): string =>
    `${oursMBps.toFixed(2).padStart(8)}${nativeMBps.toFixed(2).padStart(8)}${`${ratio.toFixed(1)}×`.padStart(8)}`;
  return [
    Object.entries(machine)
      .map(([key, value]) => `${key} ${value}`)
      .join(", "),
    "",
    `${" ".repeat(44)}MB/s    ours  native   ratio`,
    ...corpora.flatMap((corpus) => [
      `${corpus.data}: ${(corpus.bytes / 1e6).toFixed(2)} MB, ${corpus.bytesPerToken.toFixed(2)} bytes a token`,
      `  ${`train to ${corpus.merges} merges`.padEnd(46)}${row(corpus.train)}`,
      `  ${"encode, one document after another".padEnd(46)}${row(corpus.encode)}`,
      `  ${"encode, against native batches in threads".padEnd(46)}${row(corpus.encodeBatch)}`,
    ]),
  ].join("\n");
}
