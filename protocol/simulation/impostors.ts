// Peers that run no driver but look like one: each repeats what an honest peer says of itself, so that everyone waits for
// it, and lies about updates. What liars with a driver do to their own updates is in distortions.ts.

import { hexSha256, utf8 } from "../core/hash.ts";
import { PRESENCE_INTERVAL_MS } from "../core/membership.ts";
import type { ContentId, PeerId, Presence, SignedUpdate } from "../core/types.ts";
import { sha256 } from "../net/hash.ts";
import type { NetworkPort } from "../ports.ts";
import { Power } from "./power.ts";
import { type SimulatedNetwork, signed } from "./simulated-network.ts";
import type { VirtualClock } from "./virtual-clock.ts";

/** `copy`: an honest peer's update under its own name. `withhold`: an update nobody can fetch. `equivocate`: two in a round. */
export const IMPOSTURES = ["copy", "withhold", "equivocate"] as const;
export type Imposture = (typeof IMPOSTURES)[number];

/** Payloads of the last updates copied are served: two rounds of two. */
const KEPT_PAYLOADS = 4;

export class Impostor {
  readonly id: PeerId;
  readonly #network: SimulatedNetwork;
  readonly #clock: VirtualClock;
  readonly #kind: Imposture;
  readonly #victim: PeerId;
  readonly #port: NetworkPort;
  readonly #payloads = new Map<ContentId, Uint8Array>();
  #sequence = 0;
  /** The victim's newest presence. */
  #seen: Presence | undefined;
  #previous: ContentId | undefined;

  constructor(network: SimulatedNetwork, clock: VirtualClock, id: PeerId, kind: Imposture, victim: PeerId) {
    this.id = id;
    this.#network = network;
    this.#clock = clock;
    this.#kind = kind;
    this.#victim = victim;
    this.#port = network.port(id, new Power());
  }

  plug(): void {
    this.#sequence = Math.floor(this.#clock.nowMs());
    this.#network.plug(this.id, {
      listener: {
        onUpdate: (update) => {
          if (update.announcement.author === this.#victim) void this.#lie(update);
        },
        onPresence: (presence) => {
          if (presence.author !== this.#victim || presence.leaving) return;
          const isNews = this.#seen?.phase !== presence.phase || this.#seen.root !== presence.root;
          this.#seen = presence;
          if (isNews) void this.#repeat();
        },
        onPeerConnected: () => {},
        onPeerDisconnected: () => {},
      },
      content: {
        payload: async (id) => this.#payloads.get(id),
        inventory: () => [],
        snapshot: () => undefined,
        tile: () => undefined,
      },
    });
    this.#live();
  }

  /** As often as an honest peer would, whatever the network lets through of the victim's heartbeats. */
  #live(): void {
    void this.#repeat();
    this.#clock.after(PRESENCE_INTERVAL_MS, () => this.#live());
  }

  async #repeat(): Promise<void> {
    if (this.#seen === undefined) return;
    await this.#port.publishPresence({
      ...this.#seen,
      author: this.id,
      name: this.id,
      sequence: ++this.#sequence,
    });
  }

  async #lie(update: SignedUpdate): Promise<void> {
    if (this.#kind === "withhold") {
      const { round } = update.announcement;
      return this.#tell(update, hexSha256(utf8(`${this.id}/${round}`), sha256));
    }
    try {
      const payload = await this.#port.fetchPayload(update, [], new AbortController().signal);
      const id = update.announcement.payload;
      this.#payloads.set(id, payload);
      while (this.#payloads.size > KEPT_PAYLOADS) this.#payloads.delete([...this.#payloads.keys()][0]!);
      await this.#tell(update, id);
      if (this.#kind === "equivocate" && this.#previous !== undefined)
        await this.#tell(update, this.#previous);
      this.#previous = id;
    } catch {
      // A lie less.
    }
  }

  #tell({ announcement }: SignedUpdate, payload: ContentId): Promise<void> {
    return this.#port.publishUpdate(signed({ ...announcement, author: this.id, payload }));
  }
}
