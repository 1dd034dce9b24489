// Run with a limit on the size of files: keeps an update log of small bodies, then saves a checkpoint that is larger than any
// file may be, then goes on with bodies that are too large for snapshots. Prints what became of it as JSON.

import { join } from "node:path";
import { bodyRoot } from "#protocol/core/merkle.ts";
import { sha256 } from "#protocol/net/hash.ts";
import { listSnapshots } from "../body-snapshots.ts";
import { ProtocolStore } from "../protocol-store.ts";
import { UpdateLog } from "../update-log.ts";
import { readUpdateLog } from "../update-log-reader.ts";

const directory = process.argv[2]!;
const troubles: string[] = [];
const log = await UpdateLog.open(directory, {
  ...{ runId: "ab".repeat(32), manifest: new Uint8Array(), keep: 2 },
  onTrouble: (error, what) =>
    troubles.push(`${what}${error === undefined ? "" : `: ${(error as { code?: string }).code}`}`),
});
const store = await ProtocolStore.open(directory, { retention: log });
const small = new Float32Array(1024);
const large = new Float32Array(100_000);

async function close(round: number, body: Float32Array): Promise<void> {
  await log.closed({ round, updates: [], body, root: bodyRoot(body, sha256) });
  await log.idle();
}
const kept = async () =>
  (await listSnapshots(join(directory, "log", "snapshots"))).map(({ closedRound }) => closedRound);

await log.begin({
  ...{ cause: "genesis", donor: undefined, closedRound: 0 },
  ...{ body: small, root: bodyRoot(small, sha256) },
});
for (let round = 0; round < 6; round++) await close(round, small);
const before = await kept();
const refused = await store
  .save({
    ...{ closedRound: 6, closedBody: large, round: 7, residual: large },
    ...{ updates: [], pendingOwn: [], publishedRound: 6, presenceSequence: 0 },
  })
  .catch((error: { code?: string }) => error.code);
const after = await kept();
for (let round = 6; round < 12; round++) await close(round, large);
await log.close();
const rounds = (await readUpdateLog(directory))!.history.newest!.rounds.length;
process.stdout.write(JSON.stringify({ before, refused, after, finally: await kept(), rounds, troubles }));
