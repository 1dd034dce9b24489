// A network of the kernel's own for real processes: each place a network namespace with an address, joined to the others by
// a link of a given rate. Needs Linux with namespaces, iproute2 and a kernel that shapes (tbf); no root where users may make
// namespaces. Nothing of it is seen outside, and all of it is gone with the process that holds it.
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { createInterface } from "node:readline";

export interface PlacesOptions {
  readonly places: number;
  /** Of each place's link, in each direction. */
  readonly mbits: number;
  /** With `netem`: one way, and the share of packets lost on the way out of a place. */
  readonly delayMs?: number;
  readonly loss?: number;
}

/** What a shell of the holder has to be able to do. */
const TRIAL =
  "mount -t tmpfs tmpfs /run && ip link add trial type bridge && tc qdisc add dev trial root tbf rate 1mbit burst 16kb latency 1s";
const NETEM = "ip link set lo up && tc qdisc add dev lo root netem delay 1ms";
const UNSHARE = ["--user", "--map-root-user", "--net", "--mount"];
/** A burst that a timer tick of the kernel lets pass, and a queue of a tenth of a second: a home router's. */
const BURST_BYTES = 64 * 1024;
const QUEUE_MS = 100;

/** Why there can be no such network here; undefined where there can. */
export function whyNoNamespaces(): string | undefined {
  if (process.platform !== "linux") return `network namespaces are Linux's, this is ${process.platform}`;
  return failureOf(TRIAL);
}

/** Whether the kernel can delay and lose packets (sch_netem). */
export const hasNetem = (): boolean => failureOf(NETEM) === undefined;

function failureOf(script: string): string | undefined {
  const { status, error, stderr } = spawnSync("unshare", [...UNSHARE, "sh", "-ec", script], {
    encoding: "utf8",
  });
  if (error !== undefined) return error.message;
  return status === 0 ? undefined : stderr.trim().split("\n")[0] || `unshare ended with ${status}`;
}

/** Place 0 is the hub that all links meet at, without a limit of its own. */
export class NetworkNamespaces {
  readonly #holder: ChildProcess;
  readonly #pid: string;

  private constructor(holder: ChildProcess, pid: string) {
    this.#holder = holder;
    this.#pid = pid;
  }

  /** Rejects where whyNoNamespaces() has a reason. */
  static async create(options: PlacesOptions): Promise<NetworkNamespaces> {
    const holder = spawn("unshare", [...UNSHARE, "sh", "-ec", scriptOf(options)], {
      stdio: ["pipe", "pipe", "pipe"],
    });
    let complaint = "";
    holder.stderr!.on("data", (text) => {
      complaint += text;
    });
    const pid = await new Promise<string>((resolve, reject) => {
      createInterface({ input: holder.stdout! }).once("line", (line) => resolve(line));
      holder.once("error", reject);
      holder.once("exit", () => reject(new Error(`no network namespaces: ${complaint.trim()}`)));
    });
    return new NetworkNamespaces(holder, pid);
  }

  address(place: number): string {
    return addressOf(place);
  }

  /** What to put before a command to run it in a place, as the same process. */
  prefix(place: number): readonly string[] {
    const within = ["nsenter", "-t", this.#pid, "-U", "--preserve-credentials", "-m", "-n"];
    return place === 0 ? within : [...within, "ip", "netns", "exec", nameOf(place)];
  }

  /** Those who run in it keep what they have until they end. */
  close(): void {
    this.#holder.stdin!.end();
  }
}

const addressOf = (place: number) => `10.77.0.${place + 1}`;
const nameOf = (place: number) => `place${place}`;

/** Sets all up, says the holder's process id, and waits for the end of its input. */
function scriptOf({ places, mbits, delayMs, loss = 0 }: PlacesOptions): string {
  const rate = `tbf rate ${mbits}mbit burst ${BURST_BYTES} latency ${QUEUE_MS}ms`;
  const far =
    delayMs === undefined
      ? rate
      : `netem rate ${mbits}mbit delay ${delayMs}ms loss ${100 * loss}% limit 10000`;
  const lines = [
    // Names of namespaces are files there: the machine's own are out of sight.
    "mount -t tmpfs tmpfs /run",
    "ip link set lo up",
    "ip link add hub type bridge",
    "ip link set hub up",
    `ip address add ${addressOf(0)}/24 dev hub`,
  ];
  for (let place = 1; place <= places; place++) {
    const name = nameOf(place);
    lines.push(
      `ip netns add ${name}`,
      `ip link add link${place} type veth peer name eth0 netns ${name}`,
      `ip link set link${place} master hub up`,
      `ip -n ${name} link set lo up`,
      `ip -n ${name} address add ${addressOf(place)}/24 dev eth0`,
      `ip -n ${name} link set eth0 up`,
      `tc -n ${name} qdisc add dev eth0 root ${far}`,
      `tc qdisc add dev link${place} root ${rate}`,
    );
  }
  return [...lines, "echo $$", "exec cat >&2"].join("\n");
}
