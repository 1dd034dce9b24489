// Quantiles of many positive numbers in little memory: bins that are 2% wide.

const GROWTH = 1.02;

export class Histogram {
  readonly #bins = new Map<number, number>();
  #count = 0;

  get count(): number {
    return this.#count;
  }

  add(value: number): void {
    const bin = value <= 1 ? 0 : Math.ceil(Math.log(value) / Math.log(GROWTH));
    this.#bins.set(bin, (this.#bins.get(bin) ?? 0) + 1);
    this.#count++;
  }

  /** The value below which `share` of all lie, to 2%; undefined where there are none. */
  quantile(share: number): number | undefined {
    let seen = 0;
    for (const [bin, count] of [...this.#bins].sort(([a], [b]) => a - b)) {
      seen += count;
      if (seen >= share * this.#count) return GROWTH ** bin;
    }
    return undefined;
  }
}
