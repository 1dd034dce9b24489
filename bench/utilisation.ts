// `npm run bench -- utilisation`: how much of the time the trainers of real `glossa peer` processes train, over links of a
// given rate, delay and loss, with overlap and without. Peers are in network namespaces whose links the kernel limits.
// Where it can also delay and lose packets (netem) it does; else a relay between the links delays, and holds each
// connection to the rate that TCP keeps under that loss, since packets cannot be lost there.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { rateUnderLoss } from "#protocol/simulation/links.ts";
import { hasNetem, NetworkNamespaces, whyNoNamespaces } from "../node/e2e/network-namespaces.ts";
import { type GlossaProcess, TestBed } from "../node/e2e/processes.ts";
import { describeMachine } from "./machine.ts";
import type { RelaySetting } from "./utilisation-links.ts";

const USAGE = `npm run bench -- utilisation [--json] [options] [-- FLAGS of glossa init]
  --peers 4          real peers, each with a trainer of its own
  --links 100,20     Mbit/s of a peer's link, up and down; one measurement each
  --delay 50         milliseconds one way between any two peers
  --loss 0.01        share of packets lost
  --overlap off,on   one measurement each
  --steps 60         local steps of a round
  --rounds 10        rounds, of which the first are not counted
  --skip 3           how many are not
  --batch 8          sequences in a batch
A trainer that computes, or would if it had a processor, is busy; one that has nothing to do until the protocol says more is not.
Utilisation is the share of the time that trainers were busy, between the update of the last round that does not count and
that of the last; beside it the share in optimizer steps alone, without what a round begins and ends with and checkpoints.`;

const LINKS = fileURLToPath(new URL("./utilisation-links.ts", import.meta.url));
const CORPORA = ["en-novels", "es-scripture", "zh-poetry"] as const;
const TEXT_BYTES = 400_000;
const PORT = 4001;

interface Setting {
  readonly peers: number;
  readonly mbits: number;
  readonly delayMs: number;
  readonly loss: number;
  readonly overlap: string;
  readonly rounds: number;
  readonly skip: number;
  readonly init: readonly string[];
}

interface PeerUtilisation {
  readonly name: string;
  readonly utilisation: number;
  readonly idleSeconds: number;
  readonly computeSeconds: number;
  readonly seconds: number;
}

interface Row extends Omit<Setting, "init"> {
  readonly utilisation: number;
  readonly least: number;
  readonly inSteps: number;
  /** Of the run, on average, and what a peer sent and received in one. */
  readonly roundSeconds: number;
  readonly sentBytes: number;
  readonly receivedBytes: number;
  readonly oneBody: boolean;
  readonly each: readonly PeerUtilisation[];
}

export async function benchUtilisation(args: string[]): Promise<void> {
  const { values: flags, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      json: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
      peers: { type: "string", default: "4" },
      links: { type: "string", default: "100,20" },
      delay: { type: "string", default: "50" },
      loss: { type: "string", default: "0.01" },
      overlap: { type: "string", default: "off,on" },
      steps: { type: "string", default: "60" },
      rounds: { type: "string", default: "10" },
      skip: { type: "string", default: "3" },
      batch: { type: "string", default: "8" },
    },
  });
  if (flags.help) return console.log(USAGE);
  const reason = whyNoNamespaces();
  if (reason !== undefined) throw new Error(`This bench needs network namespaces: ${reason}`);
  const netem = hasNetem();
  if (!flags.json) console.log(heading(netem));
  const rows: Row[] = [];
  for (const mbits of flags.links.split(",").map(Number)) {
    for (const overlap of flags.overlap.split(",")) {
      const setting: Setting = {
        peers: Number(flags.peers),
        mbits,
        delayMs: Number(flags.delay),
        loss: Number(flags.loss),
        overlap,
        rounds: Number(flags.rounds),
        skip: Number(flags.skip),
        init: ["--local-steps", flags.steps, "--batch-size", flags.batch, ...positionals],
      };
      const row = await measure(setting, netem);
      rows.push(row);
      if (!flags.json) console.log(lineOf(row));
    }
  }
  if (flags.json) console.log(JSON.stringify({ machine: describeMachine(), netem, rows }));
}

