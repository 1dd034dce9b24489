// Where a simulated trainer stands, and how it moves from round to round: the same rules as node/trainer/round-trainer.ts,
// on plain arrays. Trains nothing and takes no time; who does holds it to these rules.

export interface LocalProgress {
  /** -1 before the first round. */
  round: number;
  step: number;
  /** What progress counts from. */
  start: Float32Array;
  theta: Float32Array;
  /** Steps between the two, carried ones too. */
  pending: number;
  /** The round that was handed over last, while steps of the next one are taken ahead. */
  handed: Handed | undefined;
}

export interface Handed {
  readonly round: number;
  readonly step: number;
  readonly start: Float32Array;
  readonly pending: number;
}

export const noProgress = (values: number): LocalProgress => ({
  round: -1,
  step: 0,
  start: new Float32Array(values),
  theta: new Float32Array(values),
  pending: 0,
  handed: undefined,
});

export const deltaOf = ({ start, theta }: LocalProgress): Float32Array =>
  start.map((value, index) => value - theta[index]!);

/** What trainRound begins with. */
export function enterRound(at: LocalProgress, round: number, body: Float32Array, carry: boolean): void {
  const { handed } = at;
  const wentAhead = handed !== undefined;
  if (wentAhead && (carry || round === handed.round)) {
    at.start = handed.start;
    at.pending += handed.pending;
    if (round === handed.round) {
      at.round = round;
      at.step += handed.step;
    }
  }
  const keeps = wentAhead || carry || at.round === round;
  if (!keeps) at.pending = 0;
  at.theta = keeps ? body.map((value, index) => value - (at.start[index]! - at.theta[index]!)) : body.slice();
  at.start = body;
  at.handed = undefined;
  if (at.round === round) return;
  at.round = round;
  at.step = 0;
}

/** What trainAhead begins with. */
export function enterAhead(at: LocalProgress, round: number): void {
  if (at.round >= round) return;
  const { round: handedRound, step, start, pending } = at;
  at.handed = { round: handedRound, step, start, pending };
  at.start = at.theta.slice();
  at.round = round;
  at.step = 0;
  at.pending = 0;
}
