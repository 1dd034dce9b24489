// NodeConfig: what one peer decides for itself. Nothing in here is agreed with anyone; the run's terms are RunConfig.
import { availableParallelism, hostname } from "node:os";
import { z } from "zod";
import { choice, decimal, flagSwitch, integer, setting, text } from "./settings.ts";

/** The names people see; they become file names too. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$/;

/** Every byte must be a token, so that no text is unencodable. */
const SMALLEST_VOCABULARY = 257;
const LARGEST_VOCABULARY = 1_048_576;

const WHERE = "Where";
export const TEXT = "Text and vocabulary";
const COMPUTE = "Computation";
const NETWORK = "Network";
export const WATCHING = "Watching";

/** Rounds that can be verified at least. A million rounds of the smallest payloads fill any disk. */
const keepLog = z.preprocess(
  (value) => (typeof value === "string" && /^\d+$/.test(value.trim()) ? Number(value) : value),
  z.union([z.enum(["auto", "all", "none"]), z.int().min(1).max(1_000_000)], {
    error: "must be auto, all, none or a number of rounds",
  }),
);

export const LOG_LEVELS = ["trace", "debug", "info", "warn", "error", "fatal", "silent"] as const;

/** Shared by every long-running process. */
export const logSettings = {
  logLevel: setting(choice(LOG_LEVELS).default("info"), {
    description: `How much to say: ${LOG_LEVELS.join(", ")}.`,
    value: "LEVEL",
    group: WATCHING,
  }),
  logFormat: setting(choice(["auto", "human", "json"]).default("auto"), {
    description: "Lines for people or one JSON object a line; auto chooses people on a terminal.",
    value: "FORMAT",
    group: WATCHING,
  }),
};

/** Shared by everything that listens for peers. */
export const networkSettings = {
  listen: setting(
    z.array(text("must be multiaddrs such as /ip4/0.0.0.0/tcp/4001")).default(["/ip4/0.0.0.0/tcp/0"]),
    {
      description: "Address to listen on, as a multiaddr; port 0 takes a free one.",
      value: "MULTIADDR",
      list: true,
      group: NETWORK,
    },
  ),
  announce: setting(z.array(text("must be multiaddrs such as /dns4/example.org/tcp/4001")).default([]), {
    description: "Address to hand out instead of the ones listened on (behind NAT or a proxy).",
    value: "MULTIADDR",
    list: true,
    group: NETWORK,
  }),
};

