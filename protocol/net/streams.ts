// Opens and answers streams: who may ask how often, how long anything may take, and what a broken rule costs.
// Knows frames and messages, not what they are for. Nothing thrown by a handler or a remote peer escapes.
import type { Connection, Stream } from "@libp2p/interface";
import { peerIdFromString } from "@libp2p/peer-id";
import { multiaddr } from "@multiformats/multiaddr";
import type { Offence, PeerId } from "../core/types.ts";
import type { ExchangeName, MessageName, RequestOf, ResponseOf, WireMessages } from "../wire/messages.ts";
import { decodeMessage, EXCHANGES, encodeMessage, MESSAGES } from "../wire/messages.ts";
import type { StreamName } from "../wire/topics.ts";
import { protocolOfStream } from "../wire/topics.ts";
import type { DialTarget } from "./addresses.ts";
import { joinAddress } from "./addresses.ts";
import { NetworkError, reasonOf } from "./errors.ts";
import type { FrameBounds } from "./frames.ts";
import { FRAME_OVERHEAD_BYTES, FrameError, Frames } from "./frames.ts";
import type { Host } from "./host.ts";
import type { Logger } from "./logger.ts";
import type { RateLimiter } from "./rate-limit.ts";
import { KeyedSemaphore } from "./semaphore.ts";

/** Dial, handshake and protocol negotiation together. */
const OPEN_TIMEOUT_MS = 15_000;
/** One small message in either direction. */
export const FRAME_TIMEOUT_MS = 15_000;
/** A response may be a megabyte over a slow uplink. */
const RESPONSE_TIMEOUT_MS = 30_000;
/** Outbound streams per peer, all protocols together; inbound limits are twice that per protocol. */
const MAX_STREAMS_PER_PEER = 8;
const MAX_INBOUND_STREAMS = 16;

export interface StreamModules {
  readonly logger: Logger;
  readonly limiter: RateLimiter;
  readonly penalise: (peer: PeerId, offence: Offence, detail: string) => void;
}

export type Target = PeerId | DialTarget;

export const targetName = (target: Target): string =>
  typeof target === "string" ? target : joinAddress(target);

/** `signal` with a deadline of its own. */
export const within = (signal: AbortSignal, timeoutMs: number): AbortSignal =>
  AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);

/** The remote side sent something that cannot be; it has been charged with it. */
export class MisbehaviourError extends NetworkError {
  constructor(peer: PeerId, detail: string) {
    super(
      "PEER_MISBEHAVED",
      `Peer ${peer} broke the protocol (${detail}); it is penalised and others are asked.`,
      {
        peer,
      },
    );
  }
}

export class Streams {
  readonly #host: Host;
  readonly #modules: StreamModules;
  readonly #semaphore = new KeyedSemaphore(MAX_STREAMS_PER_PEER);
  readonly #stopped = new AbortController();
  readonly #handled: string[] = [];

  constructor(host: Host, modules: StreamModules) {
    this.#host = host;
    this.#modules = modules;
  }

  /** Fires when the network stops. */
  get stopped(): AbortSignal {
    return this.#stopped.signal;
  }

  /** Ends every stream that is open and refuses new ones. */
  async stop(): Promise<void> {
    this.#stopped.abort(new NetworkError("NETWORK_STOPPED", "The network has been stopped."));
    await Promise.all(this.#handled.map((protocol) => this.#host.unhandle(protocol)));
  }

  /** Answers an exchange: one request, one response. */
  answer<Name extends ExchangeName>(
    name: Name,
    respond: (request: RequestOf<Name>, peer: PeerId, signal: AbortSignal) => Promise<ResponseOf<Name>>,
  ): Promise<void> {
    const { request, response } = EXCHANGES[name];
    return this.serve(name, request, async (frames, value, peer, signal) => {
      const reply = await respond(value as RequestOf<Name>, peer, signal);
      await frames.write(encodeMessage(response, reply), within(signal, RESPONSE_TIMEOUT_MS));
    });
  }

  /**
   * Serves a stream whose first frame is `opening`: decodes it, limits its rate, then hands over. Whatever `converse`
   * throws aborts the stream; a FrameError in it is charged to the peer. `wider` bounds frames where more than requests
   * comes in.
   */
  async serve<Name extends MessageName>(
    name: StreamName,
    opening: Name,
    converse: (frames: Frames, value: WireMessages[Name], peer: PeerId, signal: AbortSignal) => Promise<void>,
    wider?: FrameBounds,
  ): Promise<void> {
    const protocol = protocolOfStream(name);
    const { maxBytes, rate } = MESSAGES[opening];
    // Requests are small and come one at a time; some slack lets chunk requests be pipelined.
    const bounds = wider ?? { maxFrameBytes: maxBytes, maxBufferedBytes: maxBytes + 4096 };
    const onStream = async (stream: Stream, connection: Connection) => {
      const peer = connection.remotePeer.toString();
      const signal = this.#stopped.signal;
      const frames = new Frames(stream, bounds);
      try {
        const bytes = await frames.read(within(signal, FRAME_TIMEOUT_MS));
        if (bytes === undefined) return;
        if (rate !== undefined && !this.#modules.limiter.take(`${name}/${peer}`, rate)) {
          throw new FrameError("rate-exceeded", `${name} is asked too often`, undefined);
        }
        const decoded = decodeMessage(opening, bytes);
        if (!decoded.ok) throw new FrameError(decoded.rejection.offence, decoded.rejection.detail, undefined);
        await converse(frames, decoded.value, peer, signal);
        await frames.close(within(signal, FRAME_TIMEOUT_MS));
      } catch (error) {
        frames.abort(error);
        if (error instanceof FrameError) this.#modules.penalise(peer, error.offence, error.message);
        else
          this.#modules.logger.debug(
            { peer, stream: name, reason: reasonOf(error) },
            "inbound stream failed",
          );
      }
    };
    await this.#host.handle(protocol, onStream, { maxInboundStreams: MAX_INBOUND_STREAMS });
    this.#handled.push(protocol);
  }

