// What the driver's parts share: options, ports, the ledger and the two lanes, and the way back into the round logic.
import type { ProtocolEvent } from "../core/protocol-events.ts";
import type { RoundEvent } from "../core/round-events.ts";
import type { RoundState } from "../core/round-state.ts";
import type {
  ClockPort,
  NetworkPort,
  ProtocolCheckpoint,
  RoundTraining,
  StorePort,
  TrainerPort,
  UpdateLogPort,
} from "../ports.ts";
import type { ArithmeticOptions, BodyArithmetic } from "./arithmetic.ts";
import type { Lane } from "./lane.ts";
import type { Ledger } from "./ledger.ts";
import type { LedgerOptions } from "./ledger-options.ts";

export interface DriverOptions extends Omit<LedgerOptions, "self" | "heldRows"> {
  /** What others see this peer called. */
  readonly name: string;
  /**
   * The body at the start of round 0, in layout order, so with the embedding where it is shared. Every peer computes it
   * from the run's seed; where the run names an `initialBody` it is the one with that root, and undefined where this peer
   * does not have it: it is then fetched from one that does. Not written to. Not looked at where a checkpoint exists.
   */
  readonly genesisBody: Float32Array | undefined;
  /** Other peers that are remembered at once, where there is no room for MAX_MEMBERS. */
  readonly mostMembers?: number;
  /** Leave once this many rounds of the run are applied; without it the peer stays until told. */
  readonly rounds?: number;
}

export interface DriverModules {
  readonly network: NetworkPort;
  readonly trainer: TrainerPort;
  readonly store: StorePort;
  readonly clock: ClockPort;
  /** Who does the arithmetic over whole bodies; this thread where it is left out. */
  readonly arithmetic?: ((options: ArithmeticOptions) => BodyArithmetic) | undefined;
  readonly updateLog?: UpdateLogPort | undefined;
  /** Called synchronously and often: must be quick and must not throw. */
  readonly observer?: { onEvent(event: ProtocolEvent): void };
}

export interface DriverContext {
  readonly options: DriverOptions;
  readonly modules: DriverModules;
  readonly ledger: Ledger;
  /** Everything that changes the ledger, one at a time. */
  readonly bodyLane: Lane;
  /** Everything that trains, one at a time. */
  readonly trainingLane: Lane;
  /** Steps taken ahead; what begins in the training lane takes over from them without waiting. */
  readonly aheadLane: Lane;
  /** Fires when the driver ends. */
  readonly signal: AbortSignal;
  state(): RoundState;
  dispatch(event: RoundEvent): void;
  note(event: ProtocolEvent): void;
  /** Writes the checkpoint as things stand, or with what the round logic is about to be told. */
  save(changes?: Partial<Pick<ProtocolCheckpoint, "publishedRound" | "probation">>): Promise<void>;
  /** Finished local training by round, until it is published. */
  readonly trained: Map<number, RoundTraining & { readonly baseRoot: string }>;
}

/** What is known only once the trainer has prepared its text. */
export interface StartOptions {
  /**
   * Ids of the embedding's rows that this peer trains and sends, ascending: its restricted vocabulary. Needed in variant
   * trim, refused in the others. May be others than before a restart.
   */
  readonly heldRows?: Int32Array | undefined;
}
