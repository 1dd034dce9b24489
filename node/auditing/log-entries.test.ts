import { expect, test } from "vitest";
import { parseRunConfig } from "#protocol/core/run-config.ts";
import type { UpdateAnnouncement } from "#protocol/core/types.ts";
import { createIdentity } from "#protocol/net/identity.ts";
import { signUpdate } from "#protocol/net/signatures.ts";
import { UpdateHistory } from "../storage/update-log-history.ts";
import { plain } from "../terminal/paint.ts";
import { entriesOf, type LogSelection, selected } from "./log-entries.ts";
import { entryLine, entryText } from "./log-text.ts";

const HASH = "12".repeat(32);
const config = parseRunConfig({ averaging: { weighting: "tokens", codec: "int4" } });
const ada = await createIdentity();
const bea = await createIdentity();

async function history(): Promise<UpdateHistory> {
  const made = new UpdateHistory();
  const announced = (round: number, author: string): UpdateAnnouncement => ({
    ...{ runId: HASH, round, author, payload: HASH, payloadBytes: 7_340, baseRoot: "34".repeat(32) },
    ...{ tokens: 51_200, lossNatsPerToken: 2, bitsPerByte: 2.345_678 },
  });
  const signed = async (round: number, who: typeof ada) =>
    Buffer.from((await signUpdate(who, announced(round, who.peer))).envelope).toString("base64");
  made.add({ kind: "began", cause: "join", donor: bea.peer, closedRound: 4, root: HASH, timeMs: 0 });
  // Someone else's words: a name that would clear the screen.
  made.add({ kind: "named", peer: bea.peer, name: "\u001b[2Jbea" });
  const updates = [
    { envelope: await signed(4, ada) },
    {
      envelope: await signed(4, bea),
      ...{ late: true as const, heldRows: 300, restraint: { why: "clipped" as const, kept: 0.034 } },
    },
  ];
  made.add({ kind: "round", round: 4, root: "56".repeat(32), timeMs: 1, updates });
  made.add({ kind: "round", round: 6, root: HASH, timeMs: 2, updates: [{ envelope: await signed(6, ada) }] });
  return made;
}

test("a log says who gave what, whence a body came, and which rounds it cannot say", async () => {
  const { lineages, names } = await history();
  const entries = entriesOf(lineages, { config, names });
  expect(entries).toMatchObject([
    { event: "log-began", cause: "join", donor: bea.peer, closedRound: 4 },
    { event: "round-logged", round: 4, bodyRoot: "56".repeat(32) },
    { event: "round-unreadable", round: 5 },
    { event: "round-logged", round: 6 },
  ]);
  const text = entries.flatMap((entry) => entryText(entry, plain)).join("\n");
  expect(text).toContain(`joined with the body of [2Jbea …${bea.peer.slice(-8)}`);
  expect(text).toMatch(
    /\[2Jbea +…\S{8} +51\.2k +2\.346 +7\.34 kB +int4 +256 +34343434 +clipped to 3%, late, 300 rows/,
  );
  expect(text).toContain("round 5  its record is damaged");
  expect(text).not.toContain("\u001b");
  expect(entryLine(entries[1]!, plain)).toBe(
    `4 56565656 …${ada.peer.slice(-8)}, [2Jbea (late)  102k tokens, 14.7 kB`,
  );
});

test("rounds and authors are chosen", async () => {
  const { lineages, names } = await history();
  const entries = entriesOf(lineages, { config, names });
  const choose = (wish: Partial<LogSelection>) =>
    entries.flatMap((entry) => {
      const all = { firstRound: 0, lastRound: Number.POSITIVE_INFINITY, author: undefined };
      const one = selected(entry, { ...all, ...wish });
      if (one === undefined) return [];
      return [one.event === "round-logged" ? one.updates.map(({ author }) => author) : one.event];
    });
  expect(choose({ firstRound: 5 })).toEqual(["round-unreadable", [ada.peer]]);
  expect(choose({ lastRound: 4 })).toEqual(["log-began", [ada.peer, bea.peer]]);
  expect(choose({ author: "[2Jbea" })).toEqual([[bea.peer]]);
  expect(choose({ author: ada.peer.slice(-6) })).toEqual([[ada.peer], [ada.peer]]);
});
