// How a body came to be, with real processes: what `glossa log` and `glossa verify` say of peers that trained together, came
// late, were killed, or whose files were changed.
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, expect, it } from "vitest";
import type { LogEntry } from "../auditing/log-entries.ts";
import { verifyLog } from "../auditing/verify-log.ts";
import type { GlossaProcess } from "./processes.ts";
import { rootsOf, type SmallRun, startRun } from "./small-run.ts";

let run: SmallRun;
afterEach(() => run.bed.close());

const stateOf = async (peer: GlossaProcess) => (await peer.event("started")).stateDirectory;

async function verify(directory: string, ...flags: string[]) {
  const child = run.bed.run("verify", "--peer", directory, "--json", ...flags);
  const code = await child.finished();
  const verified = child.events.find((event) => event.event === "verified");
  return { code, output: child.output, verified };
}

/** Newest first, as it is said. */
async function logOf(directory: string, ...flags: string[]): Promise<readonly LogEntry[]> {
  const child = run.bed.run("log", "--peer", directory, "--json", ...flags);
  expect(await child.finished()).toBe(0);
  return child.events as unknown as LogEntry[];
}

const roundsOf = (entries: readonly LogEntry[]) =>
  new Map(
    entries.flatMap((entry) => (entry.event === "round-logged" ? [[entry.round, entry] as const] : [])),
  );

async function flipByte(path: string, at: number): Promise<() => Promise<void>> {
  const bytes = await readFile(path);
  const changed = Buffer.from(bytes);
  changed.writeUInt8(changed.at(at)! ^ 1, at < 0 ? changed.length + at : at);
  await writeFile(path, changed);
  return () => writeFile(path, bytes);
}

it("three peers can each show where their common body came from, and whatever is changed is found", async () => {
  run = await startRun(["--minimum-peers", "3", "--quorum", "1"]);
  const texts = await Promise.all([
    run.bed.corpus("en-novels", 60_000),
    run.bed.corpus("es-scripture", 60_000),
    run.bed.corpus("zh-poetry", 60_000),
  ]);
  const flags = ["--vocabulary-size", "300", "--rounds", "9", "--keep-log", "3"];
  const peers = ["en", "es", "zh"].map((name, at) => run.peer(name, texts[at]!, ...flags));
  await peers[0]!.event("round-applied", ({ round }) => round === 4);
  const directories = await Promise.all(peers.map(stateOf));
  // Of a peer that trains on meanwhile.
  expect(await verify(directories[0]!)).toMatchObject({ code: 0 });
  expect(await Promise.all(peers.map((peer) => peer.finished()))).toEqual([0, 0, 0]);

  const logs = await Promise.all(directories.map((directory) => logOf(directory)));
  const [first, ...others] = logs.map(roundsOf);
  const roots = rootsOf(peers[0]!);
  expect([...first!.keys()]).toEqual([7, 6, 5, 4, 3, 2, 1, 0]);
  for (const [round, { bodyRoot, updates }] of first!) {
    expect(bodyRoot).toBe(roots.get(round));
    expect(updates.map(({ name }) => name).sort()).toEqual(["en", "es", "zh"]);
    for (const other of others) expect(other.get(round)).toMatchObject({ bodyRoot, updates });
  }
  expect(logs[0]!.at(-1)).toMatchObject({ event: "log-began", cause: "genesis", closedRound: 0 });

  const closed = first!.get(7)!.bodyRoot;
  for (const { code, verified } of await Promise.all(directories.map((directory) => verify(directory)))) {
    expect([code, verified]).toMatchObject([0, { fromRound: 3, toRound: 8, updates: 15, root: closed }]);
    expect(verified).toMatchObject({ heldRound: 8, snapshots: [6], start: "snapshot" });
    expect(verified!.authors).toHaveLength(3);
  }
  // What is behind the older snapshot is gone.
  const [directory] = directories as [string, string, string];
  const kept = (await readdir(join(directory, "payloads"))).map(Number);
  expect(Math.min(...kept)).toBe(3);
  expect(await verify(directory, "--from", "6")).toMatchObject({ code: 0, verified: { updates: 6 } });
  expect(await verify(directory, "--from", "5")).toMatchObject({ code: 73 });

  const update = first!.get(5)!.updates.find(({ name }) => name === "zh")!;
  const payloads = await readdir(join(directory, "payloads"), { recursive: true });
  const payload = join(directory, "payloads", payloads.find((path) => path.endsWith(update.payload))!);
  const snapshots = join(directory, "log", "snapshots");
  const later = join(snapshots, (await readdir(snapshots)).find((name) => name.startsWith("6-"))!);
  const [segment] = (await readdir(join(directory, "log"))).filter((name) => name.endsWith(".log"));
  const segmentPath = join(directory, "log", segment!);
  const record = (await readFile(segmentPath)).indexOf('"kind":"round","round":5');
  for (const [path, at, says] of [
    [payload, 100, /Round 5: the payload of \S+ in .* is not the one that was announced/],
    [later, 200, /Round 6: the snapshot .* is damaged/],
    [segmentPath, record + 200, /Round 5: the log has no whole record of this round/],
    // As a torn one it would be passed over, but the peer holds a body that is further.
    [segmentPath, -1, /Round 7: the log has no whole record of this round/],
  ] as const) {
    const restore = await flipByte(path, at);
    await expect(verifyLog(directory, { signal: AbortSignal.timeout(60_000) })).rejects.toMatchObject({
      ...{ code: "VERIFICATION_FAILED", message: expect.stringMatching(says), path },
    });
    if (path === payload) expect(await verify(directory)).toMatchObject({ code: 74 });
    await restore();
  }
  expect(await verify(directory)).toMatchObject({ code: 0 });

  const text = run.bed.run("log", "--peer", directory, "--round", "5..6", "--author", "zh");
  await text.finished();
  expect(text.output).toMatch(/^round 6 {2}body [0-9a-f]{64}\n/);
  expect(text.output).toMatch(new RegExp(`zh +…${update.author.slice(-8)} +2.56k`));
  expect(text.output).not.toContain("round 7");
});

