import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { bodyTensors, EMBEDDING_NAME, embeddingTensors } from "../architecture.ts";
import { genesisBody, initialEmbedding } from "../genesis.ts";
import { byteTokenizerJson } from "../testing/byte-tokenizer.ts";
import type { ModelConfig } from "../types.ts";
import { ModelFolderError, type ModelFolderErrorCode } from "./hugging-face/errors.ts";
import { toFloat32 } from "./hugging-face/safetensors-file.ts";
import { type ModelFolder, readModelFolder, writeModelFolder } from "./model-folder.ts";

const config: ModelConfig = { blocks: 2, width: 12, heads: 3, sequenceLength: 16, vocabularySize: 260 };
const model: ModelFolder = {
  config,
  body: genesisBody(config, "folder"),
  embedding: initialEmbedding(config, "folder"),
  tokenizer: byteTokenizerJson(),
  provenance: { run: "0123", round: 7, note: { nested: [null, "é"] } },
};

let parent = "";
let folder = "";
beforeEach(async () => {
  parent = await mkdtemp(join(tmpdir(), "glossa-model-folder-"));
  folder = join(parent, "model");
});
afterEach(() => rm(parent, { recursive: true }));

const errorOf = async (work: Promise<unknown>): Promise<ModelFolderError> => {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (error instanceof ModelFolderError) return error;
  throw error ?? new Error("nothing was refused");
};

