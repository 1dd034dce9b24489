// The one table from an error's `code` to the process' exit code, its meaning and the usual remedy. Scripts rely on
// these numbers: add, never renumber. 0 is success, also of a peer that was asked to leave.

export interface ExitEntry {
  readonly exit: number;
  /** What went wrong, as a row of the documentation. */
  readonly meaning: string;
  /** What usually helps; an error with a `remedy` of its own overrides it. */
  readonly remedy: string;
}

const row = (exit: number, meaning: string, remedy: string): ExitEntry => ({ exit, meaning, remedy });

/** Bugs and everything that carries no code. */
export const UNEXPECTED: ExitEntry = row(
  1,
  "an error that glossa does not know",
  "Run again with --verbose and report the stack.",
);

/** Ended by a second Ctrl-C before the clean exit was through (128 + SIGINT). */
export const INTERRUPTED_EXIT = 130;

const usage = row(2, "a flag, word or value that makes no sense", "See --help of the command.");
const data = row(10, "a data path that is missing, empty or unreadable", "Check the paths given to --data.");
const invite = row(
  20,
  "an invite that is malformed or mistyped",
  "Copy the whole invite that `glossa init` printed.",
);
const manifest = row(
  22,
  "a run manifest that does not match the run's id",
  "Get a fresh invite from the run's owner.",
);
const unreachable = row(
  21,
  "no bootstrap or peer could be reached",
  "Check the addresses, the network and firewalls.",
);
const stateUse = row(
  30,
  "a state directory that another process uses",
  "Stop the other peer or give --state-dir.",
);
const stateBroken = row(
  33,
  "a state directory whose files are damaged",
  "Restore it, or start afresh in another one.",
);
const device = row(40, "a device that is not there", "Use --device cpu, or install the device's driver.");
const demo = row(
  50,
  "a demo whose peers did not agree, did not learn or died",
  "Run again with --keep and read the logs.",
);

/** Codes of glossa's own errors and of the operating system. */
export const EXIT_CODES: Readonly<Record<string, ExitEntry>> = {
  usage,
  "unknown-command": usage,
  "config-invalid": row(
    3,
    "a run configuration that is not valid",
    "Correct the field that the message names.",
  ),
  "unsupported-node": row(78, "a Node that is too old", "Use `npx glossa` or `npm run glossa --`."),

  "data-missing": data,
  "data-empty": data,
  "data-binary": row(
    11,
    "data that is not text",
    "Give .txt, .jsonl or .parquet files, also as .gz or .zst.",
  ),
  "corpus-too-small": row(
    12,
    "a corpus too small for what is asked of it",
    "Give more data or lower the vocabulary.",
  ),
  "tokenizer-unreadable": row(
    13,
    "a tokenizer file that cannot be used",
    "Give a byte-level BPE tokenizer.json.",
  ),

  "invite-malformed": invite,
  "bootstrap-unreachable": unreachable,
  "manifest-mismatch": manifest,
  "manifest-not-found": row(
    23,
    "no peer or bootstrap knows the run",
    "Upload it with `glossa init --bootstrap`.",
  ),
  "port-in-use": row(24, "a port that another process uses", "Give another port, or 0 for a free one."),
  "address-invalid": row(25, "an address that cannot be used", "Write it as /ip4/192.0.2.7/tcp/4001."),

  "state-in-use": stateUse,
  "state-of-another-run": row(31, "a state directory of another run", "Give another --state-dir."),
  "disk-full": row(32, "a full disk; the last saved state is intact", "Free some space and start again."),
  "state-corrupt": stateBroken,
  "state-not-writable": row(
    34,
    "a state directory that cannot be written",
    "Change its permissions or --state-dir.",
  ),

  "device-unavailable": device,

  "no-running-peer": row(60, "no running peer to ask", "Start one with `glossa peer`, or give --state-dir."),
  "control-unreachable": row(61, "a peer that does not answer", "Check that the peer's process is alive."),

  "demo-failed": demo,

  // What the operating system says where no part of glossa has said it better.
  EADDRINUSE: row(24, "a port that another process uses", "Give another port, or 0 for a free one."),
  ENOSPC: row(32, "a full disk; the last saved state is intact", "Free some space and start again."),
  EDQUOT: row(32, "a full disk; the last saved state is intact", "Free some space and start again."),
  ENOENT: row(10, "a file that is not there", "Check the paths that were given."),
  EACCES: row(34, "a file that may not be read or written", "Check the permissions."),
};

/** The entry of an error, by its `code`, or by that of the nearest cause that has a known one. */
export function exitEntryOf(error: unknown): ExitEntry & { readonly code: string } {
  for (let at = error; at instanceof Error; at = at.cause) {
    const code = (at as { code?: unknown }).code;
    if (typeof code === "string" && Object.hasOwn(EXIT_CODES, code)) return { code, ...EXIT_CODES[code]! };
  }
  return { code: "unexpected", ...UNEXPECTED };
}
