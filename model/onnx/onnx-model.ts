// A ModelProto under construction: inputs, initializers, nodes, outputs, then bytes. Knows ONNX and no operation of its own.
import { create, toBinary } from "@bufbuild/protobuf";
import {
  type AttributeProto,
  AttributeProto_AttributeType,
  AttributeProtoSchema,
  type GraphProto,
  GraphProtoSchema,
  ModelProtoSchema,
  NodeProtoSchema,
  OperatorSetIdProtoSchema,
  StringStringEntryProtoSchema,
  TensorProto_DataLocation,
  TensorProto_DataType,
  TensorProtoSchema,
  TensorShapeProto_DimensionSchema,
  TensorShapeProtoSchema,
  TypeProto_SequenceSchema,
  TypeProto_TensorSchema,
  TypeProtoSchema,
  type ValueInfoProto,
  ValueInfoProtoSchema,
} from "onnx-buf";
import {
  MICROSOFT,
  type OnnxAttribute,
  type OnnxBranch,
  type OnnxNodeOptions,
  type OnnxWriter,
} from "./writer.ts";

/** ONNX IR 10 with opset 20 (the first with Gelu) is what onnxruntime 1.30 takes; FusedMatMul is com.microsoft's. */
const IR_VERSION = 10n;
const ONNX_OPSET = 20n;
const MICROSOFT_OPSET = 1n;

const ELEMENT_TYPES = {
  float: TensorProto_DataType.FLOAT,
  half: TensorProto_DataType.FLOAT16,
  int32: TensorProto_DataType.INT32,
  int64: TensorProto_DataType.INT64,
  bool: TensorProto_DataType.BOOL,
} as const;
export type OnnxType = keyof typeof ELEMENT_TYPES;

/** A name stands for a size that is known when the model runs; the same name, the same size. */
export type OnnxShape = readonly (number | string)[];

/** Where the values of an initializer lie that is kept beside the model. */
export interface ExternalData {
  /** Name of a file in the model's own folder. */
  readonly file: string;
  readonly offset: number;
  readonly length: number;
}

export class OnnxModel implements OnnxWriter {
  readonly #graph = create(GraphProtoSchema, { name: "glossa" });
  readonly #literals = new Set<string>();
  readonly #prefix: string;
  #intermediates = 0;

  /** `prefix` keeps the names of intermediates apart from those of a model around this one. */
  constructor(prefix = "") {
    this.#prefix = prefix;
  }

  input(name: string, type: OnnxType, shape: OnnxShape): void {
    this.#graph.input.push(valueInfo(name, type, shape));
  }

  /** Declares a value that some node has made as an output. */
  output(name: string, type: OnnxType, shape: OnnxShape): void {
    this.#graph.output.push(valueInfo(name, type, shape));
  }

  /** An output that is no tensor: an empty sequence of tensors. */
  emptySequenceOutput(name: string): void {
    this.node("SequenceEmpty", [], [name]);
    const tensor = create(TypeProto_TensorSchema, { elemType: ELEMENT_TYPES.float });
    const elemType = create(TypeProtoSchema, { value: { case: "tensorType", value: tensor } });
    const sequence = create(TypeProto_SequenceSchema, { elemType });
    const type = create(TypeProtoSchema, { value: { case: "sequenceType", value: sequence } });
    this.#graph.output.push(create(ValueInfoProtoSchema, { name, type }));
  }

