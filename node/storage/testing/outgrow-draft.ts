// Child of snapshot-draft.test.ts, run under a limit of 64 to 128 KiB a file: a checkpoint that has no room drops the draft
// before it is given up. Prints the error's code, and which tile is left of the draft before and after.
import { ProtocolStore } from "../protocol-store.ts";
import { uniformCheckpoint } from "./uniform-checkpoint.ts";

process.on("SIGXFSZ", () => {});
const store = await ProtocolStore.open(process.argv[2]!);
await store.snapshotDraft.keep(0, new Uint8Array(5));
const before = (await store.snapshotDraft.tile(0))?.length;
const code = await store.save(uniformCheckpoint(1)).then(
  () => "written",
  (error: { code?: string }) => error.code ?? String(error),
);
process.stdout.write(`${code} ${before} ${(await store.snapshotDraft.tile(0))?.length}\n`);
