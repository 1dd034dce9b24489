// Who is connected with whom, and over how many hops gossip reaches each. Follows the rules of protocol/net: a peer dials
// until it has as many connections as it wants, looks again when it has lost some, and a link that stays silent is hung
// up; gossip runs over a mesh within those links, or straight to everyone in a small swarm. Owns no messages and no bytes.
import type { PeerId } from "../core/types.ts";
import { MOST_STRANGERS } from "../net/strangers.ts";
import { shuffled } from "./random.ts";

/** gossipsub's wished degree of the mesh, and the most links that one side accepts beyond it. */
const MESH_DEGREE = 6;
const MESH_HIGH = 12;
/** Up to here a publisher sends to every subscriber itself; see protocol/net/gossip.ts. */
const FLOOD_UP_TO_PEERS = 8;
/** From here on a mesh is mended where links have changed, not drawn anew, and peers are looked for by drawing lots. */
const LARGE = 256;
/** Ways of gossip that are remembered: those of all that are drawn in a round, and some more. */
const KEPT_SPREADS = 256;
/** They are found anew when the links of one peer in so many have changed. */
const STALE_SHARE = 4;
/** protocol/net: `maxConnections`, four for each one that a peer wants, 64 at the least. */
const leastConnections = (wanted: number): number => Math.max(64, 4 * wanted);

/** How a message of one peer reaches all others: hop by hop, `from[i]` handing it to `peers[i]`. */
export interface Spread {
  readonly waves: readonly { readonly peers: readonly PeerId[]; readonly from: readonly PeerId[] }[];
  readonly reached: number;
  /** Messages sent by the publisher, and altogether. */
  readonly first: number;
  readonly copies: number;
}

export class Topology {
  readonly #wanted: number;
  readonly #random: () => number;
  readonly #links = new Map<PeerId, Set<PeerId>>();
  /** Linked although there were enough, oldest first. */
  readonly #strangers = new Map<PeerId, PeerId[]>();
  #groups: readonly ReadonlySet<PeerId>[] = [];
  /** Made anew when links or partitions have changed. */
  #mesh: Map<PeerId, Set<PeerId>> | undefined;
  /** Peers of a large swarm whose links have changed since. */
  readonly #loose = new Set<PeerId>();
  #changes = 0;
  readonly #hops = new Map<PeerId, ReadonlyMap<PeerId, number>>();
  readonly #spreads = new Map<PeerId, Spread>();
  #order: PeerId[] | undefined;

  /** `wanted`: connections that a peer tries to have; Infinity connects everyone with everyone. */
  constructor(wanted: number, random: () => number) {
    this.#wanted = wanted;
    this.#random = random;
  }

