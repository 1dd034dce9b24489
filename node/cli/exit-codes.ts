// The one table from an error's `code` to the process' exit code, its meaning and the usual remedy. Scripts rely on
// these numbers: add, never renumber. 0 is success, also of a peer that was asked to leave.

export interface ExitEntry {
  readonly exit: number;
  /** What went wrong, as a row of the documentation. */
  readonly meaning: string;
  /** What usually helps; an error with a `remedy` of its own overrides it. */
  readonly remedy: string;
}

/** Bugs and everything that carries no code of ours. */
export const UNEXPECTED: ExitEntry = {
  exit: 1,
  meaning: "an error that glossa does not know",
  remedy: "Run again with --verbose and report the stack.",
};

/** Stopped before there was a result, or by a second Ctrl-C before the clean exit was through (128 + SIGINT). */
export const INTERRUPTED_EXIT = 130;

interface Row extends ExitEntry {
  /** Codes of errors, in capitals with underscores; those of the operating system begin with E. */
  readonly codes: readonly string[];
}

const row = (exit: number, meaning: string, remedy: string, ...codes: string[]): Row => ({
  exit,
  meaning,
  remedy,
  codes,
});

export const EXIT_TABLE: readonly Row[] = [
  row(
    2,
    "a flag or value that makes no sense",
    "See --help of the command.",
    "USAGE",
    "GROUP_NOT_POSSIBLE",
    "VOCABULARY_SIZE_OUT_OF_RANGE",
    "EMBEDDING_NOT_KEPT",
  ),
  row(
    3,
    "a run configuration that is not valid",
    "Correct the field that the message names.",
    "RUN_CONFIG_INVALID",
    "MODEL_CONFIG_INVALID",
    "LAYOUT_INVALID",
    "COMMON_VOCABULARY_SIZE",
  ),
  row(
    10,
    "data that is missing or unreadable",
    "Check the paths that were given.",
    "DATA_PATH_MISSING",
    "DATA_UNREADABLE",
    "ENOENT",
  ),
  row(
    11,
    "data without any text",
    "Give files that hold text.",
    "DATA_EMPTY",
    "TEXT_FIELD_MISSING",
    "NOTHING_HELD_OUT",
  ),
  row(
    12,
    "data that is not text",
    "Give .txt, .jsonl or .parquet files, also as .gz or .zst.",
    "DATA_BINARY",
    "DATA_NOT_UTF8",
    "DATA_FORMAT_UNKNOWN",
  ),
  row(
    13,
    "a corpus too small for what is asked of it",
    "Give more text, or a smaller vocabulary.",
    "CORPUS_TOO_SMALL_FOR_SEQUENCE",
    "CORPUS_TOO_SMALL_FOR_VOCABULARY",
  ),
  row(
    14,
    "a tokenizer that cannot be used",
    "Give a byte-level BPE tokenizer.json, or let one be trained.",
    "TOKENIZER_UNREADABLE",
    "TOKENIZER_NOT_BYTE_LEVEL_BPE",
    "TOKENIZER_MISSING_BYTES",
    "TOKENIZER_UNSUPPORTED",
    "TOKENIZER_TOO_SLOW",
    "TOKENIZER_NOT_THE_RUNS",
  ),
  row(
    15,
    "data that is damaged",
    "Check the file with the tool that made it.",
    "JSONL_MALFORMED",
    "PARQUET_UNREADABLE",
  ),
  row(
    16,
    "a vocabulary or data other than the state directory was made with",
    "Give what it was made with, or another --state-dir.",
    "VOCABULARY_CHANGED",
    "DATA_POSITION_MISMATCH",
  ),
  row(
    17,
    "a model folder that is not one, or holds a model of another kind",
    "Give the folder of a Hugging Face MPT model with ALiBi, no biases and a tied head.",
    "MODEL_FOLDER_MISSING",
    "MODEL_FOLDER_UNREADABLE",
    "MODEL_FOLDER_UNSUPPORTED",
  ),
  row(
    18,
    "an output folder that is not empty, or is a file",
    "Give another one, or --force for one that is not empty.",
    "MODEL_FOLDER_NOT_EMPTY",
    "MODEL_FOLDER_IS_A_FILE",
  ),
  row(
    20,
    "an invite that is malformed or mistyped",
    "Copy the whole invite that glossa init printed.",
    "INVITE_NOT_AN_INVITE",
    "INVITE_UNKNOWN_VERSION",
    "INVITE_TYPO",
    "INVITE_OUT_OF_BOUNDS",
  ),
  row(
    21,
    "no bootstrap or peer could be reached",
    "Check the addresses, the network and the firewall.",
    "BOOTSTRAP_UNREACHABLE",
    "SNAPSHOT_UNAVAILABLE",
    "PEER_UNREACHABLE",
    "PEER_TIMEOUT",
    "ECONNREFUSED",
    "ETIMEDOUT",
  ),
  row(
    22,
    "a run manifest that is not the one of the run's id",
    "Ask whoever made the run for a new invite.",
    "MANIFEST_HASH_MISMATCH",
    "MANIFEST_MISMATCH",
    "MANIFEST_UNKNOWN_VERSION",
    "MANIFEST_OVERSIZED",
    "MANIFEST_INVALID",
  ),
  row(
    23,
    "a run that nobody reached knows",
    "Upload it with glossa init --bootstrap.",
    "MANIFEST_NOT_FOUND",
    "MANIFEST_REFUSED",
  ),
  row(
    24,
    "a port that is taken",
    "Give another port, or 0 for a free one.",
    "PORT_IN_USE",
    "ADDRESS_IN_USE",
    "EADDRINUSE",
  ),
  row(
    25,
    "an address that cannot be used",
    "Write it as /ip4/192.0.2.7/tcp/4001.",
    "ADDRESS_INVALID",
    "ADDRESS_UNAVAILABLE",
    "LISTEN_FAILED",
    "EADDRNOTAVAIL",
  ),
  row(
    26,
    "a model that is not the one the run starts from",
    "Give the model that the run was made from, or none: peers that have it hand it on.",
    "INITIAL_BODY_MISMATCH",
    "INITIAL_MODEL_UNFIT",
  ),
  row(
    27,
    "a run's common tokenizer that nobody reached has or keeps",
    "Give it with --tokenizer, or another bootstrap address.",
    "ASSET_NOT_FOUND",
    "ASSET_MISMATCH",
    "ASSET_REFUSED",
    "ASSET_TOO_LARGE",
  ),
  row(
    30,
    "a state directory or output folder that another process uses",
    "Stop that one or give another directory.",
    "STATE_IN_USE",
    "OUTPUT_IN_USE",
  ),
  row(31, "a state directory of another run", "Give another --state-dir.", "STATE_OF_ANOTHER_RUN"),
  row(
    32,
    "a full disk; the last saved state is intact",
    "Free some space and start again.",
    "DISK_FULL",
    "ENOSPC",
    "EDQUOT",
  ),
  row(
    33,
    "state that is damaged",
    "Restore it from a copy, or start afresh in another --state-dir.",
    "STATE_CORRUPT",
    "TOKEN_CACHE_CORRUPT",
    "IDENTITY_INVALID",
    "CHECKPOINT_INVALID",
  ),
  row(
    34,
    "files that may not be read or written",
    "Check the permissions.",
    "STATE_NOT_WRITABLE",
    "PATH_UNFIT",
    "IDENTITY_UNREADABLE",
    "EACCES",
    "EPERM",
  ),
  row(
    40,
    "a device that is not there",
    "Use --device cpu, or install what the device needs.",
    "DEVICE_UNAVAILABLE",
    "PRECISION_UNAVAILABLE",
  ),
  row(
    41,
    "training that left the finite numbers",
    "Lower the run's learning rate, or resume from an earlier checkpoint.",
    "NON_FINITE_STEP",
    "NON_FINITE_LOGITS",
    "UPDATE_NOT_FINITE",
  ),
  row(
    42,
    "a trainer that crashed again and again",
    "Take a smaller --micro-batch, --recompute or another --device, and start the peer again: it resumes.",
    "TRAINER_CRASHED",
  ),
  row(
    43,
    "a run that does not fit into this machine's memory",
    "Take the micro-batch or recomputation that the message names.",
    "PLAN_DOES_NOT_FIT",
  ),
  row(
    44,
    "a thread for averaging that ended",
    "Start the peer again: it resumes. Where memory is short, end other programs first.",
    "ARITHMETIC_LOST",
  ),
  row(50, "a demo whose peers died, disagreed or did not learn", "Run it again with --keep.", "DEMO_FAILED"),
  row(60, "no running peer to ask", "Start one with glossa peer, or give --state-dir.", "NO_RUNNING_PEER"),
  row(61, "a peer that does not answer", "Check that its process is alive.", "CONTROL_UNREACHABLE"),
  row(
    70,
    "a model that is not there, or not yet",
    "Give a model folder, a peer's state directory or the name of a running peer.",
    "MODEL_NOT_FOUND",
    "MODEL_AMBIGUOUS",
    "MODEL_NOT_READY",
    "NO_GLOBAL_EMBEDDING",
  ),
  row(71, "a model whose parts do not belong together", "Restore it from a copy.", "MODEL_PARTS_MISMATCH"),
  row(
    72,
    "an output folder that holds something else",
    "Give the same settings to go on, another --output, or --force.",
    "STATE_OF_ANOTHER_ADAPTATION",
    "STATE_OF_ANOTHER_TRAINING",
    "ADAPTATION_DAMAGED",
  ),
  row(
    73,
    "an update log that is not there, or keeps nothing to verify from",
    "Give a peer's state directory with --peer, and let the peer keep more with --keep-log.",
    "LOG_NOT_FOUND",
    "LOG_AMBIGUOUS",
    "NOTHING_TO_VERIFY",
  ),
  row(
    74,
    "a body that does not follow from its update log",
    "Verify the log of another peer, or from a later snapshot with --from.",
    "VERIFICATION_FAILED",
  ),
  row(78, "a Node that is too old", "Use npx glossa or npm run glossa --.", "NODE_TOO_OLD"),
];

const BY_CODE = new Map(EXIT_TABLE.flatMap((entry) => entry.codes.map((code) => [code, entry] as const)));

/**
 * The entry of an error, by its `code` or by that of the nearest cause that has a known one: what stands for a failure of
 * the file system (TOKEN_CACHE_UNWRITABLE) is left to the file system's own code, which knows a full disk.
 */
export function exitEntryOf(error: unknown): ExitEntry & { readonly code: string } {
  for (let at = error; at instanceof Error; at = at.cause) {
    const code = codeOf(at);
    const entry = code === undefined ? undefined : BY_CODE.get(code);
    if (code !== undefined && entry !== undefined) return { ...entry, code };
  }
  return { ...UNEXPECTED, code: "UNEXPECTED" };
}

function codeOf(error: Error): string | undefined {
  const { code } = error as { code?: unknown };
  return typeof code === "string" ? code : undefined;
}
