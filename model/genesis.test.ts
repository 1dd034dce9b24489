import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { bodyTensors } from "./architecture.ts";
import { genesisBody, genesisShared, initialEmbedding } from "./genesis.ts";

const config = { blocks: 2, width: 24, heads: 3 };

function sha256(values: Float32Array): string {
  return createHash("sha256")
    .update(new Uint8Array(values.buffer, values.byteOffset, values.byteLength))
    .digest("hex");
}

/** Cuts a flat body into its tensors by name. */
function tensorsOf(body: Float32Array, of: typeof config): Map<string, Float32Array> {
  let offset = 0;
  return new Map(
    bodyTensors(of).map(({ name, shape }) => {
      const start = offset;
      offset += shape.reduce((product, size) => product * size, 1);
      return [name, body.subarray(start, offset)];
    }),
  );
}

function deviation(values: Float32Array): number {
  return Math.sqrt(values.reduce((sum, x) => sum + x * x, 0) / values.length);
}

describe("genesis", () => {
  // The digests come from a separate implementation in Python that works with integers and struct.pack alone.
  test("is bit for bit the body that an independent implementation computes", () => {
    expect(sha256(genesisBody(config, 7))).toBe(
      "388aac2d8e5a73412daac5936ac8956c10d894741518e35c172ea2a82d4b9701",
    );
  });

  test("is bit for bit the embedding that an independent implementation computes", () => {
    expect(sha256(initialEmbedding({ width: 24, vocabularySize: 61 }, "alice"))).toBe(
      "d9423f4b5eb23ee8ad598d349558f9b5b4d7a55121c38251a56231cc57a25ee4",
    );
  });

  test("scales each kind of tensor as MPT does, whatever the depth", () => {
    for (const blocks of [1, 3]) {
      const shape = { blocks, width: 48, heads: 4 };
      for (const [name, values] of tensorsOf(genesisBody(shape, "scales"), shape)) {
        if (name.includes("norm")) {
          expect(
            values.every((x) => x === 1),
            name,
          ).toBe(true);
          continue;
        }
        const writesResidual = name.includes("out_proj") || name.includes("down_proj");
        const expected = writesResidual ? 0.02 / Math.sqrt(2 * blocks) : 0.02;
        // Five standard errors of a sample deviation: 5 / sqrt(2 n), n >= 48 * 48.
        expect(Math.abs(deviation(values) / expected - 1), name).toBeLessThan(0.075);
      }
    }
  });

  test("gives a tensor the same bits whatever stands before it", () => {
    const shallow = tensorsOf(genesisBody({ ...config, blocks: 1 }, "order"), { ...config, blocks: 1 });
    const deep = tensorsOf(genesisBody({ ...config, blocks: 3 }, "order"), { ...config, blocks: 3 });
    const name = "transformer.blocks.0.ffn.up_proj.weight";
    expect(shallow.get(name)).toEqual(deep.get(name));
  });

  test("shares no values between tensors, seeds or peers", () => {
    const one = tensorsOf(genesisBody(config, 1), config);
    const two = tensorsOf(genesisBody(config, 2), config);
    const firsts = [...one, ...two]
      .filter(([name]) => !name.includes("norm"))
      .map(([, values]) => values.slice(0, 4).join());
    firsts.push(initialEmbedding({ width: 24, vocabularySize: 5 }, "alice").slice(0, 4).join());
    firsts.push(initialEmbedding({ width: 24, vocabularySize: 5 }, "bob").slice(0, 4).join());
    expect(new Set(firsts).size).toBe(firsts.length);
  });

  test("of a run that shares embedding rows is the body followed by the embedding of the run's seed", () => {
    const body = genesisBody(config, 9);
    const embedding = initialEmbedding({ width: 24, vocabularySize: 30 }, 9);
    expect(genesisShared(config, undefined, 9)).toEqual(body);
    expect(genesisShared(config, 30, 9)).toEqual(Float32Array.of(...body, ...embedding));
  });

  test("keeps an embedding's rows when the vocabulary grows at its end", () => {
    const small = initialEmbedding({ width: 8, vocabularySize: 10 }, "grow");
    const large = initialEmbedding({ width: 8, vocabularySize: 13 }, "grow");
    expect(large.subarray(0, small.length)).toEqual(small);
  });
});
