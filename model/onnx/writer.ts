// What emitters write into: ONNX nodes between named tensors. emit.ts makes the one that builds a ModelProto.

import type { DataType } from "../graph/ops.ts";

/** Domain of onnxruntime's own operators. */
export const MICROSOFT = "com.microsoft";

/** Attribute of an ONNX node. Whole numbers are written `{ int }` and others `{ float }`: ONNX tells them apart. */
export type OnnxAttribute =
  | { int: number }
  | { float: number }
  | { ints: readonly number[] }
  | { string: string }
  | { type: DataType }
  | { branch: OnnxBranch };

/** Nodes that run under a condition: they see all values of the graph around them, and give one. */
export interface OnnxBranch {
  /** Writes the nodes, named apart from those around, and returns the name of what they give. */
  readonly build: (writer: OnnxWriter) => string;
  readonly shape: readonly number[];
}

export interface OnnxNodeOptions {
  readonly attributes?: Readonly<Record<string, OnnxAttribute>>;
  readonly domain?: string;
}

/** What an emitter writes into: ONNX nodes between named tensors. */
export interface OnnxWriter {
  /** Appends a node; an input "" is an optional input left out. */
  node(type: string, inputs: readonly string[], outputs: readonly string[], options?: OnnxNodeOptions): void;
  /** As `node` with one intermediate output, whose name it returns. */
  intermediate(type: string, inputs: readonly string[], options?: OnnxNodeOptions): string;
  /** Name of an int64 vector; equal ones are shared. */
  int64(values: readonly number[]): string;
  /** Name of a float32 scalar; equal ones are shared. */
  float32(value: number): string;
}
