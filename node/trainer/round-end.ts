// One who waits for the end of a local round, and what it is given then.

export class RoundEnd<Given> {
  #take: ((given: Given) => void) | undefined;

  get isAwaited(): boolean {
    return this.#take !== undefined;
  }

  give(given: Given): void {
    this.#take?.(given);
  }

  wait(signal: AbortSignal): Promise<Given> {
    return new Promise((resolve, reject) => {
      signal.throwIfAborted();
      const leave = () => {
        this.#take = undefined;
        reject(signal.reason);
      };
      this.#take = (given) => {
        this.#take = undefined;
        signal.removeEventListener("abort", leave);
        resolve(given);
      };
      signal.addEventListener("abort", leave, { once: true });
    });
  }
}
