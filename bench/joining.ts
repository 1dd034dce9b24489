// `npm run bench -- joining`: how fast a newcomer has a body, as share of its link, from one peer and from several. Real hosts
// on loopback behind links of a given rate and delay; the donors and the links are a process of their own.
import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { sha256Hex } from "#protocol/net/hash.ts";
import { createIdentity } from "#protocol/net/identity.ts";
import { createNetwork, type Network } from "#protocol/net/network.ts";
import type { SnapshotTiles } from "#protocol/ports.ts";
import { describeMachine } from "./machine.ts";

const USAGE = `npm run bench -- joining [--json] [options]
  --values 85000000   float32 values of the body
  --donors 1,2,4      how many peers serve it, one measurement each
  --link 100          Mbit/s that the newcomer can receive
  --uplink 60         Mbit/s that each donor can send; several, separated by commas, are dealt out in turn
  --delay 20          milliseconds each way
  --repeats 1         of each measurement; the fastest is told, because others may use the machine`;

const runManifest = new TextEncoder().encode('{"bench":"joining"}');
/** What all hosts of the bench agree on. */
export const RUN = { runId: sha256Hex(runManifest), runManifest, maxPayloadBytes: 1024 };

/** Rates in bytes a second. */
export interface DonorsSetting {
  readonly values: number;
  readonly uplinks: readonly number[];
  readonly link: number;
  readonly delayMs: number;
}

export interface DonorPlace {
  readonly peer: string;
  readonly address: string;
}

export interface JoiningRow {
  readonly donors: number;
  readonly seconds: number;
  /** Of the body: overheads of the transport count against it. */
  readonly bytesPerSecond: number;
  readonly shareOfLink: number;
  /** Of the slower of the newcomer's link and all uplinks together. */
  readonly shareOfPossible: number;
  /** Buffers of the newcomer beyond those it had before, the body and what is not collected yet included. */
  readonly peakBytes: number;
  readonly bodyBytes: number;
  /** Tiles that each donor gave; more than the body has: the last ones are asked for twice. */
  readonly tiles: readonly number[];
}

const CHILD = fileURLToPath(new URL("./joining-child.ts", import.meta.url));
const BYTES_PER_MBIT = 125_000;
const SAMPLE_MS = 50;

export async function benchJoining(args: string[]): Promise<void> {
  const { values: flags } = parseArgs({
    args,
    options: {
      json: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
      values: { type: "string", default: "85000000" },
      donors: { type: "string", default: "1,2,4" },
      link: { type: "string", default: "100" },
      uplink: { type: "string", default: "60" },
      delay: { type: "string", default: "20" },
      repeats: { type: "string", default: "1" },
    },
  });
  if (flags.help) return console.log(USAGE);
  const uplinks = flags.uplink.split(",").map((mbit) => Number(mbit) * BYTES_PER_MBIT);
  const rows: JoiningRow[] = [];
  for (const count of flags.donors.split(",").map(Number)) {
    const setting = {
      values: Number(flags.values),
      uplinks: Array.from({ length: count }, (_, at) => uplinks[at % uplinks.length]!),
      link: Number(flags.link) * BYTES_PER_MBIT,
      delayMs: Number(flags.delay),
    };
    let row = await measureJoining(setting);
    for (let repeat = 1; repeat < Number(flags.repeats); repeat++) {
      const again = await measureJoining(setting);
      if (again.seconds < row.seconds) row = again;
    }
    rows.push(row);
    if (!flags.json) console.log(lineOf(row));
  }
  const { link, uplink, delay } = flags;
  if (flags.json) console.log(JSON.stringify({ machine: describeMachine(), link, uplink, delay, rows }));
}

export async function measureJoining(setting: DonorsSetting): Promise<JoiningRow> {
  const child = fork(CHILD, [JSON.stringify(setting)]);
  try {
    const [said] = (await once(child, "message")) as [{ root: string; donors: readonly DonorPlace[] }];
    const network = await createNetwork(
      {
        ...RUN,
        identity: await createIdentity(),
        listen: [],
        bootstrap: said.donors.map(({ address }) => address),
        bodyValues: setting.values,
      },
      {},
    );
    await network.start();
    try {
      return await join(network, said.donors, setting);
    } finally {
      await network.stop();
    }
  } finally {
    child.disconnect();
    await once(child, "exit");
  }
}

async function join(
  network: Network,
  donors: readonly DonorPlace[],
  { values, uplinks, link }: DonorsSetting,
): Promise<JoiningRow> {
  while (network.connectedPeers().length < donors.length) {
    await new Promise((resolve) => setTimeout(resolve, SAMPLE_MS));
  }
  const buffers = () => process.memoryUsage().arrayBuffers;
  const beforeBytes = buffers();
  let peakBytes = 0;
  const sampling = setInterval(() => {
    peakBytes = Math.max(peakBytes, buffers() - beforeBytes);
  }, SAMPLE_MS);
  const startedMs = performance.now();
  let tiles: SnapshotTiles;
  try {
    ({ tiles } = await network.fetchSnapshot(donors[0]!.peer, new AbortController().signal));
  } finally {
    clearInterval(sampling);
  }
  const seconds = (performance.now() - startedMs) / 1000;
  const bodyBytes = 4 * values;
  const possible = Math.min(
    link,
    uplinks.reduce((sum, uplink) => sum + uplink, 0),
  );
  return {
    donors: donors.length,
    seconds,
    bytesPerSecond: bodyBytes / seconds,
    shareOfLink: bodyBytes / seconds / link,
    shareOfPossible: bodyBytes / seconds / possible,
    peakBytes,
    bodyBytes,
    tiles: donors.map(({ peer }) => tiles.fetched.find((share) => share.peer === peer)?.tiles ?? 0),
  };
}

function lineOf(row: JoiningRow): string {
  const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
  const mb = (bytes: number) => (bytes / 1e6).toFixed(1);
  return (
    `${row.donors} donor${row.donors === 1 ? " " : "s"}  ${row.seconds.toFixed(1)} s  ${mb(row.bytesPerSecond)} MB/s  ` +
    `${percent(row.shareOfLink)} of the link, ${percent(row.shareOfPossible)} of what is possible  ` +
    `peak ${mb(row.peakBytes)} MB for a body of ${mb(row.bodyBytes)} MB  tiles ${row.tiles.join(" + ")}`
  );
}
