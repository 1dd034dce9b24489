// Bandwidth: every peer has one access link, up and down, and everything that it sends and receives shares it. Moves
// byte counts, not bytes. A transfer goes in parts that queue behind those of other transfers, so that a link is never idle while
// there is something to send and transfers share it about evenly; each is held to what its connection can carry:
//   window / RTT                                 CHUNKS_IN_FLIGHT * 256 KiB, see protocol/net/bulk.ts
//   MSS / RTT * max( 1.22 p^-1/2 , 1.054 RTT^3/4 p^-3/4 )     TCP Reno and CUBIC at loss p (Mathis 1997; RFC 9438, 5.1)
import type { VirtualClock } from "./virtual-clock.ts";

export interface Access {
  /** Bytes a millisecond. */
  readonly up: number;
  readonly down: number;
}

export interface LinkRules {
  readonly access: (peer: string) => Access;
  /** One way, drawn anew for each part. */
  readonly latencyMs: () => number;
  readonly meanLatencyMs: number;
  /** Share of packets lost: sent again, and what congestion control makes of it. */
  readonly packetLoss: number;
  /** Whether loss slows a connection down as it does TCP with CUBIC, or is only sent again (BBR comes near). */
  readonly lossLimitsRate: boolean;
  readonly parts?: number | undefined;
  readonly reachable: (from: string, to: string) => boolean;
  /** Another value for each start of a peer's process, undefined while it does not run. */
  readonly life: (peer: string) => unknown;
}

export interface Transfer {
  readonly from: string;
  readonly to: string;
  readonly bytes: number;
  /** Called once: `done`, or `failed` where the transfer stalled. Not after `cancel`. */
  readonly done: () => void;
  readonly failed: (why: string) => void;
  readonly progress?: (bytes: number) => void;
  /** Whether nobody wants it any more: it is then done with what is on its way. */
  readonly isOver?: () => boolean;
}

/** Parts of a transfer, unless the rules say so; more are finer sharing and more events. */
const PARTS = 16;
/** Less than this is not worth a part of its own. */
const LEAST_PART_BYTES = 16 * 1024;
/** Up to here a transfer passes the queues of large parts, as its packets pass between those of other connections. */
const SMALL_BYTES = 64 * 1024;
/** protocol/net/bulk.ts: what one stream has in flight, and how long it waits for a chunk of 256 KiB. */
const CHUNK_BYTES = 256 * 1024;
const WINDOW_BYTES = 4 * CHUNK_BYTES;
const CHUNK_TIMEOUT_MS = 20_000;
const SEGMENT_BYTES = 1_460;
/** What an idle TCP connection may send at once. */
const INITIAL_WINDOW_BYTES = 10 * SEGMENT_BYTES;

interface Queue {
  freeMs: number;
}

/** Bytes a millisecond that loss `p` leaves a TCP connection with Reno or CUBIC, whichever is faster. */
export function rateUnderLoss(p: number, roundTripMs: number): number {
  if (roundTripMs <= 0 || p <= 0) return Number.POSITIVE_INFINITY;
  const reno = 1.22 / Math.sqrt(p);
  const cubic = (1.054 * (roundTripMs / 1000) ** 0.75) / p ** 0.75;
  return (SEGMENT_BYTES * Math.max(reno, cubic)) / roundTripMs;
}

export class Links {
  readonly #clock: VirtualClock;
  readonly #rules: LinkRules;
  readonly #up = new Map<string, Queue>();
  readonly #down = new Map<string, Queue>();
  /** By connection and direction: when loss lets it send again. */
  readonly #connections = new Map<string, Queue>();

  constructor(clock: VirtualClock, rules: LinkRules) {
    this.#clock = clock;
    this.#rules = rules;
  }

  /** What one connection carries at most, in bytes a millisecond, whatever the access links could. */
  get connectionRate(): number {
    const { packetLoss: p, meanLatencyMs, lossLimitsRate } = this.#rules;
    return lossLimitsRate ? rateUnderLoss(p, 2 * meanLatencyMs) : Number.POSITIVE_INFINITY;
  }