describe("a model folder", () => {
  it("comes back with every bit, its tokenizer's text and where it is from", async () => {
    await writeModelFolder(folder, model);
    expect(await readModelFolder(folder)).toEqual(model);
    expect((await readdir(folder)).sort()).toEqual([
      "config.json",
      "generation_config.json",
      "glossa.json",
      "model.safetensors",
      "tokenizer.json",
      "tokenizer_config.json",
    ]);
  });

  it("is never written among other files, unless told so; then those stay and the old model goes", async () => {
    await writeModelFolder(folder, model);
    await writeFile(join(folder, "mine.txt"), "mine");
    const refused = await errorOf(writeModelFolder(folder, model));
    expect(refused).toMatchObject({ code: "MODEL_FOLDER_NOT_EMPTY", path: folder });
    const file = join(folder, "config.json");
    await expect(writeModelFolder(file, model)).rejects.toMatchObject({
      code: "MODEL_FOLDER_IS_A_FILE",
      path: file,
    });
    const { provenance: _, ...other } = { ...model, body: genesisBody(config, "other") };
    await writeModelFolder(folder, other, { force: true });
    expect(await readModelFolder(folder)).toEqual(other);
    expect(await readFile(join(folder, "mine.txt"), "utf8")).toBe("mine");
  });

  it("that is left half-way is no model folder", async () => {
    const controller = new AbortController();
    controller.abort();
    await expect(writeModelFolder(folder, model, { signal: controller.signal })).rejects.toThrow(/abort/);
    expect(await readdir(folder)).toEqual([]);
    expect(await errorOf(readModelFolder(folder))).toMatchObject({ code: "MODEL_FOLDER_MISSING" });
  });

  it("in parts and in bfloat16 and float16 is read as the nearest there is", async () => {
    await writeModelFolder(folder, model);
    await rm(join(folder, "model.safetensors"));
    const [first, ...rest] = stored();
    const bfloat16 = (bits: Uint32Array) => Uint16Array.from(bits, (value) => value >>> 16);
    const halves = new Float32Array(first!.data.length).fill(0.333251953125);
    await writeFile(
      join(folder, "part-1.safetensors"),
      safetensors([
        { ...first!, dtype: "F16", data: new Uint16Array(halves.length).fill(0x3555) },
        { ...first!, name: "lm_head.weight", dtype: "F32", data: halves },
      ]),
    );
    await writeFile(
      join(folder, "part-2.safetensors"),
      safetensors(
        rest.map(({ data, ...tensor }) => ({
          ...tensor,
          dtype: "BF16",
          data: bfloat16(new Uint32Array(data.buffer, data.byteOffset, data.length)),
        })),
      ),
    );
    const parts = [...rest, { name: "lm_head.weight" }].map(({ name }) => [name, "part-2.safetensors"]);
    const weight_map = { ...Object.fromEntries(parts), [EMBEDDING_NAME]: "part-1.safetensors" };
    await writeFile(join(folder, "model.safetensors.index.json"), JSON.stringify({ weight_map }));

    const read = await readModelFolder(folder);
    expect(read.embedding).toEqual(halves);
    const cut = new Uint32Array(model.body.buffer).map((bits) => bits & 0xffff0000);
    expect(read.body).toEqual(new Float32Array(cut.buffer));

    const outside = { weight_map: { [EMBEDDING_NAME]: "../secret.safetensors" } };
    await writeFile(join(folder, "model.safetensors.index.json"), JSON.stringify(outside));
    expect(await errorOf(readModelFolder(folder))).toMatchObject({ code: "MODEL_FOLDER_UNREADABLE" });
  });

  it.each<[string, object]>([
    ["model_type", { model_type: "llama" }],
    ["expansion_ratio", { expansion_ratio: 2 }],
    ["layer_norm_epsilon", { layer_norm_epsilon: 1e-6 }],
    ["no_bias", { no_bias: false }],
    ["tie_word_embeddings", { tie_word_embeddings: false }],
    ["logit_scale", { logit_scale: "inv_sqrt_d_model" }],
    ["norm_type", { norm_type: "rmsnorm" }],
    ["quantization_config", { quantization_config: { bits: 4 } }],
    ["n_layers", { n_layers: "2" }],
    ["vocab_size", { vocab_size: 200 }],
    ["attn_config.alibi", { attn_config: { alibi: false } }],
    ["attn_config.alibi_bias_max", { attn_config: { alibi_bias_max: 16 } }],
    ["attn_config.clip_qkv", { attn_config: { clip_qkv: 8 } }],
    ["attn_config.qk_ln", { attn_config: { qk_ln: true } }],
    ["attn_config.prefix_lm", { attn_config: { prefix_lm: true } }],
    ["attn_config.softmax_scale", { attn_config: { softmax_scale: 1 } }],
    ["transformer.blocks.2.norm_1.weight", { n_layers: 3 }],
    [EMBEDDING_NAME, { vocab_size: 300 }],
  ])("is refused for its %s, with a remedy", async (field, change) => {
    await writeModelFolder(folder, model);
    const path = join(folder, "config.json");
    await writeFile(path, JSON.stringify({ ...JSON.parse(await readFile(path, "utf8")), ...change }));
    const error = await errorOf(readModelFolder(folder));
    expect(error).toMatchObject({ code: "MODEL_FOLDER_UNSUPPORTED", field });
    expect(error.message).toMatch(new RegExp(`: ${field.replaceAll(".", "\\.")} .*; .{20,}\\.$`));
  });

  it("is read where config.json leaves out what has MptConfig's default", async () => {
    await writeModelFolder(folder, model);
    const path = join(folder, "config.json");
    const { model_type, d_model, n_heads, n_layers, max_seq_len, vocab_size } = JSON.parse(
      await readFile(path, "utf8"),
    );
    const short = { model_type, d_model, n_heads, n_layers, max_seq_len, vocab_size };
    await writeFile(path, JSON.stringify({ ...short, attn_config: { model_type: "", softmax_scale: 0.5 } }));
    expect((await readModelFolder(folder)).config).toEqual(config);
  });

  const weightCases: [string, ModelFolderErrorCode, RegExp, () => Uint8Array][] = [
    [
      "a bias",
      "MODEL_FOLDER_UNSUPPORTED",
      /attn\.Wqkv\.bias is a bias/,
      () => safetensors([...stored(), added("transformer.blocks.0.attn.Wqkv.bias", [36])]),
    ],
    [
      "positions",
      "MODEL_FOLDER_UNSUPPORTED",
      /transformer\.wpe\.weight is no tensor/,
      () => safetensors([...stored(), added("transformer.wpe.weight", [16, 12])]),
    ],
    [
      "a head of its own",
      "MODEL_FOLDER_UNSUPPORTED",
      /lm_head\.weight differs from the embedding/,
      () => safetensors([...stored(), added("lm_head.weight", [260, 12])]),
    ],
    [
      "8-bit weights",
      "MODEL_FOLDER_UNSUPPORTED",
      /is stored as I8/,
      () =>
        safetensors(
          stored().map((tensor) => ({ ...tensor, dtype: "I8", data: new Int8Array(tensor.data.length) })),
        ),
    ],
    [
      "a value that is no number",
      "MODEL_FOLDER_UNREADABLE",
      /norm_f\.weight holds NaN/,
      () =>
        safetensors(
          stored().map((tensor) =>
            tensor.name.includes("norm_f")
              ? { ...tensor, data: new Float32Array(12).fill(Number.NaN) }
              : tensor,
          ),
        ),
    ],
    [
      "a tail cut off",
      "MODEL_FOLDER_UNREADABLE",
      /ends 5 bytes before/,
      () => safetensors(stored()).slice(0, -5),
    ],
    [
      "a pickle inside",
      "MODEL_FOLDER_UNREADABLE",
      /does not begin as/,
      () => Buffer.from("PK\x03\x04".padEnd(64, "x")),
    ],
    ["nothing inside", "MODEL_FOLDER_UNREADABLE", /it has 0 bytes/, () => new Uint8Array(0)],
  ];
  it.each(weightCases)("is refused for weights with %s", async (_, code, message, bytes) => {
    await writeModelFolder(folder, model);
    await writeFile(join(folder, "model.safetensors"), bytes());
    const error = await errorOf(readModelFolder(folder));
    expect(error.code).toBe(code);
    expect(error.message).toMatch(message);
  });

  it("without a tokenizer or without safetensors says how to get them", async () => {
    await writeModelFolder(folder, model);
    await rm(join(folder, "model.safetensors"));
    await writeFile(join(folder, "pytorch_model.bin"), "");
    expect((await errorOf(readModelFolder(folder))).message).toMatch(
      /PyTorch's own format; .*safe_serialization/,
    );
    await rm(join(folder, "tokenizer.json"));
    expect((await errorOf(readModelFolder(folder))).message).toMatch(/no tokenizer\.json; .*save_pretrained/);
    expect((await errorOf(readModelFolder(join(parent, "nowhere")))).code).toBe("MODEL_FOLDER_MISSING");
  });
});

