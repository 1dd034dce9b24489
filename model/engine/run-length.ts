// How many steps one run is to take on a device to which all state goes and from which it comes back with every run (cuda), so
// that the way costs little. Learnt from the first runs, which are steps like any other; decides nothing but their number.

/** What the way may cost, as a share of a run. */
const MOST_SHARE = 0.03;
/** The first run allocates and packs, and says nothing. One step and four of them tell the way from the steps. */
const TRIAL_STEPS = [1, 1, 4] as const;
/** A run cannot be called off, and reports its steps when all are done. */
const MOST_STEPS = 256;
const MOST_RUN_MS = 30_000;

export class RunLength {
  readonly #given: number | undefined;
  readonly #trialsMs: number[] = [];
  #found: number | undefined;

  /** A length that is `given` stays. */
  constructor(given?: number) {
    this.#given = given;
  }

  /** Steps of the next run. */
  get steps(): number {
    return this.#given ?? this.#found ?? TRIAL_STEPS[this.#trialsMs.length]!;
  }

  /** A run of so many steps took so long. Those of other lengths than were asked for are not counted. */
  add(steps: number, milliseconds: number): void {
    if (this.#given !== undefined || this.#found !== undefined || steps !== this.steps) return;
    this.#trialsMs.push(milliseconds);
    if (this.#trialsMs.length < TRIAL_STEPS.length) return;
    const [, one, several] = this.#trialsMs as [number, number, number];
    this.#found = stepsFor(one, several);
  }
}

/**
 * With w the way and s a step, one = w + s and several = w + n s. The share w / (w + K s) is at most m from
 * K = (1/m - 1) w / s on.
 */
function stepsFor(one: number, several: number): number {
  const step = (several - one) / (TRIAL_STEPS[2] - TRIAL_STEPS[1]);
  // Steps that cannot be told from noise are short ones: as many as may be.
  if (step <= 0) return MOST_STEPS;
  const way = Math.max(0, one - step);
  const least = Math.ceil((1 / MOST_SHARE - 1) * (way / step));
  const most = Math.max(1, Math.min(MOST_STEPS, Math.floor(MOST_RUN_MS / step)));
  return Math.max(1, Math.min(least, most));
}
