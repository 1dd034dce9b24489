// Writes WebAssembly modules from TypeScript: functions that loop over float32 arrays, four numbers at a time, each array in
// a memory of its own. Knows the binary format and the few instructions that such loops need; what they compute is others'.
// https://webassembly.github.io/spec/core/binary/ (SIMD and several memories: Node 22 and newer)

/** A piece of code, as bytes: an expression leaves one value on the stack, a statement none. */
export type Code = readonly number[];

type ValueType = "i32" | "f32" | "f64" | "v128";

const VALUE_TYPES: Readonly<Record<ValueType, number>> = { i32: 0x7f, f32: 0x7d, f64: 0x7c, v128: 0x7b };

export interface WasmFunction {
  readonly name: string;
  readonly parameters: readonly ValueType[];
  readonly result?: ValueType;
  /** Numbered on after the parameters, zero at first. */
  readonly locals: readonly ValueType[];
  readonly body: Code;
}

/**
 * The bytes of a module that imports `memories` (module "memory") in this order and exports the functions. Memories that are
 * shared between threads are of another type.
 */
export function assemble(
  memories: readonly string[],
  functions: readonly WasmFunction[],
  isShared = false,
): Uint8Array<ArrayBuffer> {
  const types = functions.map(({ parameters, result }) => [
    0x60,
    ...vector(parameters.map((type) => [VALUE_TYPES[type]])),
    ...vector(result === undefined ? [] : [[VALUE_TYPES[result]]]),
  ]);
  const limits = isShared ? [0x03, ...unsigned(0), ...unsigned(MAX_PAGES)] : [0x00, ...unsigned(0)];
  const imports = memories.map((name) => [...text("memory"), ...text(name), MEMORY, ...limits]);
  const exported = functions.map(({ name }, at) => [...text(name), FUNCTION, ...unsigned(at)]);
  const code = functions.map(({ locals, body }) => {
    const bytes = [...vector(locals.map((type) => [1, VALUE_TYPES[type]])), ...body, END];
    return [...unsigned(bytes.length), ...bytes];
  });
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
    ...section(1, types),
    ...section(2, imports),
    ...section(
      3,
      functions.map((_, at) => unsigned(at)),
    ),
    ...section(7, exported),
    ...section(10, code),
  ]);
}

const MAX_PAGES = 2 ** 16;
const [FUNCTION, MEMORY] = [0x00, 0x02];
const [LOOP, NO_RESULT, BRANCH_IF, END] = [0x03, 0x40, 0x0d, 0x0b];

export const get = (local: number): Code => [0x20, ...unsigned(local)];
export const set = (local: number, value: Code): Code => [...value, 0x21, ...unsigned(local)];

/** Repeats `body` while local `at` (i32), which it adds `step` to after each round, is below local `end`; at least once. */
export function loop(at: number, end: number, step: number, body: Code): Code {
  const next = [...get(at), 0x41, ...signed(step), 0x6a, 0x22, ...unsigned(at)];
  return [LOOP, NO_RESULT, ...body, ...next, ...get(end), 0x49, BRANCH_IF, 0, END];
}

const simd = (opcode: number, ...operands: Code[]): Code => [...operands.flat(), 0xfd, ...unsigned(opcode)];

/** Memory `memory` at address + offset; addresses need no alignment. */
const at = (memory: number, offset: number): Code => [0x40, ...unsigned(memory), ...unsigned(offset)];

export const load = (memory: number, address: Code, offset = 0): Code => [
  ...simd(0x00, address),
  ...at(memory, offset),
];
export const store = (memory: number, address: Code, value: Code, offset = 0): Code => [
  ...simd(0x0b, address, value),
  ...at(memory, offset),
];

export const f32x4 = {
  splat: (x: Code) => simd(0x13, x),
  add: (a: Code, b: Code) => simd(0xe4, a, b),
  sub: (a: Code, b: Code) => simd(0xe5, a, b),
  mul: (a: Code, b: Code) => simd(0xe6, a, b),
  div: (a: Code, b: Code) => simd(0xe7, a, b),
  sqrt: (x: Code) => simd(0xe3, x),
};

export const f64x2 = {
  add: (a: Code, b: Code) => simd(0xf0, a, b),
  mul: (a: Code, b: Code) => simd(0xf2, a, b),
  /** The first two of four float32. */
  fromLow: (x: Code) => simd(0x5f, x),
  /** The last two: shuffled to the front, then as fromLow. */
  fromHigh: (x: Code) =>
    simd(0x5f, [...simd(0x0d, x, x), ...[8, 9, 10, 11, 12, 13, 14, 15], ...[8, 9, 10, 11, 12, 13, 14, 15]]),
  lane: (x: Code, lane: 0 | 1): Code => [...simd(0x21, x), lane],
};
export const f64 = { add: (a: Code, b: Code): Code => [...a, ...b, 0xa0] };

function section(id: number, entries: readonly Code[]): number[] {
  const content = vector(entries);
  return [id, ...unsigned(content.length), ...content];
}

function vector(entries: readonly Code[]): number[] {
  return [...unsigned(entries.length), ...entries.flat()];
}

function text(characters: string): number[] {
  const bytes = new TextEncoder().encode(characters);
  return [...unsigned(bytes.length), ...bytes];
}

/** LEB128: seven bits a byte, the low ones first. */
function unsigned(value: number): number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...unsigned(value >>> 7)];
}

/** As `unsigned`, with the sign in the last byte's bit 6. For numbers that are not negative. */
function signed(value: number): number[] {
  return value < 0x40 ? [value] : [(value & 0x7f) | 0x80, ...signed(value >>> 7)];
}
