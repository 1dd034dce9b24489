// The asking side of the control endpoint: finds running peers of this user on this machine and asks for their status.
import { readdir, rm } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { readJson } from "../storage/state-directory.ts";
import { type ControlRecord, STATUS_REQUEST } from "./control-endpoint.ts";
import { findRuntimeDirectory } from "./runtime-directory.ts";
import { type PeerStatus, STATUS_VERSION } from "./status.ts";

/** A status is some kilobytes, also with hundreds of peers. */
const MAX_STATUS_BYTES = 16 * 2 ** 20;

export class NoRunningPeerError extends Error {
  readonly code = "NO_RUNNING_PEER";

  constructor(wanted: string) {
    super(`No running peer was found${wanted}: start one with \`glossa peer\`, or name its --state-dir.`);
    this.name = "NoRunningPeerError";
  }
}

export class ControlUnreachableError extends Error {
  readonly code = "CONTROL_UNREACHABLE";
  readonly endpoint: string;

  constructor({ name, pid, endpoint }: ControlRecord, reason: string, options?: ErrorOptions) {
    super(`The peer ${name} does not answer (${reason}): check that its process ${pid} is alive.`, options);
    this.name = "ControlUnreachableError";
    this.endpoint = endpoint;
  }
}

export interface Wanted {
  readonly stateDir?: string | undefined;
  readonly name?: string | undefined;
}

/**
 * Records of the peers that run and fit, by name.
 * @throws {NoRunningPeerError} where there is none
 */
export async function findPeers(
  { stateDir, name }: Wanted,
  environment: Readonly<Record<string, string | undefined>> = process.env,
): Promise<readonly ControlRecord[]> {
  if (stateDir !== undefined) {
    const record = await readJson<ControlRecord>(join(stateDir, "control.json"));
    if (record === undefined) throw new NoRunningPeerError(` in ${stateDir}`);
    return [record];
  }
  const directory = await findRuntimeDirectory(environment);
  const found = directory === undefined ? [] : await answering(directory, name);
  if (found.length === 0) throw new NoRunningPeerError(name === undefined ? "" : ` with the name ${name}`);
  return found;
}

async function answering(directory: string, name: string | undefined): Promise<readonly ControlRecord[]> {
  const files = (await readdir(directory)).filter((file) => file.endsWith(".json"));
  const records = await Promise.all(
    files.map((file) => readJson<ControlRecord>(join(directory, file)).catch(() => undefined)),
  );
  const fitting = records
    .filter((record) => record !== undefined)
    .filter((record) => name === undefined || record.name === name)
    .sort((a, b) => a.name.localeCompare(b.name) || a.pid - b.pid);
  const alive = await Promise.all(fitting.map((record) => answers(record, directory)));
  return fitting.filter((_, index) => alive[index]);
}

/** Whether someone listens there; what a killed peer has left behind is cleared away. */
async function answers({ endpoint }: ControlRecord, directory: string): Promise<boolean> {
  const refused = await new Promise<string | undefined>((resolve) => {
    const socket = connect(endpoint);
    socket.once("connect", () => {
      socket.destroy();
      resolve(undefined);
    });
    socket.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? "error"));
  });
  if (refused === "ECONNREFUSED" || refused === "ENOENT") {
    const record = join(directory, endpoint.replace(/^.*[\\/](?:glossa-)?/, "").replace(/\.sock$/, ""));
    await rm(`${record}.json`, { force: true });
  }
  return refused === undefined;
}

/** @throws {ControlUnreachableError} */
export async function askStatus(record: ControlRecord, signal: AbortSignal): Promise<PeerStatus> {
  signal.throwIfAborted();
  const socket = connect(record.endpoint);
  const abort = () => socket.destroy(signal.reason instanceof Error ? signal.reason : new Error("aborted"));
  signal.addEventListener("abort", abort, { once: true });
  let text = "";
  try {
    socket.setEncoding("utf8");
    socket.write(`${STATUS_REQUEST}\n`);
    for await (const chunk of socket) {
      text += chunk;
      if (text.endsWith("\n")) break;
      if (text.length > MAX_STATUS_BYTES) throw new Error("its answer has no end");
    }
  } catch (error) {
    signal.throwIfAborted();
    throw new ControlUnreachableError(record, (error as Error).message, { cause: error });
  } finally {
    signal.removeEventListener("abort", abort);
    socket.destroy();
  }
  const status = parse(text);
  if (status === undefined) throw new ControlUnreachableError(record, "its answer was cut off");
  if (status.version !== STATUS_VERSION) {
    throw new ControlUnreachableError(
      record,
      `it speaks status version ${status.version}, not ${STATUS_VERSION}`,
    );
  }
  return status;
}

function parse(text: string): PeerStatus | undefined {
  try {
    return JSON.parse(text) as PeerStatus;
  } catch {
    return undefined;
  }
}
