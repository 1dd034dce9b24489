// From what a person calls a peer to the directory of its log: a state directory, or the name of a peer that runs here or has
// run here. A group keeps a log of its own below it.
import { readdir, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { stateDirectoriesOf } from "../observability/named-peers.ts";
import { STATE_FILES } from "../storage/state-directory.ts";
import { readLogRun, UPDATE_LOG_DIRECTORY } from "../storage/update-log-reader.ts";
import { LogAmbiguousError, LogNotFoundError } from "./errors.ts";
import { readTerms } from "./run-terms.ts";

export interface LogReference {
  /** A state directory or a name; undefined takes the only peer there is. */
  readonly peer: string | undefined;
  readonly group: string | undefined;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** The directory that holds `log/`. @throws {LogNotFoundError} {LogAmbiguousError} */
export async function findLog({ peer, group }: LogReference, environment: Environment): Promise<string> {
  const directory = await peerDirectory(peer, environment);
  if (group === undefined) {
    if (await exists(join(directory, UPDATE_LOG_DIRECTORY))) return directory;
    throw new LogNotFoundError(`in ${directory}`, "it begins when the peer holds its first body");
  }
  const groups = join(directory, "groups");
  for (const name of await namesIn(groups)) {
    const path = join(groups, name);
    const run = await readLogRun(path);
    if (run !== undefined && readTerms(run.runId, run.manifest, path).group === group) return path;
  }
  throw new LogNotFoundError(
    `of a group ${group} in ${directory}`,
    "give the name that the peer joined with",
  );
}

async function peerDirectory(peer: string | undefined, environment: Environment): Promise<string> {
  if (peer !== undefined && (await isStateDirectory(peer))) return resolve(peer);
  if (peer !== undefined && /[\\/]/.test(peer)) {
    throw new LogNotFoundError(`in ${peer}`, "give the state directory of a peer");
  }
  const found = await stateDirectoriesOf(peer, environment);
  if (found.length > 1) throw new LogAmbiguousError(found);
  if (found[0] !== undefined) return found[0];
  throw new LogNotFoundError(
    peer === undefined ? "here" : `of a peer called ${peer}`,
    "give the state directory of a peer with --peer",
  );
}

const isStateDirectory = async (path: string): Promise<boolean> =>
  (await exists(join(path, STATE_FILES.run))) || (await exists(join(path, UPDATE_LOG_DIRECTORY)));

const namesIn = (path: string): Promise<string[]> => readdir(path).catch(() => []);

const exists = async (path: string): Promise<boolean> =>
  (await stat(path).catch(() => undefined)) !== undefined;
