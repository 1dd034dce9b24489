// What can go wrong between a person's question and an update log, and what verifying may find.

/** Nothing here goes by that name, or nothing keeps a log there. */
export class LogNotFoundError extends Error {
  readonly code = "LOG_NOT_FOUND";

  constructor(what: string, remedy: string) {
    super(`There is no update log ${what}: ${remedy}.`);
    this.name = "LogNotFoundError";
  }
}

export class LogAmbiguousError extends Error {
  readonly code = "LOG_AMBIGUOUS";
  readonly directories: readonly string[];

  constructor(directories: readonly string[]) {
    super(`${directories.length} peers here keep a log: give one with --peer, ${directories.join(" or ")}.`);
    this.name = "LogAmbiguousError";
    this.directories = directories;
  }
}

/** The log is there, but nothing that a replay could start from. */
export class NothingToVerifyError extends Error {
  readonly code = "NOTHING_TO_VERIFY";

  constructor(why: string) {
    super(`Nothing can be verified: ${why}.`);
    this.name = "NothingToVerifyError";
  }
}

export type FindingKind =
  | "body"
  | "genesis"
  | "payload-missing"
  | "payload-damaged"
  | "payload-undecodable"
  | "record"
  | "root"
  | "signature"
  | "snapshot"
  | "update-set";

/** What each finding means for whoever holds the body. */
const MEANING: Readonly<Record<FindingKind, string>> = {
  body: "the body that this peer holds is not the one that its log leads to",
  genesis: "the log does not begin where the run does",
  "payload-missing":
    "this part cannot be checked here; another peer's log has the same updates, and --from starts behind it",
  "payload-damaged": "the file has changed since it was counted; another peer's copy has the same name",
  "payload-undecodable": "no peer of the run would have counted it",
  record:
    "what made this body is not known here; another peer's log has the same updates, and --from starts behind it",
  root: "the recorded updates are not those that made the recorded body",
  signature: "it is not shown that its author made it",
  snapshot: "nothing that starts from it would be shown; --from starts from another one",
  "update-set": "no peer of the run counts such a set",
};

/** The first thing that is wrong. */
export class VerificationFailedError extends Error {
  readonly code = "VERIFICATION_FAILED";
  readonly kind: FindingKind;
  readonly round: number;
  /** The file where it was found. */
  readonly path: string | undefined;
  readonly author: string | undefined;

  constructor(
    kind: FindingKind,
    round: number,
    found: string,
    { path, author }: { readonly path?: string | undefined; readonly author?: string | undefined } = {},
  ) {
    super(`Round ${round}: ${found}. That means: ${MEANING[kind]}.`);
    this.name = "VerificationFailedError";
    this.kind = kind;
    this.round = round;
    this.path = path;
    this.author = author;
  }
}
