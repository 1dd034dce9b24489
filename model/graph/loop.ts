// Graphs that run many times within one run of a session. A graph says what is computed; a loop, how often and on what. No
// operation of the IR: nothing is differentiated through it, and shapes within are those of its graphs.
import { GraphError } from "../errors.ts";
import type { DataType, Graph, Shape, Value } from "./ops.ts";

/** What runs in each round: graphs and loops, one after the other. */
export type Part = Graph | Loop;

/**
 * Names are variables: a part reads its inputs from them, and its output `next:X` is what X is from then on. Those that
 * a round reads before it sets them go from round to round; the last round's are outputs `next:X` of the loop. What is only read
 * comes from outside.
 */
export interface Loop {
  readonly parts: readonly Part[];
  /** How often: a number, or the name of an int64 input that says so. */
  readonly rounds: number | string;
  /** Inputs of which each round reads a row of its own: outside they have one more axis, in front. */
  readonly perRound: readonly string[];
  /** Outputs of which every round's is kept: outside they have one more axis, in front. */
  readonly collected: readonly string[];
}

/** A size that is known when the loop runs goes by a name. */
export interface Variable {
  readonly type: DataType;
  readonly shape: readonly (number | string)[];
}

export type Variables = ReadonlyMap<string, Variable>;

const NEXT = "next:";

/** Name of the output that sets a variable. */
export function next(variable: string): string {
  return NEXT + variable;
}

export function isLoop(part: Part): part is Loop {
  return "parts" in part;
}

/** What a loop is from inside and from outside. */
export interface LoopInterface {
  /** All that comes from outside, as it is there. */
  readonly inputs: Variables;
  /** Variables that go from round to round. */
  readonly carried: Variables;
  /** What it gives, as it is outside. */
  readonly outputs: Variables;
}

/** Throws GraphError where a variable changes its shape or something collected is never made. */
export function interfaceOf({ parts, rounds, perRound, collected }: Loop): LoopInterface {
  const read = new Map<string, Variable>();
  const set = new Map<string, Variable>();
  const made = new Map<string, Variable>();
  for (const part of parts) {
    const { inputs, outputs } = isLoop(part) ? interfaceOf(part) : graphInterface(part);
    for (const [name, variable] of inputs) if (!set.has(name)) read.set(name, variable);
    for (const [name, variable] of outputs) {
      made.set(name, variable);
      if (name.startsWith(NEXT)) set.set(name.slice(NEXT.length), variable);
    }
  }
  const carried = new Map([...set].filter(([name]) => read.has(name)));
  for (const [name, { shape }] of carried) {
    const before = read.get(name)!.shape;
    if (`${before}` !== `${shape}`) throw new GraphError(name, `it is [${before}] and then [${shape}]`);
  }
  const stacked = ({ type, shape }: Variable): Variable => ({ type, shape: [rounds, ...shape] });
  return {
    inputs: new Map(
      [...read].map(([name, one]) => [name, perRound.includes(name) ? stacked(one) : one] as const),
    ),
    carried,
    outputs: new Map([
      ...[...carried].map(([name, one]) => [next(name), one] as const),
      ...collected.map((name) => {
        const one = made.get(name);
        if (one === undefined) throw new GraphError(name, "it is collected and never made");
        return [name, stacked(one)] as const;
      }),
    ]),
  };
}

function graphInterface({ inputs, outputs }: Graph): { inputs: Variables; outputs: Variables } {
  const variable = ({ type, shape }: Value): { type: DataType; shape: Shape } => ({ type, shape });
  return {
    inputs: new Map(inputs.map((value) => [value.name, variable(value)])),
    outputs: new Map([...outputs].map(([name, value]) => [name, variable(value)])),
  };
}
