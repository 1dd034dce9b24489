// Child of protocol-store.test.ts: saves one checkpoint after another until it is killed. Checkpoint n has every value
// equal to n, so that a mixture of two would show.
import { ProtocolStore } from "../protocol-store.ts";
import { uniformCheckpoint } from "./uniform-checkpoint.ts";

const store = await ProtocolStore.open(process.argv[2]!);
const last = await store.load();
process.stdout.write("ready\n");
for (let round = (last?.round ?? 0) + 1; ; round++) await store.save(uniformCheckpoint(round));
