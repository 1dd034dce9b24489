// Starts parts in order and stops them in reverse, each with a deadline. A failed start unwinds what already runs.
// Owns no part itself: the composition root hands each one over as it comes up.

/** Something that has to be undone on the way out. */
interface Running {
  readonly name: string;
  readonly stop: () => Promise<void> | void;
}

/** A stop that takes longer than this is given up: a peer must be able to leave even when a part hangs. */
const STOP_TIMEOUT_MS = 5_000;

export class Lifecycle {
  readonly #running: Running[] = [];
  readonly #onStopError: (name: string, error: unknown) => void;

  constructor(onStopError: (name: string, error: unknown) => void) {
    this.#onStopError = onStopError;
  }

  /** Registers a running part; `stop` is called once, after everything registered later has stopped. */
  defer(name: string, stop: () => Promise<void> | void): void {
    this.#running.push({ name, stop });
  }

  /** Starts a part and registers its stop. If `start` rejects nothing is registered: the caller unwinds with `stop`. */
  async start<Part>(
    name: string,
    start: () => Promise<Part>,
    stop: (part: Part) => Promise<void> | void,
  ): Promise<Part> {
    const part = await start();
    this.defer(name, () => stop(part));
    return part;
  }

  /** Stops everything in reverse order. Errors and overruns are reported, never thrown: the next part still stops. */
  async stop(): Promise<void> {
    for (let part = this.#running.pop(); part !== undefined; part = this.#running.pop()) {
      const { name, stop } = part;
      let timer: NodeJS.Timeout | undefined;
      const overrun = new Promise<never>((_, reject) => {
        timer = setTimeout(
          () => reject(new Error(`did not stop within ${STOP_TIMEOUT_MS} ms`)),
          STOP_TIMEOUT_MS,
        );
      });
      try {
        await Promise.race([Promise.resolve().then(stop), overrun]);
      } catch (error) {
        this.#onStopError(name, error);
      } finally {
        clearTimeout(timer);
      }
    }
  }
}
