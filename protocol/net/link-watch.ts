// Watches the connections to the members of a host's runs: how far away each is, and whether its gossip still reaches us.
// A gossip stream can die while its connection lives on, and then nothing says so; the only cure is to reconnect.
import { peerIdFromString } from "@libp2p/peer-id";
import { MISSED_PRESENCES } from "../core/membership.ts";
import type { PeerId } from "../core/types.ts";
import type { ClockPort } from "../ports.ts";
import { reasonOf } from "./errors.ts";
import type { Host } from "./host.ts";
import type { Logger } from "./logger.ts";

/** A member that no valid gossip was heard of for this long is hung up and dialled again: three missed heartbeats. */
export const GOSSIP_SILENCE_MS = 120_000;
const WATCH_INTERVAL_MS = 15_000;
const PING_TIMEOUT_MS = 10_000;

export interface LinkWatchModules {
  readonly clock: ClockPort;
  readonly logger: Logger;
}

export interface LinkDescription {
  readonly peer: PeerId;
  readonly direction: "inbound" | "outbound";
  readonly address: string;
  readonly latencyMs: number | undefined;
}

export class LinkWatch {
  readonly #host: Host;
  readonly #modules: LinkWatchModules;
  /** By member: when gossip was last heard of it, and in how many runs it is one. */
  readonly #members = new Map<PeerId, { heardMs: number; silenceMs: number; runs: number }>();
  readonly #firstPingMs = new Map<PeerId, number>();
  readonly #stopped = new AbortController();
  #cancelTimer: (() => void) | undefined;

  constructor(host: Host, modules: LinkWatchModules) {
    this.#host = host;
    this.#modules = modules;
  }

  start(): void {
    this.#cancelTimer = this.#modules.clock.after(WATCH_INTERVAL_MS, () => {
      this.#hangUpSilent();
      this.start();
    });
  }

  stop(): void {
    this.#stopped.abort();
    this.#cancelTimer?.();
  }

  joined(peer: PeerId): void {
    const member = this.#members.get(peer);
    if (member !== undefined) {
      member.runs++;
      return;
    }
    this.#members.set(peer, {
      heardMs: this.#modules.clock.nowMs(),
      silenceMs: GOSSIP_SILENCE_MS,
      runs: 1,
    });
    this.#ping(peer).catch((error: unknown) => {
      this.#modules.logger.debug({ peer, reason: reasonOf(error) }, "ping failed");
    });
  }

  left(peer: PeerId): void {
    const member = this.#members.get(peer);
    if (member === undefined || --member.runs > 0) return;
    this.#members.delete(peer);
    this.#firstPingMs.delete(peer);
  }

  /**
   * Valid gossip came from `peer`, as its author or as the neighbour that handed it on. `intervalMs`: it has said how seldom it
   * speaks, where that is less often than others.
   */
  heard(peer: PeerId, intervalMs = 0): void {
    const member = this.#members.get(peer);
    if (member === undefined) return;
    member.heardMs = this.#modules.clock.nowMs();
    if (intervalMs > 0) member.silenceMs = Math.max(GOSSIP_SILENCE_MS, MISSED_PRESENCES * intervalMs);
  }

  describe(): readonly LinkDescription[] {
    return [...this.#members.keys()].flatMap((peer) => {
      const [connection] = this.#host.getConnections(peerIdFromString(peer));
      if (connection === undefined) return [];
      const { direction, remoteAddr, rtt } = connection;
      // libp2p's monitor keeps rtt fresh; until its first round our own ping stands in.
      const latencyMs = rtt ?? this.#firstPingMs.get(peer);
      return [{ peer, direction, address: remoteAddr.toString(), latencyMs }];
    });
  }

  async #ping(peer: PeerId): Promise<void> {
    const signal = AbortSignal.any([this.#stopped.signal, AbortSignal.timeout(PING_TIMEOUT_MS)]);
    this.#firstPingMs.set(peer, await this.#host.services.ping.ping(peerIdFromString(peer), { signal }));
  }

  #hangUpSilent(): void {
    const nowMs = this.#modules.clock.nowMs();
    for (const [peer, { heardMs, silenceMs }] of this.#members) {
      if (nowMs - heardMs <= silenceMs) continue;
      this.#modules.logger.info({ peer }, "no gossip from a connected peer, reconnecting");
      this.#host.hangUp(peerIdFromString(peer)).catch(() => {});
    }
  }
}
