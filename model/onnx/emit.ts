// Writes a graph as the bytes of an ONNX ModelProto. What each operation becomes is in emitters.ts.
import { create, toBinary } from "@bufbuild/protobuf";
import {
  type AttributeProto,
  AttributeProto_AttributeType,
  AttributeProtoSchema,
  GraphProtoSchema,
  ModelProtoSchema,
  NodeProtoSchema,
  OperatorSetIdProtoSchema,
  TensorProto_DataType,
  TensorProtoSchema,
  TensorShapeProto_DimensionSchema,
  TensorShapeProtoSchema,
  TypeProto_TensorSchema,
  TypeProtoSchema,
  ValueInfoProtoSchema,
} from "onnx-buf";
import type { DataType, Graph, Op, Shape, Value } from "../graph/ops.ts";
import { validateGraph } from "../graph/validate.ts";
import { emitNode } from "./emitters.ts";
import { MICROSOFT, type OnnxAttribute, type OnnxWriter } from "./writer.ts";

/** ONNX IR 10 with opset 20 (the first with Gelu) is what onnxruntime 1.30 takes; FusedMatMul is com.microsoft's. */
const IR_VERSION = 10n;
const ONNX_OPSET = 20n;
const MICROSOFT_OPSET = 1n;

/** The graph as ModelProto bytes: constants embedded as float32, inputs and outputs under their public names. */
export function emitOnnx(graph: Graph): Uint8Array {
  validateGraph(graph);
  const onnx = create(GraphProtoSchema, { name: "glossa" });
  const literalNames = new Set<string>();
  let intermediates = 0;

  const literal = (
    name: string,
    type: TensorProto_DataType,
    shape: Shape,
    data: Float32Array | BigInt64Array,
  ): string => {
    if (!literalNames.has(name)) onnx.initializer.push(emitTensor(name, type, shape, bytesOf(data)));
    literalNames.add(name);
    return name;
  };

  const writer: OnnxWriter = {
    node(type, inputs, outputs, { attributes = {}, domain = "" } = {}) {
      onnx.node.push(
        create(NodeProtoSchema, {
          name: outputs[0]!,
          opType: type,
          domain,
          input: [...inputs],
          output: [...outputs],
          attribute: Object.entries(attributes).map(([name, attribute]) => emitAttribute(name, attribute)),
        }),
      );
    },
    intermediate(type, inputs, options) {
      const output = `${type}:${intermediates++}`;
      writer.node(type, inputs, [output], options);
      return output;
    },
    int64(values) {
      const data = BigInt64Array.from(values, BigInt);
      return literal(`int64:${values.join(",")}`, TensorProto_DataType.INT64, [values.length], data);
    },
    float32(value) {
      return literal(`float32:${value}`, TensorProto_DataType.FLOAT, [], Float32Array.of(value));
    },
  };

  // A computed value that is an output takes the output's name; onnxruntime would not always optimise a copy away.
  const names = new Map<Value, string>();
  for (const [name, value] of graph.outputs) if (!names.has(value)) names.set(value, name);
  const givenValues = [...graph.inputs, ...graph.constants.map(({ value }) => value)];
  for (const value of givenValues) names.delete(value);
  const nameOf = (value: Value) => names.get(value) ?? value.name;

  for (const value of graph.inputs) onnx.input.push(emitValueInfo(value.name, value.type, value.shape));
  for (const { value, data } of graph.constants) {
    const stored = data instanceof Float64Array ? Float32Array.from(data) : data;
    onnx.initializer.push(emitTensor(value.name, ELEMENT_TYPES[value.type], value.shape, bytesOf(stored)));
  }
  for (const { op, attributes, inputs, outputs } of graph.nodes) {
    emitNode<Op>(op, {
      writer,
      attributes,
      inputs,
      inputNames: inputs.map(nameOf),
      outputNames: outputs.map(nameOf),
    });
  }
  for (const [name, value] of graph.outputs) {
    if (nameOf(value) !== name) writer.node("Identity", [nameOf(value)], [name]);
    onnx.output.push(emitValueInfo(name, value.type, value.shape));
  }

  return toBinary(
    ModelProtoSchema,
    create(ModelProtoSchema, {
      irVersion: IR_VERSION,
      producerName: "glossa",
      opsetImport: [
        create(OperatorSetIdProtoSchema, { domain: "", version: ONNX_OPSET }),
        create(OperatorSetIdProtoSchema, { domain: MICROSOFT, version: MICROSOFT_OPSET }),
      ],
      graph: onnx,
    }),
  );
}

const ELEMENT_TYPES: Readonly<Record<DataType, TensorProto_DataType>> = {
  float: TensorProto_DataType.FLOAT,
  int32: TensorProto_DataType.INT32,
};

function bytesOf(data: Float32Array | Int32Array | BigInt64Array): Uint8Array<ArrayBuffer> {
  return new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);
}

function emitTensor(
  name: string,
  type: TensorProto_DataType,
  shape: Shape,
  rawData: Uint8Array<ArrayBuffer>,
) {
  return create(TensorProtoSchema, { name, dataType: type, dims: shape.map(BigInt), rawData });
}

function emitValueInfo(name: string, type: DataType, shape: Shape) {
  const dim = shape.map((size) =>
    create(TensorShapeProto_DimensionSchema, { value: { case: "dimValue", value: BigInt(size) } }),
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

function emitAttribute(name: string, attribute: OnnxAttribute): AttributeProto {
  const { FLOAT, INT, INTS, STRING } = AttributeProto_AttributeType;
  if ("int" in attribute) {
    return create(AttributeProtoSchema, { name, type: INT, i: BigInt(attribute.int) });
  }
  if ("float" in attribute) return create(AttributeProtoSchema, { name, type: FLOAT, f: attribute.float });
  if ("ints" in attribute) {
    return create(AttributeProtoSchema, { name, type: INTS, ints: attribute.ints.map(BigInt) });
  }
  const s = new TextEncoder().encode(attribute.string);
  return create(AttributeProtoSchema, { name, type: STRING, s });
}
