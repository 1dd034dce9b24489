// Two generations of one checkpoint file: the newest and the one before it, which is used when the newest is damaged.
// Saves are serialised; a crash at any point leaves at least one whole generation.
import { rename } from "node:fs/promises";
import { writeAtomic } from "./atomic-file.ts";
import { type Container, type ContainerKind, encodeContainer, readContainer } from "./container.ts";
import { StateCorruptError } from "./errors.ts";

export interface Loaded {
  readonly container: Container;
  /** The file it came from. */
  readonly path: string;
  /** Why the newest generation was passed over; `undefined` where it is the newest. */
  readonly fallback: StateCorruptError | undefined;
}

export class Generations {
  readonly path: string;
  readonly previousPath: string;
  readonly #kind: ContainerKind;
  #last: Promise<void> = Promise.resolve();

  constructor(path: string, kind: ContainerKind) {
    this.path = path;
    this.previousPath = `${path}.previous`;
    this.#kind = kind;
  }

  /**
   * Makes `container` the newest generation. The sections must not change until this resolves.
   * @throws {DiskFullError} {StateNotWritableError} with both old generations intact
   */
  save(container: Container): Promise<void> {
    const saved = this.#last.then(() => this.#write(container));
    this.#last = saved.catch(() => {});
    return saved;
  }

  /**
   * The newest whole generation, `undefined` where nothing was ever saved.
   * @throws {StateCorruptError} where files exist and none is whole
   */
  async load(): Promise<Loaded | undefined> {
    await this.#last;
    let fallback: StateCorruptError | undefined;
    for (const path of [this.path, this.previousPath]) {
      try {
        const container = await readContainer(path, this.#kind);
        if (container !== undefined) return { container, path, fallback };
      } catch (error) {
        if (!(error instanceof StateCorruptError)) throw error;
        fallback ??= error;
      }
    }
    if (fallback !== undefined) throw fallback;
    return undefined;
  }

  async #write(container: Container): Promise<void> {
    await writeAtomic(this.path, encodeContainer(this.#kind, container), {
      // Between this rename and the next there is no newest file, but the previous one is whole: load() finds it.
      beforeRename: async () => {
        await rename(this.path, this.previousPath).catch((error: NodeJS.ErrnoException) => {
          if (error.code !== "ENOENT") throw error;
        });
      },
    });
  }
}