async function measure({ init, ...setting }: Setting, netem: boolean): Promise<Row> {
  const { peers, mbits, delayMs, loss, overlap, rounds } = setting;
  const network = await NetworkNamespaces.create({
    places: peers,
    mbits,
    ...(netem && { delayMs, loss }),
  });
  const bed = await TestBed.create();
  const closeRelay = netem ? () => {} : await startRelay(network, setting);
  try {
    const run = (place: number, ...args: string[]) => bed.runBehind(network.prefix(place), ...args);
    const hub = `/ip4/${network.address(0)}/tcp`;
    const bootstrap = run(0, "bootstrap", "--listen", `${hub}/${PORT}`, "--events", "json");
    const { addresses } = await bootstrap.event("listening");
    const created = run(
      ...[0, "init", "--json", "--preset", "tiny", "--bootstrap", addresses[0]!],
      ...["--output", join(bed.directory, "run.json"), "--rounds", `${rounds}`],
      ...["--minimum-peers", `${peers}`, "--overlap", overlap, ...init],
    );
    const { invite } = await created.event("run-created");
    const texts: string[] = [];
    for (const corpus of CORPORA) texts.push(await bed.corpus(corpus, TEXT_BYTES));
    const running = Array.from({ length: peers }, (_, at) => {
      const place = at + 1;
      return run(
        ...[place, "peer", "--join", invite, "--name", `peer${place}`, "--data", texts[at % texts.length]!],
        ...["--listen", `/ip4/${network.address(place)}/tcp/${PORT}`, "--vocabulary-size", "1024"],
        ...(netem ? [] : ["--announce", `${hub}/${PORT + place}`]),
        ...["--device", "cpu", "--threads", "1", "--rounds", `${rounds}`, "--evaluate-every-rounds", "0"],
        ...["--events", "json", "--log-format", "json"],
      );
    });
    const ends = await Promise.all(running.map((peer) => finished(peer)));
    const each = running.map((peer, at) => utilisationOf(`peer${at + 1}`, peer, setting));
    const sum = (of: (peer: PeerUtilisation) => number) => each.reduce((total, peer) => total + of(peer), 0);
    const mean = (values: readonly number[]) =>
      values.reduce((total, value) => total + value, 0) / values.length;
    return {
      ...setting,
      utilisation: 1 - sum(({ idleSeconds }) => idleSeconds) / sum(({ seconds }) => seconds),
      inSteps: sum(({ computeSeconds }) => computeSeconds) / sum(({ seconds }) => seconds),
      least: Math.min(...each.map(({ utilisation }) => utilisation)),
      roundSeconds: mean(each.map(({ seconds }) => seconds)) / (rounds - 1 - setting.skip),
      sentBytes: mean(ends.map(({ bytesSent }) => bytesSent)) / rounds,
      receivedBytes: mean(ends.map(({ bytesReceived }) => bytesReceived)) / rounds,
      oneBody: new Set(ends.map(({ bodyRoot }) => bodyRoot)).size === 1,
      each,
    };
  } finally {
    await bed.close();
    closeRelay();
    network.close();
  }
}

interface PublishedLine {
  readonly time: string;
  readonly round: number;
  readonly computeMs: number;
  readonly idleMs: number;
}

/** However long it takes: what waits for it is a person. */
async function finished(peer: GlossaProcess) {
  await peer.exit;
  return peer.event("finished");
}

async function startRelay(
  network: NetworkNamespaces,
  { peers, delayMs, loss }: Pick<Setting, "peers" | "delayMs" | "loss">,
): Promise<() => void> {
  const [host, rate] = [network.address(0), rateUnderLoss(loss, 2 * delayMs)];
  const setting: RelaySetting = {
    links: Array.from({ length: peers }, (_, at) => ({
      listen: { host, port: PORT + at + 1 },
      host: network.address(at + 1),
      port: PORT,
    })),
    delayMs,
    connectionRate: Number.isFinite(rate) ? 1000 * rate : undefined,
  };
  const [command, ...line] = [...network.prefix(0), process.execPath, LINKS, JSON.stringify(setting)];
  const relay = spawn(command!, line, { stdio: ["pipe", "pipe", "inherit"] });
  await once(relay.stdout, "data");
  return () => relay.stdin.end();
}

/** From the log: an update says what its steps took and how long there were none to take, and stands where they ended. */
function utilisationOf(
  name: string,
  { output }: GlossaProcess,
  { rounds, skip }: Pick<Setting, "rounds" | "skip">,
): PeerUtilisation {
  const published = new Map<number, { atMs: number; computeMs: number; idleMs: number }>();
  for (const line of output.split("\n")) {
    if (!line.includes('"msg":"published"')) continue;
    const { time, round, ...update } = JSON.parse(line) as PublishedLine;
    published.set(round, { atMs: Date.parse(time), ...update });
  }
  const [first, last] = [published.get(skip), published.get(rounds - 1)];
  if (first === undefined || last === undefined)
    throw new Error(`${name} did not make all its updates:\n${output}`);
  let [computeMs, idleMs] = [0, 0];
  for (const [round, update] of published) {
    if (round <= skip) continue;
    computeMs += update.computeMs;
    idleMs += update.idleMs;
  }
  const ms = last.atMs - first.atMs;
  return {
    name,
    utilisation: 1 - idleMs / ms,
    idleSeconds: idleMs / 1000,
    computeSeconds: computeMs / 1000,
    seconds: ms / 1000,
  };
}

function heading(netem: boolean): string {
  const { processor, cores, node } = describeMachine();
  const far = netem
    ? "delay and loss by the kernel (netem)"
    : "delay by a relay, loss as the rate that it leaves TCP with CUBIC (this kernel has no netem)";
  return [
    `${processor}, ${cores} cores, Node ${node}; rate by the kernel (tbf), ${far}`,
    "link         loss  overlap   utilisation    least  in steps   round   sent/round  received/round",
  ].join("\n");
}

const percent = (share: number) => `${(100 * share).toFixed(2)} %`;

function lineOf(row: Row): string {
  const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(2)} MB`;
  return (
    `${row.mbits} Mbit/s`.padEnd(11) +
    `${100 * row.loss} %`.padStart(6) +
    row.overlap.padStart(9) +
    percent(row.utilisation).padStart(14) +
    percent(row.least).padStart(9) +
    percent(row.inSteps).padStart(10) +
    `${row.roundSeconds.toFixed(1)} s`.padStart(8) +
    megabytes(row.sentBytes).padStart(13) +
    megabytes(row.receivedBytes).padStart(16) +
    (row.oneBody ? "  one body" : "  SEVERAL BODIES")
  );
}
