// What the matrix products of a training step take by themselves: onnxruntime's own, at the step's shapes, with their operands
// in the cache if they fit. What a step could reach at best; it leaves no room for reading anything from elsewhere.
import { GraphBuilder } from "#model/graph/builder.ts";
import { elementCount, type Graph, type Value } from "#model/graph/ops.ts";
import { emitOnnx } from "#model/onnx/emit.ts";
import { createSession, hostTensor, IN_PLACE_ONLY } from "#model/runtime/session.ts";

export interface Product {
  /** As `[1024,256] @ [1024,256]^T`. */
  readonly shape: string;
  readonly count: number;
  /** Of one of them, at best. */
  readonly milliseconds: number;
  readonly gigaflopsPerSecond: number;
}

interface Shape {
  readonly key: string;
  readonly flops: number;
  readonly inputs: readonly (readonly number[])[];
  readonly build: (b: GraphBuilder, inputs: readonly Value[]) => Value;
}

const MEASURED_MS = 80;
const LEAST_RUNS = 4;

/** Every product of the graph by its shape, dearest first. */
export async function measureProducts(graph: Graph, threads?: number): Promise<Product[]> {
  const shapes = graph.nodes.flatMap(productsOf);
  const products: Product[] = [];
  for (const [shape, same] of Map.groupBy(shapes, ({ key }) => key)) {
    const milliseconds = await timeAlone(same[0]!, threads);
    const gigaflopsPerSecond = same[0]!.flops / (1e6 * milliseconds);
    products.push({ shape, count: same.length, milliseconds, gigaflopsPerSecond });
  }
  return products.sort((a, b) => b.count * b.milliseconds - a.count * a.milliseconds);
}

/** Of all of them together. */
export function productMilliseconds(products: readonly Product[]): number {
  return products.reduce((sum, { count, milliseconds }) => sum + count * milliseconds, 0);
}

function productsOf(node: Graph["nodes"][number]): Shape[] {
  const shapes = node.inputs.map(({ shape }) => shape);
  switch (node.op) {
    case "matMul": {
      const { transposeA, transposeB } = node.attributes;
      return [matMul(shapes[0]!, shapes[1]!, transposeA, transposeB)];
    }
    case "matMulInBlocks": {
      const [a, b] = shapes as [readonly number[], readonly number[]];
      return [
        {
          key: `[${a}]^T @ [${b}] in blocks`,
          flops: 2 * elementCount(a) * b[1]!,
          inputs: [a, b],
          build: (builder, [x, y]) => builder.matMulInBlocks(x!, y!),
        },
      ];
    }
    case "linearCrossEntropy":
      return [matMul(shapes[0]!, shapes[1]!, false, true)];
    case "attention": {
      const [query] = shapes as [readonly number[]];
      return shapes.slice(3).flatMap((bias) => {
        const [rows, keys] = bias.slice(2) as [number, number];
        const part = (length: number) => query.with(2, length);
        const probabilities = query.with(2, rows).with(3, keys);
        return [matMul(part(rows), part(keys), false, true), matMul(probabilities, part(keys), false, false)];
      });
    }
    default:
      return [];
  }
}

function matMul(a: readonly number[], b: readonly number[], transposeA: boolean, transposeB: boolean): Shape {
  const columns = b.at(transposeB ? -2 : -1)!;
  return {
    key: `[${a}]${transposeA ? "^T" : ""} @ [${b}]${transposeB ? "^T" : ""}`,
    flops: 2 * elementCount(a) * columns,
    inputs: [a, b],
    build: (builder, [x, y]) => builder.matMul(x!, y!, { transposeA, transposeB }),
  };
}

async function timeAlone({ inputs, build }: Shape, threads: number | undefined): Promise<number> {
  const b = new GraphBuilder();
  const values = inputs.map((shape, at) => b.input(`x${at}`, shape));
  const product = build(b, values);
  const graph = b.build({ product });
  const session = await createSession(emitOnnx(graph, { emptySequence: IN_PLACE_ONLY }), {
    device: "cpu",
    inPlaceOnly: true,
    spinning: true,
    ...(threads !== undefined && { threads }),
  });
  const feeds = Object.fromEntries(
    graph.inputs.map(({ name, shape }) => {
      const data = Float32Array.from({ length: elementCount(shape) }, (_, at) => Math.sin(at));
      return [name, hostTensor(data, shape)];
    }),
  );
  const result = hostTensor(new Float32Array(elementCount(product.shape)), product.shape);
  let best = Number.POSITIVE_INFINITY;
  const endMs = performance.now() + MEASURED_MS;
  for (let run = 0; run < LEAST_RUNS || performance.now() < endMs; run++) {
    const startedMs = performance.now();
    await session.run(feeds, { product: result });
    best = Math.min(best, performance.now() - startedMs);
  }
  await session.dispose();
  return best;
}