  /**
   * Asks `target` and checks the answer's form. Throws NetworkError `PEER_UNREACHABLE`, `PEER_TIMEOUT`, `NOT_SERVED`,
   * `PEER_MISBEHAVED`; the caller's own abort is rethrown as it is.
   */
  ask<Name extends ExchangeName>(
    target: Target,
    name: Name,
    request: RequestOf<Name>,
    signal: AbortSignal,
  ): Promise<ResponseOf<Name>> {
    const names = EXCHANGES[name];
    const { maxBytes } = MESSAGES[names.response];
    const bounds = { maxFrameBytes: maxBytes, maxBufferedBytes: maxBytes + FRAME_OVERHEAD_BYTES };
    return this.open(target, name, bounds, signal, async (frames, peer) => {
      await frames.write(encodeMessage(names.request, request), within(signal, FRAME_TIMEOUT_MS));
      const bytes = await frames.read(within(signal, RESPONSE_TIMEOUT_MS));
      if (bytes === undefined) throw notServed(peer, name);
      const decoded = decodeMessage(names.response, bytes);
      if (!decoded.ok) throw new FrameError(decoded.rejection.offence, decoded.rejection.detail, undefined);
      return decoded.value as ResponseOf<Name>;
    });
  }

  /** Opens a stream to `target` for `converse`, closes it after, aborts it on any error. Errors as for `ask`. */
  open<T>(
    target: Target,
    name: StreamName,
    bounds: FrameBounds,
    callerSignal: AbortSignal,
    converse: (frames: Frames, peer: PeerId) => Promise<T>,
  ): Promise<T> {
    const signal = AbortSignal.any([callerSignal, this.#stopped.signal]);
    return this.#semaphore.run(targetName(target), signal, async () => {
      let peer = typeof target === "string" ? target : target.peer;
      let frames: Frames | undefined;
      try {
        const connection = await this.#dial(target, within(signal, OPEN_TIMEOUT_MS));
        peer = connection.remotePeer.toString();
        const stream = await connection.newStream(protocolOfStream(name), {
          signal: within(signal, OPEN_TIMEOUT_MS),
        });
        frames = new Frames(stream, bounds);
        const result = await converse(frames, peer);
        await frames.close(within(signal, FRAME_TIMEOUT_MS)).catch(() => {});
        return result;
      } catch (error) {
        frames?.abort(error);
        signal.throwIfAborted();
        throw this.#explain(error, target, peer, name);
      }
    });
  }

  /** Connects to `target` if we are not connected, and returns who it is. Throws NetworkError `PEER_UNREACHABLE`. */
  async connect(target: Target, callerSignal: AbortSignal): Promise<PeerId> {
    const signal = within(AbortSignal.any([callerSignal, this.#stopped.signal]), OPEN_TIMEOUT_MS);
    return (await this.#dial(target, signal)).remotePeer.toString();
  }

  async #dial(target: Target, signal: AbortSignal): Promise<Connection> {
    try {
      const address = typeof target === "string" ? peerIdFromString(target) : multiaddr(joinAddress(target));
      return await this.#host.dial(address, { signal });
    } catch (error) {
      const name = targetName(target);
      throw new NetworkError(
        "PEER_UNREACHABLE",
        `Cannot connect to ${name} (${reasonOf(error)}); check that it runs and that its port is reachable from here.`,
        typeof target === "string" ? { peer: target } : { address: name },
        error,
      );
    }
  }

  #explain(error: unknown, target: Target, peer: PeerId | undefined, name: StreamName): NetworkError {
    if (error instanceof FrameError && peer !== undefined) {
      this.#modules.penalise(peer, error.offence, error.message);
      return new MisbehaviourError(peer, error.message);
    }
    if (error instanceof NetworkError) return error;
    const who = peer ?? targetName(target);
    const errorName = error instanceof Error ? error.name : "";
    if (errorName === "UnsupportedProtocolError") return notServed(who, name);
    if (errorName === "TimeoutError" || errorName === "AbortError") {
      return new NetworkError(
        "PEER_TIMEOUT",
        `${who} did not answer "${name}" in time; it may be busy or gone, others are asked meanwhile.`,
        { peer: who },
        error,
      );
    }
    return new NetworkError(
      "PEER_UNREACHABLE",
      `The stream "${name}" to ${who} broke off (${reasonOf(error)}); it is tried again later.`,
      { peer: who },
      error,
    );
  }
}

const notServed = (peer: PeerId, name: StreamName): NetworkError =>
  new NetworkError("NOT_SERVED", `${peer} does not serve "${name}"; ask another peer of the run.`, { peer });