it("a log survives kill -9, and that of a late peer begins with the body it joined with", async () => {
  run = await startRun(["--minimum-peers", "2", "--local-steps", "20"]);
  const text = await run.bed.corpus("es-scripture", 60_000);
  const flags = ["--vocabulary-size", "300", "--keep-log", "4"];
  const en = run.peer("en", await run.bed.corpus("en-novels", 60_000), ...flags);
  const killed = run.peer("es", text, ...flags);
  await killed.event("round-applied", ({ round }) => round === 3);
  await killed.signal("SIGKILL");
  const directory = await stateOf(killed);
  const before = await verify(directory);
  expect(before).toMatchObject({ code: 0, verified: { isGenesis: true } });

  // Half a record, as a write that was cut off leaves it.
  const log = join(directory, "log", "00000001.log");
  const bytes = await readFile(log);
  await writeFile(log, Buffer.concat([bytes, bytes.subarray(0, 60)]));
  expect(await verify(directory)).toMatchObject({ code: 0, verified: { tornBytes: 60 } });

  const again = run.peer("es", text, ...flags);
  const zh = run.peer("zh", await run.bed.corpus("zh-poetry", 60_000), ...flags);
  const together = await zh.event("round-applied", ({ updates }) => updates === 3);
  for (const peer of [again, zh]) {
    await peer.event("round-applied", ({ round }) => round === together.round + 3);
  }
  for (const peer of [en, again, zh]) await peer.signal("SIGINT");

  const late = await stateOf(zh);
  const began = (await logOf(late)).find((entry) => entry.event === "log-began" && entry.cause === "join");
  expect(began).toMatchObject({ donorName: expect.stringMatching(/^(en|es)$/) });
  const common = roundsOf(await logOf(await stateOf(en)));
  for (const peer of [again, zh]) {
    const state = await stateOf(peer);
    const { code, verified, output } = await verify(state);
    expect(code, output).toBe(0);
    expect(verified!.updates).toBeGreaterThan(0);
    for (const [round, { bodyRoot }] of roundsOf(await logOf(state))) {
      if (common.has(round)) expect([round, bodyRoot]).toEqual([round, common.get(round)!.bodyRoot]);
    }
  }
});
