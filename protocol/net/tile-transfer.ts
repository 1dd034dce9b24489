// Fetches tiles of one body from all its donors at once: keeps so many streams open, asks again whom it lost, replaces who is
// slow beside the rest, and checks every tile against its id. Does not know where the ids come from.
import { TILE_BYTES, writeTile } from "../core/merkle.ts";
import type { BodyRoot, ContentId, PeerId, RunId } from "../core/types.ts";
import type { ClockPort, DonorShare, SnapshotDraft } from "../ports.ts";
import { pullBulk } from "./bulk.ts";
import { reasonOf } from "./errors.ts";
import { FrameError } from "./frames.ts";
import { sha256Hex } from "./hash.ts";
import type { Streams } from "./streams.ts";
import { MisbehaviourError } from "./streams.ts";
import { DonorPace, TileQueue } from "./tile-queue.ts";

/** Peers pulled from at once; more would share the same downlink. */
const MAX_DONORS_AT_ONCE = 8;
/** A donor that gives nothing this often in a row is not asked again. */
const MAX_FRUITLESS = 3;
const FIRST_RETRY_MS = 500;
/** How often donors are compared, and idle ones look for something to do. */
const REVIEW_MS = 250;
/** A donor slower than this share of the fastest gives its place to one who waits for it, once it had this long. */
const TOO_SLOW = 1 / 8;
const TRIAL_MS = 3_000;
/** One that owes an answer for so long counts as giving nothing. */
const STALLED_MS = 5_000;
const REST_MS = 5_000;
/** Failures told of: one line each, for people. */
const MAX_FAILURES = 32;

export interface TileTransferOptions {
  readonly runId: RunId;
  readonly root: BodyRoot;
  readonly tiles: readonly ContentId[];
  /** Written to, tile by tile. */
  readonly body: Float32Array;
  readonly missing: readonly number[];
  readonly draft: SnapshotDraft | undefined;
  /** Who may have them, best first; asked anew as peers come and go. */
  readonly donors: () => readonly PeerId[];
  readonly onTile: (index: number) => void;
}

interface Donor {
  readonly pace: DonorPace;
  state: "waiting" | "active" | "retired" | "spent";
  fruitless: number;
  retryAtMs: number;
  engagedMs: number;
  /** Ends its stream. */
  abort: AbortController;
}

/** One transfer; `run` once. */
export class TileTransfer {
  readonly #streams: Streams;
  readonly #clock: ClockPort;
  readonly #options: TileTransferOptions;
  readonly #queue: TileQueue;
  readonly #donors = new Map<PeerId, Donor>();
  readonly #running = new Set<Promise<void>>();
  readonly #waiters = new Set<() => void>();
  /** Off after its first failure: a full disk costs the resume, not the transfer. */
  #draft: SnapshotDraft | undefined;
  readonly failures: string[] = [];

  constructor(streams: Streams, clock: ClockPort, options: TileTransferOptions) {
    this.#streams = streams;
    this.#clock = clock;
    this.#options = options;
    this.#queue = new TileQueue(options.missing);
    this.#draft = options.draft;
  }

