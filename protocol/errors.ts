// The errors of protocol/: each has a `code` for programs and one sentence (cause and remedy) for people.
// What a remote peer can cause is not thrown but returned as a rejection with an Offence; see core/codec/codec.ts.

/** Base of every error that protocol/ throws on purpose. */
export class ProtocolError<Code extends string = string> extends Error {
  readonly code: Code;

  constructor(code: Code, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
    this.code = code;
  }
}

/** A parameter layout that no peer may accept: duplicate names, shapes out of bounds, too many values. */
export class LayoutError extends ProtocolError<"LAYOUT_INVALID"> {
  readonly tensor: string | undefined;

  constructor(detail: string, tensor?: string) {
    super("LAYOUT_INVALID", `The parameter layout is not usable: ${detail}.`);
    this.tensor = tensor;
  }
}

/** Local training produced NaN or infinity: nothing may be published from it. */
export class NonFiniteUpdateError extends ProtocolError<"UPDATE_NOT_FINITE"> {
  readonly tensor: string;
  /** Index within the tensor, row-major. */
  readonly index: number;

  constructor(tensor: string, index: number) {
    super(
      "UPDATE_NOT_FINITE",
      `The update has a NaN or infinite value in ${tensor} at ${index}, so it is not published; lower the run's ` +
        "learning rate or its gradient clip, or resume from an earlier checkpoint.",
    );
    this.tensor = tensor;
    this.index = index;
  }
}

/** An array or update that was made for another layout reached the arithmetic: a bug in the caller. */
export class LengthMismatchError extends ProtocolError<"LENGTH_MISMATCH"> {
  readonly expected: number;
  readonly actual: number;

  constructor(what: string, expected: number, actual: number) {
    super(
      "LENGTH_MISMATCH",
      `${what} has ${actual} values where the run's layout has ${expected}; it belongs to another model.`,
    );
    this.expected = expected;
    this.actual = actual;
  }
}

/** A weight outside 1..2047 would break the exactness of the sums: a bug in the caller. */
export class WeightError extends ProtocolError<"WEIGHT_OUT_OF_RANGE"> {
  readonly weight: number;

  constructor(weight: number) {
    super(
      "WEIGHT_OUT_OF_RANGE",
      `The update weight ${weight} is not an integer from 1 to 2047; use updateWeight() of the run's configuration.`,
    );
    this.weight = weight;
  }
}

/** Rows that no peer can hold: out of order, beyond the embedding, or none where the variant needs some. */
export class HeldRowsError extends ProtocolError<"HELD_ROWS_INVALID"> {
  constructor(detail: string) {
    super(
      "HELD_ROWS_INVALID",
      `The rows of the embedding that this peer holds are not usable: ${detail}; pass the ids of its restricted ` +
        "vocabulary, ascending, in variant trim, and none in the others.",
    );
  }
}

/** The body of a round was asked for that is already folded away or not reachable yet. */
export class RoundNotHeldError extends ProtocolError<"ROUND_NOT_HELD"> {
  readonly round: number;
  readonly oldest: number;
  readonly newest: number;

  constructor(round: number, oldest: number, newest: number) {
    super(
      "ROUND_NOT_HELD",
      `Round ${round} is not held here, only ${oldest} to ${newest}; fetch a snapshot from a peer instead.`,
    );
    this.round = round;
    this.oldest = oldest;
    this.newest = newest;
  }
}

/** This peer has no body yet: the run starts from one that it has not fetched. */
export class BodyNotHeldError extends ProtocolError<"BODY_NOT_HELD"> {
  constructor() {
    super(
      "BODY_NOT_HELD",
      "This peer has no parameters yet: wait until it has fetched the run's initial ones from another peer.",
    );
  }
}

/** A body that is not the one that the run starts from. */
export class InitialBodyError extends ProtocolError<"INITIAL_BODY_MISMATCH"> {
  readonly expected: string;
  readonly actual: string;

  constructor(expected: string, actual: string) {
    super(
      "INITIAL_BODY_MISMATCH",
      `The parameters to start from hash to ${actual.slice(0, 12)}… where the run starts from ` +
        `${expected.slice(0, 12)}…; take the model that the run was made from, or leave it out and fetch it from a peer.`,
    );
    this.expected = expected;
    this.actual = actual;
  }
}

/** Nothing to start from: no checkpoint, no parameters, and a run whose parameters follow from its seed. */
export class GenesisMissingError extends ProtocolError<"GENESIS_MISSING"> {
  constructor() {
    super(
      "GENESIS_MISSING",
      "The run starts from parameters that follow from its seed, and none were given; compute them, nobody has them to fetch.",
    );
  }
}

export type ManifestErrorCode =
  | "MANIFEST_HASH_MISMATCH"
  | "MANIFEST_UNKNOWN_VERSION"
  | "MANIFEST_OVERSIZED"
  | "MANIFEST_INVALID";

/** A run manifest that must not be joined. */
export class ManifestError extends ProtocolError<ManifestErrorCode> {}

/** A run configuration with a field that is missing, unknown, out of bounds or at odds with another one. */
export class RunConfigError extends ProtocolError<"RUN_CONFIG_INVALID"> {
  /** One entry per problem: the field's dotted path and what is wrong with it. */
  readonly problems: readonly { readonly field: string; readonly problem: string }[];

  constructor(problems: readonly { readonly field: string; readonly problem: string }[]) {
    const list = problems.map(({ field, problem }) => `${field}: ${problem}`).join("; ");
    super("RUN_CONFIG_INVALID", `The run configuration is not valid (${list}); correct these fields.`);
    this.problems = problems;
  }
}

export type InviteErrorCode =
  | "INVITE_NOT_AN_INVITE"
  | "INVITE_UNKNOWN_VERSION"
  | "INVITE_TYPO"
  | "INVITE_OUT_OF_BOUNDS";

/** A string that was given as an invite and is none, or not whole. */
export class InviteError extends ProtocolError<InviteErrorCode> {}

/**
 * A body came so slowly that more rounds closed meanwhile than peers remember, and was gone before it was whole. `rounds` of
 * `roundSeconds` each went by.
 */
export class BodyOutrunError extends ProtocolError<"BODY_OUTRUN"> {
  readonly bodyBytes: number;
  readonly bytesPerSecond: number;
  readonly rounds: number;
  readonly roundSeconds: number;
  /** Rounds of this length would let the body come at this speed. */
  readonly neededRoundSeconds: number;

  constructor(facts: {
    readonly bodyBytes: number;
    readonly bytesPerSecond: number;
    readonly rounds: number;
    readonly roundSeconds: number;
    /** Peers keep the payloads and the log of so many for whoever fetches a body. */
    readonly rememberedRounds: number;
    readonly cause: unknown;
  }) {
    const { bodyBytes, bytesPerSecond, rounds, roundSeconds, rememberedRounds, cause } = facts;
    const needed = bodyBytes / bytesPerSecond / rememberedRounds;
    const megabytes = (bytes: number) => (bytes / 1e6).toPrecision(3);
    super(
      "BODY_OUTRUN",
      `The body of ${megabytes(bodyBytes)} MB comes at ${megabytes(bytesPerSecond)} MB/s, and ${rounds} rounds of ` +
        `${roundSeconds.toFixed(1)} s closed before it was here: it takes a faster link, or a run whose rounds last ` +
        `${needed.toFixed(1)} s (more local steps).`,
      { cause },
    );
    this.bodyBytes = bodyBytes;
    this.bytesPerSecond = bytesPerSecond;
    this.rounds = rounds;
    this.roundSeconds = roundSeconds;
    this.neededRoundSeconds = needed;
  }
}
