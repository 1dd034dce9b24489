// What newcomers may take of our uplink: few tiles are on their way at once, in turn, and they wait while payloads are being
// sent, because all peers of a round wait for those. Decides when, never what.
import type { PeerId } from "../core/types.ts";
import type { ClockPort } from "../ports.ts";

/** Peers that fetch a body from here at once; a further one finds nothing and asks others. */
const MAX_NEWCOMERS = 48;
/** Of one peer: an old stream may still be dying when it comes back. */
const MAX_STREAMS_PER_NEWCOMER = 2;
/** A tile waits this long at most: half a megabyte a second for each newcomer however busy the round. */
const TILE_PATIENCE_MS = 500;
/** Over all newcomers: what a payload's first chunk finds before it in the uplink's queue. */
const TILES_AT_ONCE = 4;
/** A tile that takes longer goes to a slow reader, who does not hold the others up: 48 of them have their turn in 12 s. */
const TILE_TURN_MS = 1_000;
/** A chunk of a payload that takes longer goes to a slow reader, who does not use the uplink up. */
const PAYLOAD_PRIORITY_MS = 2_000;

export class UploadGate {
  readonly #clock: ClockPort;
  readonly #newcomers = new Map<PeerId, number>();
  readonly #waiting = new Set<() => void>();
  readonly #turns: (() => void)[] = [];
  #payloads = 0;
  #tiles = 0;

  constructor(clock: ClockPort) {
    this.#clock = clock;
  }

  /** A place for one tile stream of `peer`, to be given back by calling the result; undefined where all are taken. */
  admit(peer: PeerId): (() => void) | undefined {
    const streams = this.#newcomers.get(peer) ?? 0;
    if (streams >= MAX_STREAMS_PER_NEWCOMER) return undefined;
    if (streams === 0 && this.#newcomers.size >= MAX_NEWCOMERS) return undefined;
    this.#newcomers.set(peer, streams + 1);
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      const left = this.#newcomers.get(peer)! - 1;
      if (left === 0) this.#newcomers.delete(peer);
      else this.#newcomers.set(peer, left);
    };
  }

  /** Sends a chunk of a payload: at once. */
  readonly payload = async (send: () => Promise<void>): Promise<void> => {
    this.#payloads++;
    let counted = true;
    const over = () => {
      if (!counted) return;
      counted = false;
      if (--this.#payloads > 0) return;
      for (const go of [...this.#waiting]) go();
    };
    const cancel = this.#clock.after(PAYLOAD_PRIORITY_MS, over);
    try {
      await send();
    } finally {
      cancel();
      over();
    }
  };

  /** Sends a tile when it is its turn and no payload is on its way, or its patience is over. */
  readonly tile = async (send: () => Promise<void>, signal: AbortSignal): Promise<void> => {
    if (this.#tiles < TILES_AT_ONCE) this.#tiles++;
    else await this.#turn();
    let holding = true;
    const pass = () => {
      if (!holding) return;
      holding = false;
      const next = this.#turns.shift();
      if (next === undefined) this.#tiles--;
      else next();
    };
    let cancel = () => {};
    try {
      if (this.#payloads > 0) await this.#quiet(signal);
      signal.throwIfAborted();
      cancel = this.#clock.after(TILE_TURN_MS, pass);
      await send();
    } finally {
      cancel();
      pass();
    }
  };

  /** Comes within a bounded time, so that nobody needs to leave the line: whoever is gone passes at once. */
  #turn(): Promise<void> {
    return new Promise((resolve) => this.#turns.push(resolve));
  }

  #quiet(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const go = () => {
        cancel();
        signal.removeEventListener("abort", go);
        this.#waiting.delete(go);
        resolve();
      };
      const cancel = this.#clock.after(TILE_PATIENCE_MS, go);
      signal.addEventListener("abort", go, { once: true });
      this.#waiting.add(go);
    });
  }
}
