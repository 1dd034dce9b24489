// The payloads of a peer that runs or not, read only: nothing is removed, whatever is found.
import { createHash } from "node:crypto";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { readIfPresent } from "../storage/atomic-file.ts";

export interface FoundPayload {
  readonly path: string;
  readonly bytes: Uint8Array;
  /** Whether the bytes hash to the payload's id. */
  readonly isWhole: boolean;
}

export class PayloadFiles {
  readonly #root: string;
  #paths: ReadonlyMap<string, string> | undefined;

  constructor(stateDirectory: string) {
    this.#root = join(stateDirectory, "payloads");
  }

  async find(id: string): Promise<FoundPayload | undefined> {
    this.#paths ??= await this.#list();
    // A payload may have moved to another round's directory since they were listed.
    return (await this.#read(id)) ?? (await this.#readAnew(id));
  }

  async #readAnew(id: string): Promise<FoundPayload | undefined> {
    this.#paths = await this.#list();
    return this.#read(id);
  }

  async #read(id: string): Promise<FoundPayload | undefined> {
    const path = this.#paths?.get(id);
    const bytes = path === undefined ? undefined : await readIfPresent(path);
    if (path === undefined || bytes === undefined) return undefined;
    return { path, bytes, isWhole: createHash("sha256").update(bytes).digest("hex") === id };
  }

  async #list(): Promise<Map<string, string>> {
    const paths = new Map<string, string>();
    for (const round of await readdir(this.#root).catch(() => [] as string[])) {
      const directory = join(this.#root, round);
      for (const id of await readdir(directory).catch(() => [] as string[]))
        paths.set(id, join(directory, id));
    }
    return paths;
  }
}
