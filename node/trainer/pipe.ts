// Messages between two processes over a byte stream, as structured clone. Arrays of numbers are not part of it: they are
// written from their own memory and read into it, so that a body of hundreds of megabytes is copied once and nobody waits.
//   frame   u32 bytes of the clone | u32 arrays | f64 bytes of each array | the clone | the arrays
import type { Duplex } from "node:stream";
import { Deserializer, Serializer } from "node:v8";

/** The file descriptor of the trainer's end, behind the standard three. */
export const TRAINER_PIPE = 3;

/** One write of a system moves at most 2 GiB, which the body of a 24-block model may exceed. */
const WRITE_BYTES = 2 ** 28;

const ARRAYS = [Float32Array, Int32Array, Uint8Array] as const;
type NumberArray = InstanceType<(typeof ARRAYS)[number]>;

/** What node:v8 calls by name, and its types do not name. */
interface HostObjects {
  _setTreatArrayBufferViewsAsHostObjects(flag: boolean): void;
}

class FrameSerializer extends Serializer {
  readonly arrays: NumberArray[] = [];

  constructor() {
    super();
    (this as unknown as HostObjects)._setTreatArrayBufferViewsAsHostObjects(true);
    this.writeHeader();
  }

  _writeHostObject(array: NumberArray): void {
    const kind = (ARRAYS as readonly unknown[]).indexOf(array.constructor);
    if (kind < 0) throw new TypeError(`a ${array.constructor.name} has no form in a message`);
    this.writeUint32(kind);
    this.writeUint32(this.arrays.push(array) - 1);
  }
}

class FrameDeserializer extends Deserializer {
  readonly #arrays: readonly ArrayBufferLike[];

  constructor(clone: Uint8Array, arrays: readonly ArrayBufferLike[]) {
    super(clone);
    this.#arrays = arrays;
    this.readHeader();
  }

  _readHostObject(): NumberArray {
    const kind = this.readUint32();
    const Kind = ARRAYS[kind] as new (buffer: ArrayBufferLike) => NumberArray;
    return new Kind(this.#arrays[this.readUint32()]!);
  }
}

/** The parts of a message's frame. Arrays are views of the message's own: they must stay as they are until written. */
export function encodeFrame(message: unknown): Uint8Array[] {
  const serializer = new FrameSerializer();
  serializer.writeValue(message);
  const clone = serializer.releaseBuffer();
  const { arrays } = serializer;
  const head = new DataView(new ArrayBuffer(8 + 8 * arrays.length));
  head.setUint32(0, clone.length, true);
  head.setUint32(4, arrays.length, true);
  arrays.forEach(({ byteLength }, at) => {
    head.setFloat64(8 + 8 * at, byteLength, true);
  });
  const bytes = arrays.map((array) => new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
  return [new Uint8Array(head.buffer), clone, ...bytes];
}

type Allocate = (bytes: number) => ArrayBufferLike;

const ownMemory: Allocate = (bytes) => new ArrayBuffer(bytes);

/**
 * Takes a stream of frames in pieces of any size. The buffers beside a message are those of its arrays, all its own and of
 * `allocate`.
 */
export class FrameReader<Memory extends ArrayBufferLike = ArrayBuffer> {
  readonly #parts: Generator<Uint8Array, never, void>;
  #part: Uint8Array;
  #filled = 0;

  constructor(
    onMessage: (message: unknown, buffers: readonly Memory[]) => void,
    allocate?: (bytes: number) => Memory,
  ) {
    this.#parts = partsOf(onMessage as OnMessage, allocate ?? ownMemory);
    this.#part = this.#parts.next().value;
  }

  push(piece: Uint8Array): void {
    let taken = 0;
    for (;;) {
      const length = Math.min(piece.length - taken, this.#part.length - this.#filled);
      this.#part.set(piece.subarray(taken, taken + length), this.#filled);
      taken += length;
      this.#filled += length;
      if (this.#filled < this.#part.length) return;
      this.#part = this.#parts.next().value;
      this.#filled = 0;
    }
  }
}

type OnMessage = (message: unknown, buffers: readonly ArrayBufferLike[]) => void;

/** Gives one buffer after another to be filled; asked for the next, it has read what was filled. */
function* partsOf(onMessage: OnMessage, allocate: Allocate): Generator<Uint8Array, never, void> {
  for (;;) {
    const head = new DataView(new ArrayBuffer(8));
    yield new Uint8Array(head.buffer);
    const lengths = new DataView(new ArrayBuffer(8 * head.getUint32(4, true)));
    yield new Uint8Array(lengths.buffer);
    const clone = new Uint8Array(head.getUint32(0, true));
    yield clone;
    const buffers: ArrayBufferLike[] = [];
    for (let at = 0; at < lengths.byteLength; at += 8) {
      const buffer = allocate(lengths.getFloat64(at, true));
      yield new Uint8Array(buffer);
      buffers.push(buffer);
    }
    onMessage(new FrameDeserializer(clone, buffers).readValue(), buffers);
  }
}

/** One end of a stream, used like a message port. What is posted to an end whose other one is gone is lost. */
export class PipePort<Memory extends ArrayBufferLike = ArrayBuffer> {
  readonly #stream: Duplex;
  readonly #allocate: ((bytes: number) => Memory) | undefined;

  /** `allocate`: where arrays that arrive lie; memory of this thread where it is left out. */
  constructor(stream: Duplex, allocate?: (bytes: number) => Memory) {
    this.#stream = stream;
    this.#allocate = allocate;
    // The end of the other process is what tells of it, not the write that failed.
    stream.on("error", () => undefined);
  }

  postMessage(message: unknown): void {
    this.#stream.cork();
    for (const part of encodeFrame(message)) {
      for (let at = 0; at < part.length; at += WRITE_BYTES) {
        this.#stream.write(part.subarray(at, at + WRITE_BYTES));
      }
    }
    this.#stream.uncork();
  }

  on(_event: "message", listener: (message: never, buffers: readonly Memory[]) => void): void {
    const onMessage = listener as (message: unknown, buffers: readonly Memory[]) => void;
    const reader = new FrameReader(onMessage, this.#allocate);
    this.#stream.on("data", (piece: Uint8Array) => reader.push(piece));
  }
}