  initializer(
    name: string,
    shape: readonly number[],
    data: Float32Array | Int32Array | BigInt64Array | ExternalData,
  ): void {
    const tensor = create(TensorProtoSchema, { name, dataType: typeOf(data), dims: shape.map(BigInt) });
    if ("file" in data) {
      const entries = { location: data.file, offset: `${data.offset}`, length: `${data.length}` };
      tensor.dataLocation = TensorProto_DataLocation.EXTERNAL;
      tensor.externalData = Object.entries(entries).map(([key, value]) =>
        create(StringStringEntryProtoSchema, { key, value }),
      );
    } else {
      tensor.rawData = new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);
    }
    this.#graph.initializer.push(tensor);
  }

  node(
    type: string,
    inputs: readonly string[],
    outputs: readonly string[],
    { attributes = {}, domain = "" }: OnnxNodeOptions = {},
  ): void {
    this.#graph.node.push(
      create(NodeProtoSchema, {
        name: outputs[0]!,
        opType: type,
        domain,
        input: [...inputs],
        output: [...outputs],
        attribute: Object.entries(attributes).map(([name, value]) =>
          "branch" in value ? emitBranch(name, outputs[0]!, value.branch) : emitAttribute(name, value),
        ),
      }),
    );
  }

  /**
   * A Loop, (rounds, condition, ...carried) -> (...carried, ...collected), whose rounds run `body`: (round, condition, ...carried)
   * -> (condition, ...carried, ...collected). The body sees all values of the model around it.
   */
  loop(inputs: readonly string[], outputs: readonly string[], body: OnnxModel): void {
    const attribute = [graphAttribute("body", body)];
    this.#graph.node.push(
      create(NodeProtoSchema, {
        name: outputs[0]!,
        opType: "Loop",
        input: [...inputs],
        output: [...outputs],
        attribute,
      }),
    );
  }

  intermediate(type: string, inputs: readonly string[], options?: OnnxNodeOptions): string {
    const output = `${this.#prefix}${type}:${this.#intermediates++}`;
    this.node(type, inputs, [output], options);
    return output;
  }

  int64(values: readonly number[]): string {
    return this.#literal(
      `${this.#prefix}int64:${values.join(",")}`,
      [values.length],
      BigInt64Array.from(values, BigInt),
    );
  }

  float32(value: number): string {
    return this.#literal(`${this.#prefix}float32:${value}`, [], Float32Array.of(value));
  }

  toBytes(): Uint8Array<ArrayBuffer> {
    return toBinary(
      ModelProtoSchema,
      create(ModelProtoSchema, {
        irVersion: IR_VERSION,
        producerName: "glossa",
        opsetImport: [
          create(OperatorSetIdProtoSchema, { domain: "", version: ONNX_OPSET }),
          create(OperatorSetIdProtoSchema, { domain: MICROSOFT, version: MICROSOFT_OPSET }),
        ],
        graph: this.#graph,
      }),
    );
  }

  /** As a part of another model. */
  toGraph(): GraphProto {
    return this.#graph;
  }

  #literal(name: string, shape: readonly number[], data: Float32Array | BigInt64Array): string {
    if (!this.#literals.has(name)) this.initializer(name, shape, data);
    this.#literals.add(name);
    return name;
  }
}

function typeOf(data: Float32Array | Int32Array | BigInt64Array | ExternalData): TensorProto_DataType {
  if (data instanceof Int32Array) return ELEMENT_TYPES.int32;
  return data instanceof BigInt64Array ? ELEMENT_TYPES.int64 : ELEMENT_TYPES.float;
}

function valueInfo(name: string, type: OnnxType, shape: OnnxShape): ValueInfoProto {
  const dim = shape.map((size) =>
    create(TensorShapeProto_DimensionSchema, {
      value:
        typeof size === "number"
          ? { case: "dimValue", value: BigInt(size) }
          : { case: "dimParam", value: size },
    }),
  );
  const tensor = create(TypeProto_TensorSchema, {
    elemType: ELEMENT_TYPES[type],
    shape: create(TensorShapeProtoSchema, { dim }),
  });
  return create(ValueInfoProtoSchema, {
    name,
    type: create(TypeProtoSchema, { value: { case: "tensorType", value: tensor } }),
  });
}

function emitBranch(name: string, node: string, { build, shape }: OnnxBranch): AttributeProto {
  const model = new OnnxModel(`${node}/${name}/`);
  model.output(build(model), "float", shape);
  return graphAttribute(name, model);
}

function graphAttribute(name: string, model: OnnxModel): AttributeProto {
  return create(AttributeProtoSchema, {
    name,
    type: AttributeProto_AttributeType.GRAPH,
    g: model.toGraph(),
  });
}

function emitAttribute(
  name: string,
  attribute: Exclude<OnnxAttribute, { branch: OnnxBranch }>,
): AttributeProto {
  const { FLOAT, INT, INTS, STRING } = AttributeProto_AttributeType;
  if ("int" in attribute) {
    return create(AttributeProtoSchema, { name, type: INT, i: BigInt(attribute.int) });
  }
  if ("float" in attribute) return create(AttributeProtoSchema, { name, type: FLOAT, f: attribute.float });
  if ("ints" in attribute) {
    return create(AttributeProtoSchema, { name, type: INTS, ints: attribute.ints.map(BigInt) });
  }
  if ("type" in attribute) {
    return create(AttributeProtoSchema, { name, type: INT, i: BigInt(ELEMENT_TYPES[attribute.type]) });
  }
  const s = new TextEncoder().encode(attribute.string);
  return create(AttributeProtoSchema, { name, type: STRING, s });
}
