// Arithmetic that takes its time, as another thread's does: each answer comes later on the virtual clock, and the peer goes
// on meanwhile. It can be lost.
import type { ArithmeticOptions, BodyArithmetic } from "../driver/arithmetic.ts";
import { LocalArithmetic } from "../driver/local-arithmetic.ts";
import type { ClockPort } from "../ports.ts";

export class LostError extends Error {
  readonly code = "LOST";
}

export interface Distance {
  /** Virtual milliseconds of the next call; 0 is at once. */
  readonly nextMs: () => number;
  readonly clock: ClockPort;
}

export interface DistantArithmetic extends BodyArithmetic {
  readonly lost: Promise<Error>;
  /** From now on nothing is answered but that it is lost. */
  lose(): void;
}

export function distantArithmetic(
  options: ArithmeticOptions,
  { nextMs, clock }: Distance,
): DistantArithmetic {
  const books: BodyArithmetic = new LocalArithmetic(options);
  const { promise: lost, resolve } = Promise.withResolvers<Error>();
  const isLost = lost.then((error) => Promise.reject(error));
  isLost.catch(() => {});
  const late =
    <Args extends unknown[], Answer>(work: (...args: Args) => Promise<Answer>) =>
    async (...args: Args): Promise<Answer> => {
      const ms = nextMs();
      const due = ms === 0 ? undefined : new Promise<void>((go) => clock.after(ms, go));
      await Promise.race([isLost, due]);
      return work.apply(books, args);
    };
  return {
    lost,
    lose: () => resolve(new LostError("the arithmetic is lost")),
    describe: late(books.describe),
    begin: late(books.begin),
    decode: late(books.decode),
    release: late(books.release),
    add: late(books.add),
    remove: late(books.remove),
    bodyAt: late(books.bodyAt),
    closeThrough: late(books.closeThrough),
    compress: late(books.compress),
    moveResidual: late(books.moveResidual),
  };
}
