// A peer's thread for the arithmetic over whole bodies, so that the network is served while a round is applied. One for the
// run and its groups. It ends with the peer; where it ends earlier the peer cannot go on, but its checkpoint is whole.
import { MessageChannel, type MessagePort, Worker } from "node:worker_threads";
import type {
  ArithmeticOptions,
  BodyArithmetic,
  ClosingBody,
  CompressedDelta,
  DecodedUpdate,
  Decoding,
  DescribedBody,
  ResidualMove,
} from "#protocol/driver/arithmetic.ts";
import * as protocolErrors from "#protocol/errors.ts";
import { Caller } from "../trainer/channel.ts";
import type { ArithmeticMethods, OpenBooks } from "./messages.ts";
import { counted, shared } from "./shared-memory.ts";

/** The thread has ended although nobody told it to: want of memory, mostly. */
export class ArithmeticLostError extends Error {
  readonly code = "ARITHMETIC_LOST";

  constructor(why: string, options?: ErrorOptions) {
    super(
      `The thread that averages updates has ended (${why}); the last checkpoint is whole, so start the peer again, where memory is short beside fewer other programs.`,
      options,
    );
    this.name = "ArithmeticLostError";
  }
}

export class ArithmeticThread {
  readonly #worker: Worker;
  readonly #lost = Promise.withResolvers<Error>();
  readonly #callers = new Set<Caller<ArithmeticMethods>>();
  #isClosing = false;

  constructor() {
    this.#worker = new Worker(new URL("./worker.ts", import.meta.url), { name: "glossa-arithmetic" });
    let cause: unknown;
    this.#worker.once("error", (error) => {
      cause = error;
    });
    this.#worker.once("exit", (exitCode) => {
      const why = cause instanceof Error ? cause.message : `exit code ${exitCode}`;
      const error = new ArithmeticLostError(this.#isClosing ? "it was closed" : why, { cause });
      for (const caller of this.#callers) caller.failAll(error);
      if (!this.#isClosing) this.#lost.resolve(error);
    });
    // Calls that are open hold the process; the thread by itself does not.
    this.#worker.unref();
  }

  /** Books for one run. For DriverModules.arithmetic. */
  open(options: ArithmeticOptions): BodyArithmetic {
    const { config, layout, heldRows } = options;
    const { port1, port2 } = new MessageChannel();
    const caller = new Caller<ArithmeticMethods>(port1);
    port1.unref();
    this.#callers.add(caller);
    const opening: OpenBooks = { options: { config, layout, heldRows }, port: port2 };
    this.#worker.postMessage(opening, [port2]);
    return new Books(caller, port1, this.#lost.promise, () => this.#callers.delete(caller));
  }

  /** Ends it at once. Calls still open reject. */
  async close(): Promise<void> {
    this.#isClosing = true;
    await this.#worker.terminate();
  }
}

class Books implements BodyArithmetic {
  readonly lost: Promise<Error>;
  readonly #caller: Caller<ArithmeticMethods>;
  readonly #port: MessagePort;
  readonly #onClose: () => void;
  #open = 0;

  constructor(
    caller: Caller<ArithmeticMethods>,
    port: MessagePort,
    lost: Promise<Error>,
    onClose: () => void,
  ) {
    this.#onClose = onClose;
    this.#caller = caller;
    this.#port = port;
    this.lost = lost;
  }

  close(): void {
    this.#port.close();
    this.#onClose();
  }

  async describe(body: Float32Array): Promise<DescribedBody> {
    return withCounted(await this.#call("describe", { body: await shared(body) }));
  }

  async begin(closedRound: number, closed: DescribedBody): Promise<void> {
    const body = await shared(closed.body);
    await this.#call("begin", { closedRound, closed: { ...closed, body } });
  }

  async decode(payload: Uint8Array): Promise<Decoding> {
    return this.#call("decode", { payload: await shared(payload) });
  }

  async release(update: DecodedUpdate): Promise<void> {
    await this.#call("release", { update });
  }

  add(round: number, key: string, update: DecodedUpdate, weight: number) {
    return this.#call("add", { round, key, update, weight });
  }

  remove(round: number, key: string, update: DecodedUpdate): Promise<boolean> {
    return this.#call("remove", { round, key, update });
  }

  async bodyAt(round: number): Promise<DescribedBody> {
    return withCounted(await this.#call("bodyAt", { round }));
  }

  async closeThrough(round: number): Promise<ClosingBody> {
    return withCounted(await this.#call("closeThrough", { round }));
  }

  async compress(delta: Float32Array, residual: Float32Array): Promise<CompressedDelta> {
    const args = { delta: await shared(delta), residual: await shared(residual) };
    const compressed = await this.#call("compress", args);
    counted(compressed.payload);
    counted(compressed.residual);
    return compressed;
  }

  async moveResidual(
    residual: Float32Array,
    update: DecodedUpdate,
    move: ResidualMove,
  ): Promise<Float32Array> {
    return counted(await this.#call("moveResidual", { residual: await shared(residual), update, move }));
  }

  async #call<Name extends keyof ArithmeticMethods & string>(
    method: Name,
    args: ArithmeticMethods[Name]["args"],
  ): Promise<ArithmeticMethods[Name]["result"]> {
    if (this.#open++ === 0) this.#port.ref();
    try {
      return await this.#caller.call(method, args);
    } catch (error) {
      throw withClass(error);
    } finally {
      if (--this.#open === 0) this.#port.unref();
    }
  }
}

function withCounted<Body extends DescribedBody>(described: Body): Body {
  counted(described.body);
  return described;
}

/** Structured clone keeps an error's name and fields, but no class of ours. */
const PROTOTYPES = new Map(Object.values(protocolErrors).map(({ name, prototype }) => [name, prototype]));

function withClass(error: unknown): unknown {
  const prototype = error instanceof Error ? PROTOTYPES.get(error.name) : undefined;
  return prototype === undefined ? error : Object.setPrototypeOf(error, prototype);
}
