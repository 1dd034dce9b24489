import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { LayoutError, ManifestError, RunConfigError } from "../errors.ts";
import { canonicalJsonBytes, type Json } from "./canonical-json.ts";
import { vectors } from "./golden/vectors.ts";
import { type Hash, utf8 } from "./hash.ts";
import { parseRunConfig, type RunConfig } from "./run-config.ts";
import { MAX_MANIFEST_BYTES, manifestBytes, parseManifest, runId } from "./run-manifest.ts";

const sha256: Hash = (bytes) => createHash("sha256").update(bytes).digest();
const golden = utf8(vectors.manifest.text);
const layout = vectors.layout.tensors;

const vocabulary = { tokenizer: "ab".repeat(32), size: 300 };

/** Code of the ManifestError that parsing `bytes` under their own id gives. */
function refusal(bytes: Uint8Array, id = runId(bytes, sha256)): string {
  try {
    parseManifest(bytes, id, sha256);
  } catch (error) {
    if (error instanceof ManifestError) return error.code;
    throw error;
  }
  return "accepted";
}

/** The golden manifest with one place changed, still canonical. */
function changed(change: (manifest: Record<string, object>) => void): Uint8Array {
  const manifest = JSON.parse(vectors.manifest.text);
  change(manifest);
  return canonicalJsonBytes(manifest as Json);
}

describe("a run manifest", () => {
  it("of an independent implementation is accepted and made again byte for byte", () => {
    const manifest = parseManifest(golden, vectors.manifest.runId, sha256);
    expect(manifest.layout).toEqual(layout);
    expect(manifest.config.name).toBe("drei Zungen für हिन्दी");
    expect(manifestBytes(manifest.config, manifest.layout, sha256)).toEqual(golden);
    expect(runId(golden, sha256)).toBe(vectors.manifest.runId);
  });

  it("that shares an embedding and starts from a given body is accepted and made again byte for byte", () => {
    const { text, runId: id } = vectors.sharedManifest;
    const manifest = parseManifest(utf8(text), id, sha256);
    expect(manifest.config).toMatchObject({
      variant: "trim",
      vocabulary: { tokenizer: "ab".repeat(32), size: 40 },
      initialBody: "cd".repeat(32),
    });
    expect(manifestBytes(manifest.config, manifest.layout, sha256)).toEqual(utf8(text));
  });

  it("has another id when any field of the configuration or the layout changes", () => {
    const config = parseRunConfig({});
    const id = (of: RunConfig, tensors = layout) => runId(manifestBytes(of, tensors, sha256), sha256);
    const ids = [
      id(config),
      id({ ...config, seed: 2 }),
      id({ ...config, training: { ...config.training, localSteps: 26 } }),
      id(config, layout.slice(1)),
      id(config, [...layout].reverse()),
    ];
    expect(new Set(ids).size).toBe(ids.length);
  });

  it("with one changed byte anywhere does not hash to its id", () => {
    for (let at = 0; at < golden.length; at += 7) {
      const other = golden.slice();
      other[at]! ^= 1;
      expect(refusal(other, vectors.manifest.runId)).toBe("MANIFEST_HASH_MISMATCH");
    }
  });

  it.each<[string, Uint8Array, string]>([
    [
      "of a newer version",
      changed((m) => Object.assign(m, { version: 2, extra: 1 })),
      "MANIFEST_UNKNOWN_VERSION",
    ],
    ["without a version", changed((m) => delete m.version), "MANIFEST_INVALID"],
    ["with an unknown field", changed((m) => Object.assign(m, { extra: 1 })), "MANIFEST_INVALID"],
    ["without a layout", changed((m) => Object.assign(m, { layout: [] })), "MANIFEST_INVALID"],
    [
      "that leaves a default out",
      changed((m) => delete (m.config as { seed?: number }).seed),
      "MANIFEST_INVALID",
    ],
    [
      "with a configuration out of bounds",
      changed((m) => Object.assign(m.config!, { seed: -1 })),
      "MANIFEST_INVALID",
    ],
    [
      "with a shape out of bounds",
      changed((m) => Object.assign((m.layout as object[])[0]!, { shape: [-1] })),
      "MANIFEST_INVALID",
    ],
    [
      "whose layout lacks the embedding that its variant shares",
      changed((m) => Object.assign(m.config!, { variant: "trim", vocabulary })),
      "MANIFEST_INVALID",
    ],
    ["with white space", utf8(`${vectors.manifest.text} `), "MANIFEST_INVALID"],
    ["that is cut off", golden.slice(0, -1), "MANIFEST_INVALID"],
    ["that is not UTF-8", Uint8Array.of(0x22, 0xff, 0x22), "MANIFEST_INVALID"],
    ["that is null", utf8("null"), "MANIFEST_INVALID"],
    ["that is empty", new Uint8Array(), "MANIFEST_INVALID"],
    ["that is too long", new Uint8Array(MAX_MANIFEST_BYTES + 1), "MANIFEST_OVERSIZED"],
  ])("%s is refused even under its own id", (_, bytes, code) => {
    expect(refusal(bytes)).toBe(code);
  });

  it.each(["trim", "glob"] as const)("of variant %s ends with the embedding", (variant) => {
    const config = parseRunConfig({ variant, vocabulary });
    const embedding = (shape: number[]) => [...layout, { name: "transformer.wte.weight", shape }];
    const bytes = manifestBytes(config, embedding([300, 128]), sha256);
    expect(parseManifest(bytes, runId(bytes, sha256), sha256).config.vocabulary).toEqual(vocabulary);
    for (const other of [layout, embedding([299, 128]), embedding([300, 64]), embedding([300, 128, 1])]) {
      expect(() => manifestBytes(config, other, sha256)).toThrow(LayoutError);
    }
  });

  it("is not made of a configuration or layout that nobody would accept", () => {
    const config = parseRunConfig({});
    expect(() => manifestBytes({ ...config, seed: -1 }, layout, sha256)).toThrow(RunConfigError);
    expect(() => manifestBytes(config, [], sha256)).toThrow(LayoutError);
  });
});
