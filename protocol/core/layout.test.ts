import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { LayoutError } from "../errors.ts";
import { vectors } from "./golden/vectors.ts";
import { type Hash, toHex } from "./hash.ts";
import { parameterLayout, tensorAt } from "./layout.ts";

const sha256: Hash = (bytes) => createHash("sha256").update(bytes).digest();

describe("a parameter layout", () => {
  const layout = parameterLayout(
    [
      { name: "norm", shape: [5] },
      { name: "up", shape: [4, 3] },
      { name: "down", shape: [2, 3, 2] },
    ],
    sha256,
  );

  it("places tensors one after another in the given order", () => {
    expect(layout.tensors.map(({ offset, length }) => [offset, length])).toEqual([
      [0, 5],
      [5, 12],
      [17, 12],
    ]);
    expect(layout.total).toBe(29);
  });

  it("has the digest of an independent implementation", () => {
    const golden = parameterLayout(vectors.layout.tensors, sha256);
    expect(toHex(golden.digest)).toBe(vectors.layout.digest);
  });

  it("has another digest when names, shapes or the order differ", () => {
    const digest = (...shapes: [string, number[]][]) =>
      toHex(
        parameterLayout(
          shapes.map(([name, shape]) => ({ name, shape })),
          sha256,
        ).digest,
      );
    const all = [
      digest(["a", [2, 3]], ["b", [1]]),
      digest(["b", [1]], ["a", [2, 3]]),
      digest(["a", [3, 2]], ["b", [1]]),
      digest(["a", [6]], ["b", [1]]),
      digest(["a", [2, 3]], ["c", [1]]),
    ];
    expect(new Set(all).size).toBe(all.length);
  });

  it("finds the tensor of a flat index at both of its ends", () => {
    const name = (index: number) => tensorAt(layout, index).name;
    expect([0, 4, 5, 16, 17, 28].map(name)).toEqual(["norm", "norm", "up", "up", "down", "down"]);
  });

  it.each([
    ["no tensors", []],
    [
      "a name twice",
      [
        { name: "a", shape: [1] },
        { name: "a", shape: [2] },
      ],
    ],
    ["an empty name", [{ name: "", shape: [1] }]],
    ["a name with a line break", [{ name: "a\n", shape: [1] }]],
    ["a name of 129 characters", [{ name: "a".repeat(129), shape: [1] }]],
    ["a scalar", [{ name: "a", shape: [] }]],
    ["five axes", [{ name: "a", shape: [1, 1, 1, 1, 1] }]],
    ["an axis of zero", [{ name: "a", shape: [3, 0] }]],
    ["a negative axis", [{ name: "a", shape: [-3, -3] }]],
    ["half an axis", [{ name: "a", shape: [2.5] }]],
    ["NaN as an axis", [{ name: "a", shape: [Number.NaN] }]],
    ["a tensor beyond 2^31 - 1 values", [{ name: "a", shape: [2 ** 16, 2 ** 16] }]],
    [
      "tensors that together are beyond",
      [
        { name: "a", shape: [2 ** 30] },
        { name: "b", shape: [2 ** 30] },
      ],
    ],
    ["more than 4,096 tensors", Array.from({ length: 4097 }, (_, at) => ({ name: `t${at}`, shape: [1] }))],
  ])("refuses %s", (_, specs) => {
    expect(() => parameterLayout(specs, sha256)).toThrow(LayoutError);
  });
});