describe("widening to float32", () => {
  const every = Uint16Array.from({ length: 2 ** 16 }, (_, bits) => bits);

  it("gives every float16 its value", () => {
    const wide = toFloat32(new Uint8Array(every.buffer), "F16");
    for (const bits of every) {
      const [exponent, fraction] = [(bits >> 10) & 31, (bits & 1023) / 1024];
      const magnitude =
        exponent === 31
          ? fraction === 0
            ? Infinity
            : Number.NaN
          : exponent === 0
            ? fraction * 2 ** -14
            : (1 + fraction) * 2 ** (exponent - 15);
      expect(wide[bits]).toBe(bits >= 0x8000 ? -magnitude : magnitude);
    }
  });

  it("reads bfloat16 from bytes at any place", () => {
    const bytes = new Uint8Array([0, 0x80, 0x3f, 0x49, 0xc0]).subarray(1);
    expect([...toFloat32(bytes, "BF16")]).toEqual([1, -3.140625]);
  });
});

interface Stored {
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: string;
  readonly data: Float32Array | Uint16Array | Int8Array;
}

/** The model's tensors as a file has them, the embedding first. */
function stored(): Stored[] {
  const flat = new Float32Array([...model.embedding, ...model.body]);
  let offset = 0;
  return [...embeddingTensors(config), ...bodyTensors(config)].map(({ name, shape }) => {
    const begin = offset;
    offset += shape.reduce((product, size) => product * size, 1);
    return { name, shape, dtype: "F32", data: flat.subarray(begin, offset) };
  });
}

function added(name: string, shape: readonly number[]): Stored {
  return { name, shape, dtype: "F32", data: new Float32Array(shape.reduce((a, b) => a * b)) };
}

/** A file as another program would write it, with a header of any length. */
function safetensors(tensors: readonly Stored[]): Buffer {
  let offset = 0;
  const entries = tensors.map(({ name, shape, dtype, data }) => {
    const begin = offset;
    offset += data.byteLength;
    return [name, { dtype, shape, data_offsets: [begin, offset] }];
  });
  const header = Buffer.from(
    JSON.stringify({ __metadata__: { format: "pt" }, ...Object.fromEntries(entries) }),
  );
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  const data = tensors.map((tensor) => {
    const { buffer, byteOffset, byteLength } = tensor.data;
    return new Uint8Array(buffer, byteOffset, byteLength);
  });
  return Buffer.concat([length, header, ...data]);
}
