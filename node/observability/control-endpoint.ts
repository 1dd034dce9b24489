// Where a running peer answers `glossa stats`: a Unix socket (a named pipe on Windows) that only this user can open.
// One request a line, one JSON line back. Requests cannot change anything.
import { createHash } from "node:crypto";
import { chmod, mkdir, rm } from "node:fs/promises";
import { createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { writeJsonAtomic } from "../storage/atomic-file.ts";
import { makeRuntimeDirectory } from "./runtime-directory.ts";
import type { PeerStatus } from "./status.ts";

export const STATUS_REQUEST = "status";

/** A request is one word; anything longer is someone else's protocol. */
const MAX_REQUEST_BYTES = 256;
/** A few terminals watching one peer. */
const MAX_CONNECTIONS = 16;
const IDLE_TIMEOUT_MS = 30_000;

/** How a peer is found: beside the others in the runtime directory, and in its own state directory. */
export interface ControlRecord {
  readonly pid: number;
  readonly name: string;
  readonly runId: string;
  readonly stateDirectory: string;
  readonly endpoint: string;
}

export interface ControlOptions {
  readonly name: string;
  readonly runId: string;
  /** Locked by this process: no other peer can be at the same endpoint. */
  readonly stateDirectory: string;
  /** A copy of the record goes here, so that `glossa stats --state-dir` works from any environment. */
  readonly recordPath: string;
  readonly status: () => PeerStatus;
  readonly environment?: Readonly<Record<string, string | undefined>>;
}

export interface ControlEndpoint {
  readonly endpoint: string;
  close(): Promise<void>;
}

export async function openControlEndpoint(options: ControlOptions): Promise<ControlEndpoint> {
  const { name, runId, stateDirectory, recordPath, status } = options;
  const directory = await makeRuntimeDirectory(options.environment);
  const id = createHash("sha256").update(stateDirectory).digest("hex").slice(0, 16);
  const windows = process.platform === "win32";
  const endpoint = windows ? `\\\\.\\pipe\\glossa-${id}` : join(directory, `${id}.sock`);
  const registryPath = join(directory, `${id}.json`);
  await mkdir(directory, { recursive: true });
  if (!windows) await rm(endpoint, { force: true });

  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    answer(socket, status);
  });
  server.maxConnections = MAX_CONNECTIONS;
  await listen(server, endpoint);
  if (!windows) await chmod(endpoint, 0o600);
  const record: ControlRecord = { pid: process.pid, name, runId, stateDirectory, endpoint };
  for (const path of [registryPath, recordPath])
    await writeJsonAtomic(path, record, { mode: 0o600, durable: false });

  return {
    endpoint,
    async close() {
      await Promise.all([registryPath, recordPath].map((path) => rm(path, { force: true })));
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

function answer(socket: Socket, status: () => PeerStatus): void {
  let pending = "";
  socket.setEncoding("utf8");
  socket.setTimeout(IDLE_TIMEOUT_MS, () => socket.destroy());
  socket.on("error", () => socket.destroy());
  socket.on("data", (chunk: string) => {
    pending += chunk;
    const lines = pending.split("\n");
    pending = lines.pop()!;
    if (pending.length > MAX_REQUEST_BYTES) {
      socket.destroy();
      return;
    }
    for (const line of lines) {
      const known = line.trim() === STATUS_REQUEST;
      socket.write(`${JSON.stringify(known ? status() : { error: "unknown request" })}\n`);
    }
  });
}

function listen(server: Server, endpoint: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(endpoint, () => {
      server.off("error", reject);
      resolve();
    });
  });
}
