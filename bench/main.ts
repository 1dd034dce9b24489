// `npm run bench -- NAME …`: finds the benchmark by its name and runs it. Each prints its own report and its own --help.
import { spawnSync } from "node:child_process";
import { isDeepStrictEqual } from "node:util";
import { trainingEnvironment } from "#model/runtime/process-environment.ts";

interface Benchmark {
  readonly summary: string;
  /** Trains in this very process, which is then started once more with a trainer's environment. */
  readonly trains?: true;
  /** Imported when asked for: what one benchmark needs, another may lack. */
  readonly load: () => Promise<(args: string[]) => Promise<void>>;
}

const benchmarks: Readonly<Record<string, Benchmark>> = {
  step: {
    summary: "one training step: tokens per second and where the time goes",
    trains: true,
    load: async () => (await import("./step.ts")).benchStep,
  },
  curves: {
    summary: "a training beside PyTorch's: loss of each step, held-out bits per byte, and their plots",
    trains: true,
    load: async () => (await import("./curves.ts")).benchCurves,
  },
  memory: {
    summary: "peak memory of training, recomputed or not, beside the plan's estimate",
    load: async () => (await import("./memory.ts")).benchMemory,
  },
  "hand-over": {
    summary: "a body to the trainer and back: a thread, a child's channel, a file, the trainer's pipe",
    load: async () => (await import("./hand-over.ts")).benchHandOver,
  },
  joining: {
    summary: "a newcomer's body from 1, 2 and 4 peers: bytes per second, as share of its link",
    load: async () => (await import("./joining.ts")).benchJoining,
  },
  codec: {
    summary: "the codecs on a real update: MB/s, bytes and error",
    load: async () => (await import("./codec.ts")).benchCodec,
  },
  quality: {
    summary: "the codecs' price in bits per byte: three peers, three languages, one process",
    load: async () => (await import("./averaging-quality.ts")).benchAveragingQuality,
  },
  upload: {
    summary: "what a peer uploads a step, beside a ring all-reduce of the whole model",
    trains: true,
    load: async () => (await import("./upload.ts")).benchUpload,
  },
  byzantine: {
    summary: "what liars cost in bits per byte, under each defence: ten peers, three languages, one process",
    load: async () => (await import("./byzantine.ts")).benchByzantine,
  },
  sim: {
    summary: "the simulator's speed, and its fault matrix over many seeds",
    load: async () => (await import("./sim.ts")).benchSimulator,
  },
  overlap: {
    summary: "training on while updates travel: its price in bits per byte",
    load: async () => (await import("./overlap.ts")).benchOverlap,
  },
  utilisation: {
    summary: "real peers over limited links: how much of the time their trainers train",
    load: async () => (await import("./utilisation.ts")).benchUtilisation,
  },
  tokenizer: {
    summary: "training and encoding, beside Hugging Face's tokenizer in Rust",
    load: async () => (await import("./tokenizer.ts")).benchTokenizer,
  },
};

const USAGE = [
  "npm run bench -- NAME [--json] [--help] …",
  ...Object.entries(benchmarks).map(([name, { summary }]) => `  ${name.padEnd(12)}${summary}`),
].join("\n");

const EXIT_FAILED = 1;
const EXIT_USAGE = 2;

const [name = "", ...args] = process.argv.slice(2);
const benchmark = Object.hasOwn(benchmarks, name) ? benchmarks[name] : undefined;
const environment = trainingEnvironment(process.env);
if (benchmark?.trains && !isDeepStrictEqual(environment, { ...process.env })) {
  const { status } = spawnSync(process.execPath, process.argv.slice(1), {
    env: environment,
    stdio: "inherit",
  });
  process.exitCode = status ?? EXIT_FAILED;
} else if (benchmark !== undefined) {
  try {
    await (await benchmark.load())(args);
  } catch (error) {
    console.error(error instanceof Error ? error.message : String(error));
    process.exitCode = EXIT_FAILED;
  }
} else if (name === "--help") {
  console.log(USAGE);
} else {
  console.error(name === "" ? "Which benchmark?" : `There is no benchmark "${name}".`);
  console.error(USAGE);
  process.exitCode = EXIT_USAGE;
}
