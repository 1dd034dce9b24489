// Payloads by content id under payloads/<round>/<id>. What is read is hashed, so a torn or altered file counts as absent.
import { mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import type { ContentId } from "#protocol/core/types.ts";
import { sha256HexInTurns } from "#protocol/net/hash.ts";
import { isLeftover, readIfPresent, writeAtomic } from "./atomic-file.ts";
import { storageError } from "./errors.ts";

const CONTENT_ID = /^[0-9a-f]{64}$/;
const ROUND = /^\d+$/;

export class PayloadStore {
  readonly #root: string;
  /** Where each payload lies: ids do not say their round. */
  readonly #rounds: Map<ContentId, number>;

  private constructor(root: string, rounds: Map<ContentId, number>) {
    this.#root = root;
    this.#rounds = rounds;
  }

  /** Indexes what is there and removes what an interrupted write has left. */
  static async open(root: string): Promise<PayloadStore> {
    await mkdir(root, { recursive: true });
    const rounds = new Map<ContentId, number>();
    for (const directory of (await readdir(root)).filter((name) => ROUND.test(name))) {
      for (const name of await readdir(join(root, directory))) {
        if (CONTENT_ID.test(name)) rounds.set(name, Number(directory));
        else if (isLeftover(name)) await rm(join(root, directory, name), { force: true });
      }
    }
    return new PayloadStore(root, rounds);
  }

  /** Keeps `bytes` for as long as `round` is kept. The caller has verified that they hash to `id`. */
  async put(id: ContentId, round: number, bytes: Uint8Array): Promise<void> {
    if (!CONTENT_ID.test(id)) throw new TypeError(`${id} is no content id`);
    const kept = this.#rounds.get(id);
    if (kept !== undefined && kept >= round) return;
    const directory = join(this.#root, String(round));
    try {
      await mkdir(directory, { recursive: true });
    } catch (error) {
      throw storageError(error, directory);
    }
    await writeAtomic(join(directory, id), bytes, { durable: false });
    this.#rounds.set(id, round);
  }

  async get(id: ContentId): Promise<Uint8Array | undefined> {
    const round = this.#rounds.get(id);
    if (round === undefined) return undefined;
    const path = join(this.#root, String(round), id);
    const bytes = await readIfPresent(path);
    if (bytes !== undefined && (await sha256HexInTurns(bytes)) === id) return bytes;
    this.#rounds.delete(id);
    await rm(path, { force: true });
    return undefined;
  }

  /** Forgets every payload of the rounds below `round`. */
  async prune(round: number): Promise<void> {
    for (const [id, kept] of this.#rounds) if (kept < round) this.#rounds.delete(id);
    const expired = (await readdir(this.#root)).filter((name) => ROUND.test(name) && Number(name) < round);
    await Promise.all(expired.map((name) => rm(join(this.#root, name), { recursive: true, force: true })));
  }
}
