// What runs in the thread of the arithmetic: for each run that is opened its books, served one call after another.
import { parentPort } from "node:worker_threads";
import { LocalArithmetic } from "#protocol/driver/local-arithmetic.ts";
import { sha256 } from "#protocol/net/hash.ts";
import { type Handlers, serve } from "../trainer/channel.ts";
import type { ArithmeticMethods, OpenBooks } from "./messages.ts";
import { counted, shared, sharedFloats } from "./shared-memory.ts";

parentPort!.on("message", ({ options, port }: OpenBooks) => {
  serve(port, handlersOf(options));
});

function handlersOf(options: OpenBooks["options"]): Handlers<ArithmeticMethods> {
  const books = new LocalArithmetic({
    ...options,
    hash: sha256,
    allocate: sharedFloats,
    reusesDeltas: true,
  });
  return {
    describe: ({ body }) => books.describe(counted(body)),
    begin: async ({ closedRound, closed }) => {
      counted(closed.body);
      await books.begin(closedRound, closed);
      return undefined;
    },
    decode: ({ payload }) => books.decode(counted(payload)),
    release: async ({ update }) => {
      await books.release(update);
      return undefined;
    },
    add: ({ round, key, update, weight }) => books.add(round, key, update, weight),
    remove: ({ round, key, update }) => books.remove(round, key, update),
    bodyAt: ({ round }) => books.bodyAt(round),
    closeThrough: ({ round }) => books.closeThrough(round),
    compress: async ({ delta, residual }) => {
      const compressed = await books.compress(counted(delta), counted(residual));
      return { ...compressed, payload: await shared(compressed.payload) };
    },
    moveResidual: ({ residual, update, move }) => books.moveResidual(counted(residual), update, move),
  };
}
