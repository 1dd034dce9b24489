// The state directory of one peer: which file is where, who may use it, and which run it belongs to.
//   lock                       who uses it            run.json        the run's manifest, as joined
//   identity.key               libp2p's private key   tokenizer.json  this peer's vocabulary
//   common-tokenizer.json      the run's, if one is common              vocabulary.rows  its own ids as common ones
//   peers.json                 where others were      control.json    where `glossa stats` can ask
//   protocol.checkpoint        see protocol-store.ts  trainer.checkpoint  embeddings, moments, data position
//   payloads/<round>/<id>      updates               tokens/          cached token ids
//   log/                       see update-log.ts     snapshot.draft   see snapshot-draft.ts
//   groups/<id>/                protocol.checkpoint, payloads and log of a group within the run
import { mkdir, readdir, rm } from "node:fs/promises";
import { homedir, hostname } from "node:os";
import { join, resolve } from "node:path";
import { z } from "zod";
import type { PeerCache } from "#protocol/net/discovery.ts";
import { isLeftover, readIfPresent, writeJsonAtomic } from "./atomic-file.ts";
import { StateCorruptError, StateInUseError, StateOfAnotherRunError, storageError } from "./errors.ts";
import { type Lock, LockHeldError, takeLock } from "./lock.ts";

/** Names of the files that are read by others than the peer too. */
export const STATE_FILES = {
  run: "run.json",
  tokenizer: "tokenizer.json",
  commonTokenizer: "common-tokenizer.json",
  vocabularyRows: "vocabulary.rows",
  trainerCheckpoint: "trainer.checkpoint",
} as const;

const peerRecords = z.array(z.object({ peer: z.string(), addresses: z.array(z.string()) }));

/** Root of all state that was given no other place. */
export function glossaHome(environment: Readonly<Record<string, string | undefined>> = process.env): string {
  return environment.GLOSSA_HOME || join(homedir(), ".glossa");
}

/** Where a peer of this name keeps its state of this run: a run of its own never meets another's files. */
export function defaultStateDirectory(home: string, runId: string, name: string): string {
  return join(home, runId.slice(0, 12), name);
}

export class StateDirectory {
  readonly path: string;
  readonly #lock: Lock;

  private constructor(path: string, lock: Lock) {
    this.path = path;
    this.#lock = lock;
  }

  /**
   * Creates the directory where needed (for this user's eyes only: it holds text, keys and embeddings), locks it and
   * clears what interrupted writes have left.
   * @throws {StateInUseError} {StateNotWritableError} {DiskFullError} {StateCorruptError}
   */
  static async open(directory: string): Promise<StateDirectory> {
    const path = resolve(directory);
    try {
      await mkdir(path, { recursive: true, mode: 0o700 });
    } catch (error) {
      throw storageError(error, path);
    }
    const lock = await takeLock(join(path, "lock")).catch((error: unknown) => {
      throw error instanceof LockHeldError ? new StateInUseError(path, error.holder, hostname()) : error;
    });
    await clearLeftovers(path);
    return new StateDirectory(path, lock);
  }

  get identityKeyPath(): string {
    return join(this.path, "identity.key");
  }

  get tokenizerPath(): string {
    return join(this.path, STATE_FILES.tokenizer);
  }

  /** The tokenizer.json that the run names, byte for byte. */
  get commonTokenizerPath(): string {
    return join(this.path, STATE_FILES.commonTokenizer);
  }

  /** See vocabulary-rows.ts. */
  get vocabularyRowsPath(): string {
    return join(this.path, STATE_FILES.vocabularyRows);
  }

  get trainerCheckpointPath(): string {
    return join(this.path, STATE_FILES.trainerCheckpoint);
  }

  get tokenCacheDirectory(): string {
    return join(this.path, "tokens");
  }

  get controlPath(): string {
    return join(this.path, "control.json");
  }

  /** Where the protocol's state of a group within the run is kept, cleared like this directory itself. */
  async groupDirectory(groupId: string): Promise<string> {
    const path = join(this.path, "groups", groupId.slice(0, 16));
    try {
      await mkdir(path, { recursive: true, mode: 0o700 });
      await clearLeftovers(path);
    } catch (error) {
      throw storageError(error, path);
    }
    return path;
  }

  /**
   * Refuses a directory that is tied to another run, before anyone is asked for anything.
   * @throws {StateOfAnotherRunError}
   */
  async requireRun(runId: string): Promise<void> {
    const bound = await this.boundManifest();
    if (bound !== undefined && bound.runId !== runId) {
      throw new StateOfAnotherRunError(this.path, String(bound.runId), runId);
    }
  }

  /**
   * Ties the directory to a run for good.
   * @throws {StateOfAnotherRunError} where it is tied to another one already
   */
  async bindToRun(runId: string, manifest: string): Promise<void> {
    await this.requireRun(runId);
    if ((await this.boundManifest()) === undefined) await writeJsonAtomic(this.#runPath, { runId, manifest });
  }

  /** The manifest text given to `bindToRun`: a resuming peer needs no one to tell it the run's terms. */
  async boundManifest(): Promise<{ runId: string; manifest: string } | undefined> {
    return readJson(this.#runPath);
  }

  /** Where other peers were when last seen. A lost or damaged cache costs a visit to the bootstrap, nothing else. */
  get peerCache(): PeerCache {
    const path = join(this.path, "peers.json");
    return {
      load: async () => {
        const cached = peerRecords.safeParse(await readJson<unknown>(path).catch(() => undefined));
        return cached.success ? cached.data : [];
      },
      save: (peers) => writeJsonAtomic(path, peers, { durable: false }),
    };
  }

  get #runPath(): string {
    return join(this.path, STATE_FILES.run);
  }

  /** Gives the lock back. Nothing may be written after it. */
  async close(): Promise<void> {
    await this.#lock.release();
  }
}

async function clearLeftovers(path: string): Promise<void> {
  for (const name of (await readdir(path)).filter(isLeftover)) await rm(join(path, name), { force: true });
}

/** Parsed content, `undefined` where there is no file. @throws {StateCorruptError} */
export async function readJson<Value>(path: string): Promise<Value | undefined> {
  const bytes = await readIfPresent(path);
  if (bytes === undefined) return undefined;
  try {
    return JSON.parse(Buffer.from(bytes).toString("utf8")) as Value;
  } catch (error) {
    throw new StateCorruptError(path, "it holds no JSON", { cause: error });
  }
}