export const nodeConfigSchema = z
  .object({
    join: setting(text("must be an invite"), {
      description: "The run's invite, as `glossa init` printed it.",
      value: "INVITE",
      group: WHERE,
    }),
    name: setting(
      z
        .string()
        .regex(NAME, { error: "must be 1 to 32 letters, digits, dots, dashes or underscores" })
        .default(defaultName),
      {
        description: "What others see this peer as.",
        value: "NAME",
        defaultText: "the machine's name",
        group: WHERE,
      },
    ),
    stateDir: setting(text("must be a directory").optional(), {
      description:
        "Directory of identity, tokenizer, embeddings and checkpoints; start again with it to resume.",
      value: "DIRECTORY",
      defaultText: "~/.glossa/<run>/<name>",
      group: WHERE,
    }),
    rounds: setting(integer(1, 1_000_000_000).optional(), {
      description: "Leave after this many rounds.",
      value: "N",
      defaultText: "until stopped",
      group: WHERE,
    }),

    body: setting(text("must be a model").optional(), {
      description:
        "The model that the run starts from, where it starts from one: a model folder, or a peer's name or state directory.",
      value: "MODEL",
      defaultText: "fetched from the others",
      group: WHERE,
    }),

    data: setting(
      z.array(text("must be paths"), { error: "must be paths" }).min(1, { error: "needs at least one path" }),
      {
        description:
          "File or folder of .txt, .jsonl or .parquet, also as .gz or .zst. Never leaves this machine.",
        value: "PATH",
        list: true,
        group: TEXT,
      },
    ),
    textField: setting(text().default("text"), {
      description: "Field of .jsonl or column of .parquet that holds the text.",
      value: "FIELD",
      group: TEXT,
    }),
    vocabularySize: setting(integer(SMALLEST_VOCABULARY, LARGEST_VOCABULARY).optional(), {
      description:
        "Tokens in the vocabulary that is trained on the data. Not for runs that share one tokenizer.",
      value: "N",
      defaultText: "8192",
      group: TEXT,
    }),
    tokenizer: setting(text("must be a tokenizer.json").optional(), {
      description:
        "Take this byte-level BPE tokenizer.json instead of training one, or instead of fetching the run's.",
      value: "FILE",
      group: TEXT,
    }),

    group: setting(
      z
        .string()
        .regex(NAME, { error: "must be 1 to 32 letters, digits, dots, dashes or underscores" })
        .optional(),
      {
        description:
          "Average the embedding with the peers of the run that give the same name and have the same tokenizer. Not in variants trim and glob, where everybody shares rows.",
        value: "NAME",
        defaultText: "none",
        group: TEXT,
      },
    ),

    device: setting(choice(["auto", "cpu", "webgpu", "cuda"]).default("auto"), {
      description: "Where to train: auto (the fastest, by trial), cpu, webgpu or cuda.",
      value: "DEVICE",
      group: COMPUTE,
    }),
    microBatch: setting(integer(1, 65_536).optional(), {
      description: "Sequences computed at once, a divisor of the run's batch: less memory, the same step.",
      value: "N",
      defaultText: "the run's batch",
      group: COMPUTE,
    }),
    recompute: setting(flagSwitch(), {
      description: "Compute the values of each block again instead of keeping them: less memory, slower.",
      group: COMPUTE,
    }),
    precision: setting(choice(["float32", "float16"]).default("float32"), {
      description:
        "What training multiplies matrices in: float32, or float16 with weights in float32 and a scaled loss, for graphics cards that are faster in it. This machine's choice: the others need not know.",
      value: "PRECISION",
      group: COMPUTE,
    }),
    threads: setting(integer(1, 1024).default(defaultThreads), {
      description: "CPU threads of the training step.",
      value: "N",
      defaultText: "all cores but one",
      group: COMPUTE,
    }),
    evaluateEveryRounds: setting(integer(0, 1_000_000).default(1), {
      description: "Evaluate on held-out text before every N-th round; 0 never does.",
      value: "N",
      group: COMPUTE,
    }),
    evaluationTokens: setting(integer(1, 1_000_000_000).default(16_384), {
      description: "Held-out tokens an evaluation reads at most.",
      value: "N",
      group: COMPUTE,
    }),
    checkpointIntervalSeconds: setting(decimal(0.1, 86_400).default(60), {
      description: "Longest time between saves; what a power cut may cost of local training.",
      value: "SECONDS",
      group: COMPUTE,
    }),

    keepLog: setting(keepLog.default("auto"), {
      description:
        "Rounds that `glossa verify` can replay, at least: a number, all, none (announcements only), or auto (32, or what fits in four bodies or 256 MiB).",
      value: "ROUNDS",
      group: WHERE,
    }),

    ...networkSettings,
    bootstrap: setting(z.array(text("must be multiaddrs with /p2p/<peer id>")).default([]), {
      description: "Address of a bootstrap or of any peer of the run, beside those in the invite.",
      value: "MULTIADDR",
      list: true,
      group: NETWORK,
    }),
    manifest: setting(text("must be a .run.json file").optional(), {
      description: "The run's manifest, as `glossa init` wrote it, for a start without asking anyone for it.",
      value: "FILE",
      group: NETWORK,
    }),

    ...logSettings,
    events: setting(choice(["none", "json"]).default("none"), {
      description: "json prints one machine-readable event a line on stdout.",
      value: "FORMAT",
      group: WATCHING,
    }),
    metricsPort: setting(integer(0, 65_535).optional(), {
      description: "Serve Prometheus metrics on this loopback port; 0 takes a free one.",
      value: "PORT",
      defaultText: "off",
      group: WATCHING,
    }),
  })
  .refine(({ tokenizer, vocabularySize }) => tokenizer === undefined || vocabularySize === undefined, {
    error: "--tokenizer brings its own vocabulary: leave out --vocabulary-size, or let one be trained.",
  });

export type NodeConfig = z.output<typeof nodeConfigSchema>;

/** Vocabulary that is trained where neither a size nor a tokenizer is given. */
export const DEFAULT_VOCABULARY_SIZE = 8192;

function defaultName(): string {
  const name = hostname()
    .replaceAll(/[^A-Za-z0-9._-]/g, "-")
    .replace(/^[^A-Za-z0-9]+/, "")
    .slice(0, 32);
  return name === "" ? "peer" : name;
}

/** One core stays free, so that the network and the user's machine never wait for a training step. */
function defaultThreads(): number {
  return Math.max(1, availableParallelism() - 1);
}
