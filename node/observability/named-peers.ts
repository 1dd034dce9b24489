// From a peer's name to its state directory: of one that runs here, or else has run here and keeps its state in the usual
// place. Reads only.
import { readdir, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { glossaHome, STATE_FILES } from "../storage/state-directory.ts";
import { findPeers, NoRunningPeerError } from "./control-client.ts";

type Environment = Readonly<Record<string, string | undefined>>;

/** All that fit, none where there is none; without a name, those of all peers. */
export async function stateDirectoriesOf(
  name: string | undefined,
  environment: Environment = process.env,
): Promise<readonly string[]> {
  const running = await runningDirectories(name, environment);
  return running.length > 0 ? running : keptDirectories(name, environment);
}

async function runningDirectories(name: string | undefined, environment: Environment): Promise<string[]> {
  try {
    return (await findPeers({ name }, environment)).map(({ stateDirectory }) => stateDirectory);
  } catch (error) {
    if (error instanceof NoRunningPeerError) return [];
    throw error;
  }
}

/** <home>/<run>/<name> */
async function keptDirectories(name: string | undefined, environment: Environment): Promise<string[]> {
  const home = resolve(glossaHome(environment));
  const found: string[] = [];
  for (const run of await namesIn(home)) {
    for (const peer of name === undefined ? await namesIn(join(home, run)) : [name]) {
      const path = join(home, run, peer);
      if (await exists(join(path, STATE_FILES.run))) found.push(path);
    }
  }
  return found;
}

const namesIn = (path: string): Promise<string[]> => readdir(path).catch(() => []);

const exists = async (path: string): Promise<boolean> =>
  (await stat(path).catch(() => undefined)) !== undefined;
