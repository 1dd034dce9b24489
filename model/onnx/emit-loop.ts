// Writes a loop as an ONNX model of one Loop node, or as that node within another loop's body. Graphs within are emit.ts's.
import { interfaceOf, isLoop, type Loop, next } from "../graph/loop.ts";
import { type EmitOptions, writeGraph } from "./emit.ts";
import { OnnxModel } from "./onnx-model.ts";

/** Inputs and outputs go by the names of interfaceOf(loop); a named count of rounds is an int64 scalar besides. */
export function emitLoop(loop: Loop, options: EmitOptions = {}): Uint8Array {
  const { branches = false, forWebgpu = false, emptySequence } = options;
  const model = new OnnxModel();
  if (emptySequence !== undefined) model.emptySequenceOutput(emptySequence);
  const { inputs, outputs } = interfaceOf(loop);
  for (const [name, { type, shape }] of inputs) model.input(name, type, shape);
  if (typeof loop.rounds === "string") model.input(loop.rounds, "int64", []);
  const same = (name: string) => name;
  writeLoop(model, loop, { branches, forWebgpu, prefix: "loop/", inputName: same, outputName: same });
  for (const [name, { type, shape }] of outputs) model.output(name, type, shape);
  return model.toBytes();
}

interface Surroundings {
  readonly branches: boolean;
  readonly forWebgpu: boolean;
  /** Keeps the names within apart from all around. */
  readonly prefix: string;
  inputName(variable: string): string;
  outputName(name: string): string;
}

function writeLoop(model: OnnxModel, loop: Loop, surroundings: Surroundings): void {
  const { branches, forWebgpu, prefix, inputName, outputName } = surroundings;
  const { carried, outputs } = interfaceOf(loop);
  const body = new OnnxModel(prefix);
  const [round, condition] = [`${prefix}round`, `${prefix}condition`];
  body.input(round, "int64", []);
  body.input(condition, "bool", []);

  /** Of each variable that has changed since the loop began, what it is called now. */
  const current = new Map<string, string>();
  for (const [variable, { type, shape }] of carried) {
    current.set(variable, `${prefix}${variable}`);
    body.input(`${prefix}${variable}`, type, shape);
  }
  const rowOf = { attributes: { axis: { int: 0 } } };
  for (const name of loop.perRound) {
    current.set(name, body.intermediate("Gather", [inputName(name), round], rowOf));
  }
  const made = new Map<string, string>();
  for (const [at, part] of loop.parts.entries()) {
    const inner = `${prefix}${at}/`;
    const around = {
      ...{ branches, forWebgpu },
      inputName: (name: string) => current.get(name) ?? inputName(name),
      outputName: (name: string) => `${inner}out/${name}`,
    };
    if (isLoop(part)) writeLoop(body, part, { ...around, prefix: inner });
    else writeGraph(body, part, { ...around, valueName: (name) => `${inner}${name}` });
    const given = isLoop(part) ? interfaceOf(part).outputs : part.outputs;
    // All of a part at once: it has read what was there before it.
    for (const name of given.keys()) made.set(name, around.outputName(name));
    for (const variable of variablesIn(given.keys())) current.set(variable, made.get(next(variable))!);
  }

  body.output(body.intermediate("Identity", [condition]), "bool", []);
  for (const [variable, { type, shape }] of carried) body.output(current.get(variable)!, type, shape);
  for (const name of loop.collected) {
    const { type, shape } = outputs.get(name)!;
    body.output(made.get(name)!, type, shape.slice(1));
  }
  const rounds = typeof loop.rounds === "string" ? loop.rounds : model.int64([loop.rounds]);
  model.loop([rounds, "", ...[...carried.keys()].map(inputName)], [...outputs.keys()].map(outputName), body);
}

function variablesIn(outputs: Iterable<string>): string[] {
  const prefix = next("");
  return [...outputs].filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length));
}