  /** Occupies a peer's link for gossip, which is small, frequent and never waits. */
  occupy(peer: string, sentBytes: number, receivedBytes: number): void {
    const { up, down } = this.#rules.access(peer);
    const now = this.#clock.nowMs();
    const uplink = queueOf(this.#up, peer);
    const downlink = queueOf(this.#down, peer);
    uplink.freeMs = Math.max(now, uplink.freeMs) + sentBytes / up;
    downlink.freeMs = Math.max(now, downlink.freeMs) + receivedBytes / down;
  }

  /** Starts a transfer; returns what cancels it. */
  start(transfer: Transfer): () => void {
    const flow = new Flow(transfer, this);
    flow.begin();
    return () => flow.end();
  }

  /** Bytes on the wire for `bytes` that arrive: what is lost is sent again. */
  onWire(bytes: number): number {
    return bytes / (1 - this.#rules.packetLoss);
  }

  // What follows is for Flow.

  get clock(): VirtualClock {
    return this.#clock;
  }

  get rules(): LinkRules {
    return this.#rules;
  }

  uplink(peer: string): Queue {
    return queueOf(this.#up, peer);
  }

  downlink(peer: string): Queue {
    return queueOf(this.#down, peer);
  }

  connection(from: string, to: string): Queue {
    // One that nothing holds back is always free.
    if (this.connectionRate === Number.POSITIVE_INFINITY) return { freeMs: 0 };
    return queueOf(this.#connections, `${from}>${to}`);
  }

  /** A peer that is gone leaves no queue behind. */
  forget(peer: string): void {
    this.#up.delete(peer);
    this.#down.delete(peer);
  }
}

/** One transfer on its way. */
class Flow {
  readonly #transfer: Transfer;
  readonly #links: Links;
  readonly #parts: number;
  readonly #partBytes: number;
  readonly #window: number;
  readonly #fromLife: unknown;
  readonly #toLife: unknown;
  #asked = 0;
  #arrived = 0;
  #over = false;
  #stalledMs: number | undefined;
  #heardMs = 0;
  #pacedMs = 0;

  constructor(transfer: Transfer, links: Links) {
    this.#transfer = transfer;
    this.#links = links;
    const { bytes, from, to } = transfer;
    this.#fromLife = links.rules.life(from);
    this.#toLife = links.rules.life(to);
    this.#parts = Math.max(1, Math.min(links.rules.parts ?? PARTS, Math.ceil(bytes / LEAST_PART_BYTES)));
    this.#partBytes = links.onWire(bytes) / this.#parts;
    this.#window = Math.max(2, Math.floor(WINDOW_BYTES / this.#partBytes));
  }

  begin(): void {
    this.#heardMs = this.#links.clock.nowMs();
    this.#links.clock.afterQuietly(this.#slowStartMs(), () => this.#ask());
  }

  end(): void {
    this.#over = true;
  }

  /** Round trips until an idle connection is up to speed, in which it carries about what one of them does at full speed. */
  #slowStartMs(): number {
    const { meanLatencyMs } = this.#links.rules;
    const pipeBytes = Math.min(this.#transfer.bytes, this.#rate() * 2 * meanLatencyMs);
    return 2 * meanLatencyMs * Math.max(0, Math.log2(pipeBytes / INITIAL_WINDOW_BYTES) - 1);
  }

  #rate(): number {
    const { access, meanLatencyMs } = this.#links.rules;
    const { from, to } = this.#transfer;
    const byWindow = meanLatencyMs > 0 ? WINDOW_BYTES / (2 * meanLatencyMs) : Number.POSITIVE_INFINITY;
    return Math.min(byWindow, this.#links.connectionRate, access(from).up, access(to).down);
  }

  get #isSmall(): boolean {
    return this.#transfer.bytes <= SMALL_BYTES;
  }

  /** Has as many parts on the way as the window allows. */
  #ask(): void {
    while (!this.#over && this.#asked < this.#parts && this.#asked - this.#arrived < this.#window) {
      this.#asked++;
      this.#pace();
    }
  }

  /** Holds a part back to what the stream's window and the connection's losses allow. */
  #pace(): void {
    const { clock, rules } = this.#links;
    const { from, to } = this.#transfer;
    const now = clock.nowMs();
    const byWindow =
      rules.meanLatencyMs > 0 ? WINDOW_BYTES / (2 * rules.meanLatencyMs) : Number.POSITIVE_INFINITY;
    const connection = this.#links.connection(from, to);
    const beginsMs = Math.max(now, this.#pacedMs, connection.freeMs);
    this.#pacedMs = beginsMs + this.#partBytes / byWindow;
    connection.freeMs = beginsMs + this.#partBytes / this.#links.connectionRate;
    // All of the part has passed a slow connection before it counts as sent.
    if (connection.freeMs > now) clock.afterQuietly(connection.freeMs - now, () => this.#send());
    else this.#send();
  }

  #send() {
    if (!this.#lives()) return;
    const { clock, rules } = this.#links;
    const { from, to } = this.#transfer;
    if (!rules.reachable(from, to)) return this.#stall(() => this.#send());
    const uplink = this.#links.uplink(from);
    const takesMs = this.#partBytes / rules.access(from).up;
    uplink.freeMs = Math.max(clock.nowMs(), uplink.freeMs) + takesMs;
    const waitMs = this.#isSmall ? takesMs : uplink.freeMs - clock.nowMs();
    clock.afterQuietly(waitMs + rules.latencyMs(), () => this.#receive());
  }

  #receive() {
    if (!this.#lives()) return;
    const { clock, rules } = this.#links;
    const { from, to } = this.#transfer;
    if (!rules.reachable(from, to)) return this.#stall(() => this.#receive());
    const downlink = this.#links.downlink(to);
    const takesMs = this.#partBytes / rules.access(to).down;
    // It was received while it was sent: only a busy link, or a slower one, takes longer.
    downlink.freeMs = Math.max(clock.nowMs() - takesMs, downlink.freeMs) + takesMs;
    const waitMs = this.#isSmall ? 0 : Math.max(0, downlink.freeMs - clock.nowMs());
    if (this.#arrived + 1 < this.#parts) clock.afterQuietly(waitMs, () => this.#arrive());
    else clock.after(waitMs, () => this.#arrive());
  }

  #arrive() {
    if (!this.#lives()) return;
    const now = this.#links.clock.nowMs();
    const gapMs = now - this.#heardMs;
    this.#heardMs = now;
    this.#stalledMs = undefined;
    this.#arrived++;
    const { bytes, done, progress } = this.#transfer;
    if (gapMs * Math.min(1, CHUNK_BYTES / this.#partBytes) > CHUNK_TIMEOUT_MS) {
      return this.#fail(`a chunk took longer than ${CHUNK_TIMEOUT_MS / 1000} s`);
    }
    progress?.((bytes * this.#arrived) / this.#parts);
    if (this.#arrived < this.#parts && this.#transfer.isOver?.() !== true) return this.#ask();
    this.end();
    done();
  }

  /** Nothing gets through: again in a second, until the stream is given up. */
  #stall(again: () => void) {
    const { clock } = this.#links;
    this.#stalledMs ??= clock.nowMs();
    if (clock.nowMs() - this.#stalledMs < CHUNK_TIMEOUT_MS) return clock.afterQuietly(1_000, again);
    this.#fail("nothing comes through");
  }

  #fail(why: string): void {
    this.end();
    this.#links.clock.after(0, () => this.#transfer.failed(why));
  }

  /** False where it is over, or ends now because one side is no longer the process that it was. */
  #lives(): boolean {
    if (this.#over) return false;
    const { life } = this.#links.rules;
    const { from, to } = this.#transfer;
    if (life(from) === this.#fromLife && life(to) === this.#toLife) return true;
    this.#fail("the connection is gone");
    return false;
  }
}

function queueOf(queues: Map<string, Queue>, key: string): Queue {
  const known = queues.get(key);
  if (known !== undefined) return known;
  const queue = { freeMs: 0 };
  queues.set(key, queue);
  return queue;
}
