// At most `limit` holders per key at a time; others wait in order. Keeps us below the remote side's stream limits,
// beyond which libp2p resets streams instead of queueing them.

export class KeyedSemaphore {
  readonly #limit: number;
  readonly #held = new Map<string, { holders: number; waiting: (() => void)[] }>();

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Runs `task` once a place for `key` is free. Rejects with the signal's reason if it fires while waiting. */
  async run<T>(key: string, signal: AbortSignal, task: () => Promise<T>): Promise<T> {
    await this.#acquire(key, signal);
    try {
      return await task();
    } finally {
      this.#release(key);
    }
  }

  #acquire(key: string, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const entry = this.#held.get(key) ?? { holders: 0, waiting: [] };
    this.#held.set(key, entry);
    if (entry.holders < this.#limit) {
      entry.holders++;
      return Promise.resolve();
    }
    return new Promise((resolve, reject) => {
      const admit = () => {
        signal.removeEventListener("abort", leave);
        resolve();
      };
      const leave = () => {
        entry.waiting.splice(entry.waiting.indexOf(admit), 1);
        reject(signal.reason);
      };
      entry.waiting.push(admit);
      signal.addEventListener("abort", leave, { once: true });
    });
  }

  #release(key: string): void {
    const entry = this.#held.get(key)!;
    const next = entry.waiting.shift();
    // The place passes on: the number of holders stays.
    if (next !== undefined) next();
    else if (--entry.holders === 0) this.#held.delete(key);
  }
}
