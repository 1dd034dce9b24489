import { describe, expect, it } from "vitest";
import { Bench, rootNamed } from "../testing/round-logic.ts";

const notesOf = (bench: Bench) => bench.take("note").map(({ event }) => event);

describe("presence", () => {
  it("is told every two seconds, and at once when something has changed", () => {
    const bench = new Bench({}, { round: 3 }).wait(250);
    expect(bench.take("send-presence").length).toBe(1);
    bench.wait(1_500);
    expect(bench.take("send-presence").length).toBe(0);
    bench.wait(500);
    expect(bench.take("send-presence").length).toBe(1);
    bench.wait(250);
    bench.put({ type: "peer-connected", peer: "ada" });
    expect(bench.take("send-presence").length).toBe(1);
  });

  it("is not told faster than four times a second, whatever happens", () => {
    const bench = new Bench({}, { round: 3 }).wait(250);
    bench.take("send-presence");
    for (let count = 0; count < 20; count++) {
      bench.nowMs += 10;
      bench.put({ type: "peer-connected", peer: "ada" });
    }
    expect(bench.take("send-presence").length).toBe(0);
  });

  it("that is older than one known is ignored", () => {
    const bench = new Bench({}, { round: 3 }).hear("ada", { sequence: 10, round: 3 });
    bench.hear("ada", { sequence: 9, round: 4 }).hear("ada", { sequence: 10, round: 5 });
    expect(bench.state.members.get("ada")?.presence.round).toBe(3);
  });

  it("of a peer tells of its coming, its goodbye and its silence, each once", () => {
    const bench = new Bench({}, { round: 3 })
      .hear("ada")
      .hear("bea")
      .hear("ada")
      .hear("ada", { leaving: true });
    bench.hear("ada", { leaving: true }).wait(11_000);
    const said = notesOf(bench).flatMap((event) =>
      event.type === "peer-joined" || event.type === "peer-left" ? [{ ...event, name: undefined }] : [],
    );
    expect(said).toEqual([
      { type: "peer-joined", peer: "ada", name: undefined, round: 3 },
      { type: "peer-joined", peer: "bea", name: undefined, round: 3 },
      { type: "peer-left", peer: "ada", name: undefined, said: true },
      { type: "peer-left", peer: "bea", name: undefined, said: false },
    ]);
  });

  it("of its own author is ignored", () => {
    expect(new Bench().hear("self").state.members.size).toBe(0);
  });
});

describe("anti-entropy", () => {
  it("asks a peer whose updates differ, not one whose updates are the same", () => {
    const bench = new Bench({}, { round: 3 }).hear("ada", { sameUpdates: true });
    expect(bench.take("reconcile")).toEqual([]);
    bench.hear("bea", { sameUpdates: false });
    expect(bench.take("reconcile")).toEqual([{ type: "reconcile", peer: "bea", fromRound: 2 }]);
  });

  it("asks a peer once a second at most, and not while an answer is awaited", () => {
    const bench = new Bench({}, { round: 3 }).hear("ada", { sameUpdates: false });
    bench.wait(3_000).hear("ada", { sameUpdates: false });
    expect(bench.take("reconcile").length).toBe(1);
    bench.put({ type: "reconciled", peer: "ada" }).hear("ada", { sameUpdates: false });
    expect(bench.take("reconcile").length).toBe(1);
    bench.put({ type: "reconciled", peer: "ada" }).hear("ada", { sameUpdates: false });
    expect(bench.take("reconcile").length).toBe(0);
  });

  it("asks a peer that has closed with another body what is still open here", () => {
    const bench = new Bench({}, { round: 3 }).hear("ada", { round: 4, closedRoot: rootNamed("other3") });
    expect(bench.take("reconcile").length).toBe(1);
  });

  it("does not ask who is out of reach", () => {
    const bench = new Bench({}, { round: 3 }).hear("ada").hear("bea", { round: 9, sameUpdates: false });
    bench.hear("cleo", { round: 1, sameUpdates: false });
    expect(bench.take("reconcile")).toEqual([]);
  });
});
