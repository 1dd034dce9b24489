// Batches on their way to steps: drawn for a run of several, given again where the run took fewer of them. Owns where the data
// stand after the last batch that was used, which is where another process goes on.
import type { Batch } from "#model/types.ts";

/** Training text as an endless stream whose position is plain data. */
export interface BatchSource<Position = unknown> {
  next(): Batch;
  readonly position: Position;
}

export class BatchQueue<Position = unknown> {
  readonly #source: BatchSource<Position>;
  readonly #drawn: { readonly batch: Batch; readonly position: Position }[] = [];
  #position: Position;

  constructor(source: BatchSource<Position>) {
    this.#source = source;
    this.#position = source.position;
  }

  get position(): Position {
    return this.#position;
  }

  /** The next batches, which stay the next until they are used. */
  next(count: number): readonly Batch[] {
    while (this.#drawn.length < count) {
      const batch = this.#source.next();
      this.#drawn.push({ batch, position: this.#source.position });
    }
    return this.#drawn.slice(0, count).map(({ batch }) => batch);
  }

  /** The first of them were trained on. */
  use(count: number): void {
    const used = this.#drawn.splice(0, count);
    this.#position = used.at(-1)?.position ?? this.#position;
  }
}