  /** Who gave how much, also after a failure. */
  get shares(): DonorShare[] {
    return [...this.#donors.values()]
      .filter(({ pace }) => pace.tiles > 0)
      .map(({ pace }) => ({
        peer: pace.peer,
        tiles: pace.tiles,
        bytesPerSecond: Math.round(pace.bytesPerSecond ?? 0),
      }));
  }

  /** Whether all tiles have come; if not, nobody is left to ask. Throws only the signal's reason. */
  async run(callerSignal: AbortSignal): Promise<boolean> {
    const over = new AbortController();
    const signal = AbortSignal.any([callerSignal, over.signal]);
    const aborted = () => this.#wake();
    callerSignal.addEventListener("abort", aborted, { once: true });
    try {
      while (!this.#queue.isDone) {
        callerSignal.throwIfAborted();
        const isHopeful = this.#engage(signal);
        if (!isHopeful && this.#running.size === 0) return false;
        await this.#change();
      }
      return true;
    } finally {
      callerSignal.removeEventListener("abort", aborted);
      over.abort(new Error("the transfer is over"));
      this.#wake();
      await Promise.all(this.#running);
    }
  }

  /** Fills free places, and frees those of the slow where somebody waits for one. False where nobody is left to wait for. */
  #engage(signal: AbortSignal): boolean {
    const nowMs = this.#clock.nowMs();
    let isHopeful = false;
    for (const peer of this.#options.donors()) {
      const donor = this.#donorOf(peer);
      if (donor.state !== "waiting") continue;
      isHopeful = true;
      if (donor.retryAtMs > nowMs) continue;
      if (this.#running.size >= MAX_DONORS_AT_ONCE) {
        this.#retireSlowest(nowMs);
        break;
      }
      this.#start(donor, signal);
    }
    return isHopeful;
  }

  #start(donor: Donor, signal: AbortSignal): void {
    donor.state = "active";
    donor.engagedMs = this.#clock.nowMs();
    donor.abort = new AbortController();
    const running = this.#pullFrom(donor, signal).finally(() => {
      this.#running.delete(running);
      this.#queue.giveUp(donor.pace);
      this.#wake();
    });
    this.#running.add(running);
  }

  async #pullFrom(donor: Donor, signal: AbortSignal): Promise<void> {
    const { pace } = donor;
    const { runId, root, body } = this.#options;
    const before = pace.tiles;
    let why = "does not serve this body";
    try {
      const found = await pullBulk(
        this.#streams,
        pace.peer,
        "tiles",
        { runId, root },
        {
          accept(head) {
            if (head.lengthBytes === 4 * body.length && head.chunkBytes === TILE_BYTES) return;
            throw new FrameError("malformed-message", "the tiles offered do not fit the body", undefined);
          },
          next: () => (donor.state === "active" ? this.#queue.take(pace, this.#clock.nowMs()) : undefined),
          ahead: () => pace.ahead,
          receive: (index, tile) => this.#receive(pace, index, tile),
          idle: async () => {
            if (donor.state === "active" && !this.#queue.isDone) await this.#change();
            return donor.state === "active" && !this.#queue.isDone;
          },
        },
        AbortSignal.any([signal, donor.abort.signal]),
      );
      if (found && donor.state === "active") return;
    } catch (error) {
      if (signal.aborted) return;
      why = reasonOf(error);
      if (error instanceof MisbehaviourError) donor.state = "spent";
    }
    if (this.failures.length < MAX_FAILURES) this.failures.push(`${pace.peer}: ${why}`);
    if (donor.state === "spent") return;
    donor.fruitless = pace.tiles > before ? 1 : donor.fruitless + 1;
    // One that was slow is asked again later: the fast may be gone by then.
    const restMs = donor.state === "retired" ? REST_MS : FIRST_RETRY_MS;
    donor.retryAtMs = this.#clock.nowMs() + restMs * 2 ** donor.fruitless;
    donor.state = donor.fruitless >= MAX_FRUITLESS ? "spent" : "waiting";
  }

  async #receive(pace: DonorPace, index: number, tile: Uint8Array): Promise<void> {
    const { tiles, body, onTile } = this.#options;
    if (sha256Hex(tile) !== tiles[index]) {
      throw new FrameError("hash-mismatch", `tile ${index} has another hash`, undefined);
    }
    if (!this.#queue.arrived(pace, index, tile.byteLength, this.#clock.nowMs())) return;
    writeTile(body, index, tile);
    onTile(index);
    if (this.#queue.isDone) this.#wake();
    await this.#draft?.keep(index, tile).catch((error: unknown) => {
      this.#draft = undefined;
      this.failures.push(`the tiles could not be kept for a later attempt: ${reasonOf(error)}`);
    });
  }

  #retireSlowest(nowMs: number): void {
    const active = [...this.#donors.values()].filter(({ state }) => state === "active");
    const rateOf = ({ pace }: Donor) => (pace.waitedMs(nowMs) > STALLED_MS ? 0 : (pace.rateAt(nowMs) ?? 0));
    const rates = active.map((donor) => ({ donor, rate: rateOf(donor) }));
    const fastest = Math.max(...rates.map(({ rate }) => rate));
    const tried = rates.filter(({ donor }) => nowMs - donor.engagedMs >= TRIAL_MS);
    const slowest = tried.sort((a, b) => a.rate - b.rate)[0];
    if (slowest === undefined || slowest.rate > fastest * TOO_SLOW) return;
    slowest.donor.state = "retired";
    slowest.donor.abort.abort(new Error("slow beside the others"));
  }

  #donorOf(peer: PeerId): Donor {
    const known = this.#donors.get(peer);
    if (known !== undefined) return known;
    const donor: Donor = {
      pace: new DonorPace(peer),
      state: "waiting",
      fruitless: 0,
      retryAtMs: 0,
      engagedMs: 0,
      abort: new AbortController(),
    };
    this.#donors.set(peer, donor);
    return donor;
  }

  /** Resolves when something has changed, or it is time to look again. */
  #change(): Promise<void> {
    return new Promise((resolve) => {
      const go = () => {
        cancel();
        this.#waiters.delete(go);
        resolve();
      };
      const cancel = this.#clock.after(REVIEW_MS, go);
      this.#waiters.add(go);
    });
  }

  #wake(): void {
    for (const go of [...this.#waiters]) go();
  }
}