  get peers(): readonly PeerId[] {
    return [...this.#links.keys()];
  }

  has(peer: PeerId): boolean {
    return this.#links.has(peer);
  }

  neighbours(peer: PeerId): ReadonlySet<PeerId> {
    return this.#links.get(peer) ?? NOBODY;
  }

  connected(a: PeerId, b: PeerId): boolean {
    return this.#links.get(a)?.has(b) === true;
  }

  /** A peer that is there from now on, without links yet. */
  add(peer: PeerId): void {
    this.#links.set(peer, new Set());
    this.#order?.push(peer);
    this.#changed(peer);
  }

  /** Gone with all its links; returns who was linked with it. */
  remove(peer: PeerId): readonly PeerId[] {
    const neighbours = [...this.neighbours(peer)];
    for (const neighbour of neighbours) this.#links.get(neighbour)?.delete(peer);
    this.#links.delete(peer);
    this.#strangers.delete(peer);
    this.#order = undefined;
    this.#changed(peer, ...neighbours);
    return neighbours;
  }

  /** One look around, as protocol/net's discovery takes it: returns the peers that are linked with `peer` now and were not. */
  look(peer: PeerId): readonly PeerId[] {
    const own = this.#links.get(peer);
    if (own === undefined) return [];
    const order = this.#links.size > LARGE ? this.#drawSome(peer) : this.#inSomeOrder(peer);
    const added: PeerId[] = [];
    for (const other of order) {
      if (own.size >= this.#wanted) break;
      const theirs = this.#links.get(other)!;
      if (this.#wanted !== Number.POSITIVE_INFINITY && theirs.size >= leastConnections(this.#wanted))
        continue;
      own.add(other);
      theirs.add(peer);
      added.push(other);
    }
    if (added.length > 0) this.#changed(peer, ...added);
    return added;
  }

  /** A peer with links enough meets one more, and leaves the one before the last; see protocol/net's discovery. */
  meetStranger(peer: PeerId): { readonly met?: PeerId | undefined; readonly left?: PeerId | undefined } {
    const own = this.#links.get(peer);
    if (own === undefined || own.size < this.#wanted) return {};
    const [met] = this.#links.size > LARGE ? this.#drawSome(peer) : this.#inSomeOrder(peer);
    if (met === undefined || this.neighbours(met).size >= leastConnections(this.#wanted)) return {};
    own.add(met);
    this.#links.get(met)!.add(peer);
    const strangers = [...(this.#strangers.get(peer) ?? []), met];
    const left = strangers.length > MOST_STRANGERS ? strangers.shift() : undefined;
    this.#strangers.set(peer, strangers);
    const isLinked = left !== undefined && own.delete(left);
    if (isLinked) this.#links.get(left)?.delete(peer);
    this.#relinked(peer, met, ...(isLinked ? [left] : []));
    return { met, left: isLinked ? left : undefined };
  }

  #inSomeOrder(peer: PeerId): readonly PeerId[] {
    const own = this.neighbours(peer);
    const candidates = [...this.#links.keys()].filter(
      (other) => other !== peer && !own.has(other) && this.reachable(peer, other),
    );
    return this.#wanted < candidates.length ? shuffled(candidates, this.#random) : candidates;
  }

  /** Four candidates for each link wanted: enough but where most of the swarm is out of reach. */
  #drawSome(peer: PeerId): ReadonlySet<PeerId> {
    this.#order ??= [...this.#links.keys()];
    const own = this.neighbours(peer);
    const drawn = new Set<PeerId>();
    for (let lot = 0; lot < 4 * this.#wanted; lot++) {
      const other = this.#order[Math.floor(this.#random() * this.#order.length)]!;
      if (other !== peer && !own.has(other) && this.reachable(peer, other)) drawn.add(other);
    }
    return drawn;
  }

  /** Whether a peer would dial more, if there were any to reach. */
  wantsMore(peer: PeerId): boolean {
    return this.neighbours(peer).size < Math.min(this.#wanted, this.#links.size - 1);
  }

  /** Only peers of the same group reach each other; without groups everyone does. Links stay until they are cut. */
  partition(...groups: readonly (readonly PeerId[])[]): void {
    this.#groups = groups.map((group) => new Set(group));
    this.#mesh = undefined;
    this.#changed();
  }

  reachable(a: PeerId, b: PeerId): boolean {
    return this.#groups.length === 0 || this.#groups.some((group) => group.has(a) && group.has(b));
  }

  /** Cuts all links between peers that do not reach each other; returns the pairs. */
  cutSilent(): readonly (readonly [PeerId, PeerId])[] {
    const pairs: [PeerId, PeerId][] = [];
    for (const [peer, links] of this.#links) {
      for (const other of links) if (peer < other && !this.reachable(peer, other)) pairs.push([peer, other]);
    }
    for (const [a, b] of pairs) {
      this.#links.get(a)?.delete(b);
      this.#links.get(b)?.delete(a);
    }
    if (pairs.length > 0) this.#changed(...new Set(pairs.flat()));
    return pairs;
  }

  /** Hops from `publisher` to everyone whom its gossip reaches now. */
  hopsFrom(publisher: PeerId): ReadonlyMap<PeerId, number> {
    const known = this.#hops.get(publisher);
    if (known !== undefined) return known;
    const hops = this.#breadthFirst(publisher);
    this.#hops.set(publisher, hops);
    return hops;
  }

  /** As `hopsFrom`, in the order in which they hear. */
  spreadFrom(publisher: PeerId): Spread {
    const known = this.#spreads.get(publisher);
    if (known !== undefined) return known;
    const spread = this.#spread(publisher);
    if (this.#spreads.size >= KEPT_SPREADS) this.#spreads.delete(this.#spreads.keys().next().value!);
    this.#spreads.set(publisher, spread);
    return spread;
  }

  /** Mesh links of a peer: it hands each message on to all of them but the one it came from. */
  meshDegree(peer: PeerId): number {
    return this.#meshNow().get(peer)?.size ?? 0;
  }

  #spread(publisher: PeerId): Spread {
    const mesh = this.#meshNow();
    const first = [...(mesh.get(publisher) ?? NOBODY)].filter((peer) => this.reachable(publisher, peer));
    const reached = new Set([publisher, ...first]);
    const waves = [];
    let copies = first.length;
    let wave = { peers: first, from: first.map(() => publisher) };
    while (wave.peers.length > 0) {
      waves.push(wave);
      const next: { peers: PeerId[]; from: PeerId[] } = { peers: [], from: [] };
      for (const peer of wave.peers) {
        const links = mesh.get(peer) ?? NOBODY;
        copies += Math.max(0, links.size - 1);
        for (const other of links) {
          if (reached.has(other) || !this.reachable(peer, other)) continue;
          reached.add(other);
          next.peers.push(other);
          next.from.push(peer);
        }
      }
      wave = next;
    }
    return { waves, reached: reached.size - 1, first: first.length, copies };
  }

  #breadthFirst(publisher: PeerId): ReadonlyMap<PeerId, number> {
    const mesh = this.#meshNow();
    const subscribers = this.neighbours(publisher);
    const first = subscribers.size <= FLOOD_UP_TO_PEERS ? subscribers : (mesh.get(publisher) ?? NOBODY);
    const hops = new Map<PeerId, number>();
    let wave = [...first].filter((peer) => this.reachable(publisher, peer));
    for (let hop = 1; wave.length > 0; hop++) {
      for (const peer of wave) hops.set(peer, hop);
      const next = new Set<PeerId>();
      for (const peer of wave) {
        for (const other of mesh.get(peer) ?? NOBODY) {
          if (other !== publisher && !hops.has(other) && this.reachable(peer, other)) next.add(other);
        }
      }
      wave = [...next];
    }
    return hops;
  }

  #meshNow(): ReadonlyMap<PeerId, ReadonlySet<PeerId>> {
    if (this.#mesh === undefined) this.#mesh = this.#drawMesh();
    else if (this.#loose.size > 0) this.#mend(this.#mesh);
    this.#loose.clear();
    return this.#mesh;
  }

  #drawMesh(): Map<PeerId, Set<PeerId>> {
    const mesh = new Map<PeerId, Set<PeerId>>([...this.#links.keys()].map((peer) => [peer, new Set()]));
    for (const peer of this.#links.keys()) this.#graft(mesh, peer);
    return mesh;
  }

  /** Everyone grafts neighbours at random up to the wished degree; a full one refuses. */
  #graft(mesh: Map<PeerId, Set<PeerId>>, peer: PeerId): void {
    const links = this.neighbours(peer);
    const own = mesh.get(peer)!;
    const order = links.size > MESH_DEGREE ? shuffled([...links], this.#random) : links;
    for (const other of order) {
      if (own.size >= MESH_DEGREE) break;
      const theirs = mesh.get(other)!;
      if (theirs.size >= MESH_HIGH || !this.reachable(peer, other)) continue;
      own.add(other);
      theirs.add(peer);
    }
  }

  #mend(mesh: Map<PeerId, Set<PeerId>>): void {
    for (const peer of this.#loose) {
      const own = mesh.get(peer) ?? new Set();
      const links = this.#links.get(peer);
      for (const other of own) {
        if (links?.has(other)) continue;
        own.delete(other);
        mesh.get(other)?.delete(peer);
      }
      if (links === undefined) mesh.delete(peer);
      else mesh.set(peer, own);
    }
    for (const peer of this.#loose) if (mesh.has(peer)) this.#graft(mesh, peer);
  }

  #changed(...peers: readonly PeerId[]): void {
    if (this.#links.size <= LARGE) this.#mesh = undefined;
    else for (const peer of peers) this.#loose.add(peer);
    this.#changes = 0;
    this.#hops.clear();
    this.#spreads.clear();
  }

  /** Links of some who stay. In a large swarm these change all the time, and gossip may take an old way for a while. */
  #relinked(...peers: readonly PeerId[]): void {
    this.#changes += peers.length;
    if (this.#links.size <= LARGE || this.#changes * STALE_SHARE > this.#links.size) this.#changed(...peers);
    else for (const peer of peers) this.#loose.add(peer);
  }
}

const NOBODY: ReadonlySet<PeerId> = new Set();
