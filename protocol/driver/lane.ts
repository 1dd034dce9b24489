// A lane: tasks one after another, each abortable. One lane changes the body, another one trains.

export class Lane {
  readonly #onError: (error: unknown) => void;
  #tail: Promise<void> = Promise.resolve();
  #controllers = new Set<AbortController>();

  /** `onError` gets what a task throws, except after it was aborted. */
  constructor(onError: (error: unknown) => void) {
    this.#onError = onError;
  }

  /**
   * Runs `task` after all earlier ones have ended. A task aborted before its turn does not run, unless it `must`: then it
   * runs with a signal that is aborted already.
   */
  enqueue(task: (signal: AbortSignal) => Promise<void>, { must = false } = {}): void {
    const controller = new AbortController();
    const { signal } = controller;
    this.#controllers.add(controller);
    this.#tail = this.#tail
      .then(() => (signal.aborted && !must ? undefined : task(signal)))
      .catch((error) => {
        if (!signal.aborted) this.#onError(error);
      })
      .finally(() => this.#controllers.delete(controller));
  }

  /** Aborts the running task and all that wait. */
  abort(): void {
    for (const controller of this.#controllers) controller.abort();
  }

  /** Resolves when everything enqueued so far has ended. */
  async idle(): Promise<void> {
    await this.#tail;
  }
}
