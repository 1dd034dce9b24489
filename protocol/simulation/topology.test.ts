import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { seededRandom } from "./random.ts";
import { Topology } from "./topology.ts";

function swarm(peers: number, wanted: number, seed = 1): Topology {
  const topology = new Topology(wanted, seededRandom(seed));
  for (let index = 0; index < peers; index++) {
    topology.add(`p${index}`);
    topology.look(`p${index}`);
  }
  for (const peer of topology.peers) if (topology.wantsMore(peer)) topology.look(peer);
  return topology;
}

describe("the topology", () => {
  it("connects everyone with everyone where connections are not bounded", () => {
    const topology = swarm(7, Number.POSITIVE_INFINITY);
    for (const peer of topology.peers) expect(topology.neighbours(peer).size).toBe(6);
  });

  it("gives each peer the connections that it wants, both ways, within what others accept", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 2, max: 60 }),
        fc.integer({ min: 1, max: 20 }),
        fc.nat(),
        (peers, wanted, seed) => {
          const topology = swarm(peers, wanted, seed);
          for (const peer of topology.peers) {
            const links = topology.neighbours(peer);
            expect(links.size).toBeGreaterThanOrEqual(Math.min(wanted, peers - 1));
            expect(links.size).toBeLessThanOrEqual(64);
            for (const other of links) expect(topology.connected(other, peer)).toBe(true);
          }
        },
      ),
      { numRuns: 50 },
    );
  });

  it("grows together after a partition in which both halves found all the links they want", () => {
    const topology = swarm(64, 16);
    const half = (rest: number) => topology.peers.filter((_, index) => index % 2 === rest);
    topology.partition(half(0), half(1));
    topology.cutSilent();
    for (const peer of topology.peers) topology.look(peer);
    topology.partition();
    for (const peer of topology.peers) topology.look(peer);
    expect(topology.hopsFrom("p0").size).toBe(31);
    for (let times = 0; times < 4; times++) for (const peer of topology.peers) topology.meetStranger(peer);
    expect(topology.hopsFrom("p0").size).toBe(63);
    // Each keeps two strangers of its own, and those whose stranger it is.
    for (const peer of topology.peers) expect(topology.neighbours(peer).size).toBeLessThan(40);
  });

  it("brings gossip to everyone, over one hop in a small swarm and a few in a large one", () => {
    expect([...swarm(9, 16).hopsFrom("p0").values()]).toEqual(Array(8).fill(1));
    const hops = [...swarm(200, 16).hopsFrom("p0").values()];
    expect(hops.length).toBe(199);
    expect(Math.max(...hops)).toBeLessThanOrEqual(5);
    expect(hops.filter((count) => count === 1).length).toBeLessThanOrEqual(12);
  });

  it("lets nothing through between the parts of a divided network, and everything when it is whole again", () => {
    const topology = swarm(20, 16);
    const half = topology.peers.slice(0, 10);
    topology.partition(half, topology.peers.slice(10));
    expect([...topology.hopsFrom("p0").keys()].sort()).toEqual(half.slice(1).sort());
    expect(topology.reachable("p0", "p15")).toBe(false);
    expect(topology.cutSilent().every(([a, b]) => half.includes(a) !== half.includes(b))).toBe(true);
    expect([...topology.neighbours("p0")].every((peer) => half.includes(peer))).toBe(true);
    topology.partition();
    topology.look("p0");
    expect(topology.hopsFrom("p0").size).toBe(19);
  });

  it("forgets a peer that is gone with all its links", () => {
    const topology = swarm(12, 4);
    const neighbours = [...topology.neighbours("p3")];
    expect([...topology.remove("p3")].sort()).toEqual(neighbours.sort());
    expect(topology.peers).not.toContain("p3");
    for (const peer of neighbours) expect(topology.neighbours(peer).has("p3")).toBe(false);
    expect(topology.hopsFrom("p0").has("p3")).toBe(false);
  });
});
