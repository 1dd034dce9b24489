import { expect, it } from "vitest";
import type { SignedUpdate } from "../core/types.ts";
import { sha256 } from "../net/hash.ts";
import { UpdateLog } from "./update-log.ts";

const HEX = "ab".repeat(32);
const update = (round: number, author: string): SignedUpdate => ({
  announcement: {
    ...{ runId: HEX, round, author, payload: HEX, payloadBytes: 1, baseRoot: HEX },
    ...{ tokens: 1, lossNatsPerToken: 1, bitsPerByte: 1 },
  },
  envelope: new Uint8Array(),
});
const facts = (late: boolean) => ({ late, heldRows: undefined });
const lateIn = (log: UpdateLog, round: number) => log.entries(round).map(({ late }) => late);

it("remembers which updates of open rounds came late when they are counted anew, and after a restart", () => {
  const log = new UpdateLog(sha256);
  log.add(update(7, "ada"), facts(false));
  log.add(update(7, "bea"), facts(true));
  expect(lateIn(log, 7)).toEqual([false, true]);
  log.clear();
  for (const again of [log, new UpdateLog(sha256, log.late)]) {
    for (const author of ["ada", "bea"]) again.add(update(7, author), facts(false));
    expect(lateIn(again, 7)).toEqual([false, true]);
    again.forgetBefore(8);
    expect(lateIn(again, 7)).toEqual([false, true]);
    expect(again.late).toEqual([]);
  }
});

it("finds an update by its name, and knows the bodies that its rounds have led to", () => {
  const log = new UpdateLog(sha256);
  for (const author of ["cleo", "ada", "bea"]) log.add(update(3, author));
  const [ada] = log.of(3);
  expect(ada!.announcement.author).toBe("ada");
  expect(log.find(log.idOf(ada!))).toBe(ada);
  log.remove(log.idOf(ada!));
  expect(log.find(log.idOf(ada!))).toBeUndefined();
  for (let round = 0; round < 50; round++) log.ledTo(round, `${round}`);
  expect([...log.roots(48)]).toEqual([
    [48, "48"],
    [49, "49"],
  ]);
  log.forgetBefore(49);
  expect(log.roots(0).size).toBe(33);
  log.clear();
  expect(log.roots(0).size).toBe(0);
});
