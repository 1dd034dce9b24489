// Typed calls over a message port or what is used like one: one answer per call, progress on the way, cancellation, errors that keep their code.
// Knows nothing of training. Calls are served one after another, in the order they were made, except those that need not.
import type { MessagePort, TransferListItem } from "node:worker_threads";

/** What a method takes, reports while it runs, and gives back. */
// biome-ignore lint/suspicious/noExplicitAny: the constraint of a map of methods; each entry is typed by its user.
export type Methods = { readonly [name: string]: { args: any; progress: any; result: any } };

type Request =
  | {
      readonly kind: "call";
      readonly id: number;
      readonly method: string;
      readonly args: unknown;
      /** Cancelled before it was made: a handler is still asked, with a signal that has fired. */
      readonly aborted: boolean;
    }
  | { readonly kind: "cancel"; readonly id: number };

type Reply =
  | { readonly kind: "progress"; readonly id: number; readonly value: unknown }
  | { readonly kind: "result"; readonly id: number; readonly value: unknown }
  | { readonly kind: "error"; readonly id: number; readonly error: SerializedError };

interface SerializedError {
  readonly name: string;
  readonly message: string;
  readonly stack: string | undefined;
  readonly fields: Record<string, unknown>;
}

/** An error keeps its name, message, code and typed fields across the port; its class does not survive structured clone. */
function serialize(error: unknown): SerializedError {
  if (!(error instanceof Error)) {
    return { name: "Error", message: String(error), stack: undefined, fields: {} };
  }
  const fields: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(error)) {
    if (["string", "number", "boolean"].includes(typeof value)) fields[key] = value;
  }
  return { name: error.name, message: error.message, stack: error.stack, fields };
}

function deserialize({ name, message, stack, fields }: SerializedError): Error {
  const error = Object.assign(new Error(message), fields);
  error.name = name;
  if (stack !== undefined) error.stack = stack;
  return error;
}

interface Pending {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
  readonly onProgress: ((value: unknown) => void) | undefined;
}

export interface CallOptions<Progress> {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

/** The other end: a thread's message port, or a process's pipe (pipe.ts). */
interface Port {
  postMessage(message: unknown): void;
  on(event: "message", listener: (reply: Reply) => void): unknown;
}

/** The calling side. `failAll` settles what is open when the other side is gone. */
export class Caller<M extends Methods> {
  readonly #port: Port;
  readonly #pending = new Map<number, Pending>();
  #nextId = 1;
  #failure: Error | undefined;

  constructor(port: Port) {
    this.#port = port;
    port.on("message", (reply: Reply) => this.#receive(reply));
  }

  /** Rejects with the callee's error, or with an AbortError once the callee has acknowledged the cancellation. */
  call<Name extends keyof M & string>(
    method: Name,
    args: M[Name]["args"],
    { signal, onProgress }: CallOptions<M[Name]["progress"]> = {},
  ): Promise<M[Name]["result"]> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    const id = this.#nextId++;
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    this.#pending.set(id, { resolve, reject, onProgress: onProgress as Pending["onProgress"] });
    const cancel = () => this.#port.postMessage({ kind: "cancel", id } satisfies Request);
    const aborted = signal?.aborted === true;
    this.#port.postMessage({ kind: "call", id, method, args, aborted } satisfies Request);
    signal?.addEventListener("abort", cancel, { once: true });
    return promise.finally(() => signal?.removeEventListener("abort", cancel)) as Promise<M[Name]["result"]>;
  }

  failAll(error: Error): void {
    this.#failure = error;
    for (const { reject } of this.#pending.values()) reject(error);
    this.#pending.clear();
  }

  #receive(reply: Reply): void {
    const pending = this.#pending.get(reply.id);
    if (pending === undefined) return;
    if (reply.kind === "progress") {
      pending.onProgress?.(reply.value);
      return;
    }
    this.#pending.delete(reply.id);
    if (reply.kind === "result") pending.resolve(reply.value);
    else pending.reject(deserialize(reply.error));
  }
}

export type Handlers<M extends Methods> = {
  readonly [Name in keyof M]: (
    args: M[Name]["args"],
    report: (progress: M[Name]["progress"]) => void,
    signal: AbortSignal,
  ) => Promise<M[Name]["result"]>;
};

export interface ServeOptions<M extends Methods> {
  /** The buffers of a result that may move instead of being copied. */
  readonly transferOf?: (result: unknown) => TransferListItem[];
  /** Methods that do not wait for the calls before them, nor others for them. */
  readonly concurrent?: ReadonlySet<keyof M>;
  /** Errors after which this side is good for nothing: not answered but thrown from here, so that it ends like a crash. */
  readonly isFault?: (error: unknown) => boolean;
}

/** The serving side. */
export function serve<M extends Methods>(
  port: MessagePort,
  handlers: Handlers<M>,
  { transferOf = () => [], concurrent = new Set(), isFault = () => false }: ServeOptions<M> = {},
): void {
  const running = new Map<number, AbortController>();
  let last: Promise<void> = Promise.resolve();

  const run = async ({ id, method, args }: Extract<Request, { kind: "call" }>): Promise<void> => {
    const controller = running.get(id)!;
    try {
      const handler = handlers[method as keyof M];
      if (handler === undefined) throw new Error(`no method named ${method}`);
      const report = (value: unknown) => port.postMessage({ kind: "progress", id, value } satisfies Reply);
      const value: unknown = await handler(args, report, controller.signal);
      port.postMessage({ kind: "result", id, value } satisfies Reply, transferOf(value));
    } catch (error) {
      if (isFault(error)) {
        setImmediate(() => {
          throw error;
        });
        return;
      }
      port.postMessage({ kind: "error", id, error: serialize(error) } satisfies Reply);
    } finally {
      running.delete(id);
    }
  };

  port.on("message", (request: Request) => {
    if (request.kind === "cancel") {
      running.get(request.id)?.abort();
      return;
    }
    const controller = new AbortController();
    if (request.aborted) controller.abort();
    running.set(request.id, controller);
    if (concurrent.has(request.method)) void run(request);
    else last = last.then(() => run(request));
  });
}
