// Steps that are being taken ahead of a round: who stops them, who hears of them, when they have ended. Takes none itself.

export class Ahead {
  readonly round: number;
  /** Calls off the step in hand. */
  readonly stop = new AbortController();
  /** No step is begun after the one in hand. */
  superseded = false;
  onStep: (step: number, bitsPerByte: number) => void = () => undefined;
  /** Rejects where a step failed or was called off. */
  ended: Promise<void> = Promise.resolve();

  constructor(round: number) {
    this.round = round;
  }
}
