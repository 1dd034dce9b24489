// Finished cells and what later cells need of them, as files of one folder, by id. A file counts only when it is whole.
//   <id>.json           the result       <id>.safetensors   the body (and embedding) it made
//   <id>.partial        where a cell that was killed goes on
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { decodeCheckpoint, encodeCheckpoint } from "#model/checkpoint/safetensors.ts";
import { readIfPresent, writeAtomic, writeJsonAtomic } from "#node/storage/atomic-file.ts";
import type { FinishedCell } from "./results.ts";

/** Parameters that a pre-training made, flat. The embedding only where there is one, in the global vocabulary. */
export interface MadeModel {
  readonly body: Float32Array;
  readonly embedding: Float32Array | undefined;
}

export class CellStore {
  readonly #directory: string;

  private constructor(directory: string) {
    this.#directory = directory;
  }

  static async open(directory: string): Promise<CellStore> {
    await mkdir(directory, { recursive: true });
    return new CellStore(directory);
  }

  async finished(id: string): Promise<FinishedCell | undefined> {
    const bytes = await readIfPresent(this.#path(id, "json"));
    return bytes === undefined ? undefined : (JSON.parse(Buffer.from(bytes).toString()) as FinishedCell);
  }

  /** The result comes last: it vouches for the model. */
  async finish(finished: FinishedCell, model?: MadeModel): Promise<void> {
    const { id } = finished.cell;
    if (model !== undefined) {
      const arrays = Object.entries(model).filter(
        (entry): entry is [string, Float32Array] => entry[1] !== undefined,
      );
      const tensors = new Map(arrays.map(([name, data]) => [name, { shape: [data.length], data }]));
      await writeAtomic(this.#path(id, "safetensors"), encodeCheckpoint(tensors));
    }
    await writeJsonAtomic(this.#path(id, "json"), finished);
    await rm(this.partialPath(id), { force: true });
  }

  async model(id: string): Promise<MadeModel | undefined> {
    const bytes = await readIfPresent(this.#path(id, "safetensors"));
    if (bytes === undefined) return undefined;
    const { tensors } = decodeCheckpoint(bytes);
    const array = (name: string) => tensors.get(name)?.data as Float32Array | undefined;
    const body = array("body");
    return body === undefined ? undefined : { body, embedding: array("embedding") };
  }

  partialPath(id: string): string {
    return this.#path(id, "partial");
  }

  #path(id: string, ending: string): string {
    return join(this.#directory, `${id}.${ending}`);
  }
}
