import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Findings, freeBytes } from "../doctor/examine.ts";
import { type Machine, needsOf } from "../doctor/needs.ts";
import { probeDevice } from "../doctor/probe.ts";
import { deviceLines, doctorLines } from "./doctor.ts";
import { runCli } from "./main.ts";

const never = new AbortController().signal;
const bare: Machine = {
  platform: "linux",
  architecture: "x64",
  environment: {},
  exists: () => false,
  list: () => [],
  onnxruntimeFolder: "/ort",
};
const lacking = (device: "webgpu" | "cuda", machine: Machine) =>
  needsOf(device, machine)
    .filter(({ present }) => !present)
    .map(({ what }) => what);

describe("what a device needs", () => {
  it("is all missing on a bare machine, each with a way to get it", () => {
    expect(lacking("webgpu", bare)).toEqual(["a graphics device", "the Vulkan loader", "a Vulkan driver"]);
    expect(lacking("cuda", bare).length).toBe(5);
    for (const { remedy } of [...needsOf("webgpu", bare), ...needsOf("cuda", bare)]) {
      expect(remedy.length).toBeGreaterThan(20);
    }
  });

  it("is found where distributions put it", () => {
    const files = new Set([
      "/dev/nvidiactl",
      "/usr/lib/x86_64-linux-gnu/libcuda.so.1",
      "/ort/bin/napi-v6/linux/x64/libonnxruntime_providers_cuda.so",
      "/usr/local/cuda/lib64/libcudart.so.12",
    ]);
    const machine = { ...bare, exists: (path: string) => files.has(path) };
    expect(lacking("cuda", machine)).toEqual(["CUDA 12", "cuDNN 9"]);
    files.add("/opt/cuda/libcublas.so.12").add("/opt/cuda/libcudnn.so.9");
    const told = { ...machine, environment: { LD_LIBRARY_PATH: "/opt/other:/opt/cuda" } };
    expect(lacking("cuda", told)).toEqual([]);
  });

  it("is a Vulkan driver that says it is there, not a folder for one", () => {
    const loader = { ...bare, exists: (path: string) => /dri$|libvulkan.so.1$/.test(path) };
    expect(lacking("webgpu", loader)).toEqual(["a Vulkan driver"]);
    const list = (folder: string) => (folder === "/etc/vulkan/icd.d" ? ["intel.json"] : []);
    expect(lacking("webgpu", { ...loader, list })).toEqual([]);
  });

  it("is a driver's name alone for a driver in software", () => {
    const machine = { ...bare, environment: { VK_DRIVER_FILES: "/swiftshader.json" } };
    expect(lacking("webgpu", machine)).toEqual(["the Vulkan loader"]);
  });

  it("is not guessed at elsewhere", () => {
    expect(needsOf("webgpu", { ...bare, platform: "darwin" })).toEqual([]);
  });
});

describe("a probe", () => {
  let folder = "";
  const child = async (source: string) => {
    const path = join(folder, `${source.length}.mjs`);
    await writeFile(path, source);
    return path;
  };
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "glossa-doctor-"));
  });
  afterAll(() => rm(folder, { recursive: true }));

  it("finds that the CPU works", async () => {
    const probe = await probeDevice("cpu", never);
    expect(probe).toEqual({
      works: true,
      steps: {
        toDeviceBytesPerStep: 0,
        fromDeviceBytesPerStep: 0,
        stateBytes: expect.any(Number),
        float16: true,
      },
    });
  });

  it("outlives a runtime that aborts, and says so", async () => {
    const probe = await probeDevice("webgpu", never, await child("process.abort();"));
    expect(probe).toEqual({ works: false, reason: "the runtime crashed with SIGABRT" });
  });

  it("takes a child without an answer for a device that does not work", async () => {
    const probe = await probeDevice("webgpu", never, await child("console.log('hm'); process.exit(3);"));
    expect(probe).toEqual({ works: false, reason: "the probe ended with exit code 3 and no answer" });
  });

  it("hears the answer through what drivers print", async () => {
    const noisy = await child(
      'console.log(\'driver 1.2\'); console.log(\'{"works":false,"reason":"no card"}\')',
    );
    expect(await probeDevice("cuda", never, noisy)).toEqual({ works: false, reason: "no card" });
  });

  it("ends with the signal", async () => {
    const hanging = await child("setInterval(() => {}, 1000);");
    await expect(probeDevice("cpu", AbortSignal.abort(), hanging)).rejects.toThrow(
      expect.objectContaining({ name: "AbortError" }),
    );
  });
});

describe("glossa doctor", () => {
  it("reports the machine and its devices, and succeeds where the CPU works", async () => {
    const stdout = new PassThrough();
    const stderr = new PassThrough();
    const environment = { GLOSSA_HOME: tmpdir() };
    const exitCode = await runCli(["doctor", "--json"], { signal: never, stdout, stderr, environment });
    expect({ exitCode, error: stderr.read() }).toEqual({ exitCode: 0, error: null });
    const findings: Findings = JSON.parse(String(stdout.read()));
    expect(findings.stateRoot).toBe(tmpdir());
    expect(findings).toMatchObject({
      node: process.versions.node,
      byteOrder: expect.stringMatching(/^[LB]E$/),
    });
    expect(findings.devices.map(({ device }) => device)).toEqual(["cpu", "webgpu", "cuda"]);
    expect(findings.devices[0]!.probe).toMatchObject({ works: true });
    expect(findings.freeDiskBytes).toBeGreaterThan(0);
    expect(doctorLines(findings).join("\n")).toContain("cpu works");
  });

  it("tells what a step moves to a device and back, and whether it computes in float16", () => {
    const steps = { toDeviceBytesPerStep: 280, fromDeviceBytesPerStep: 8, stateBytes: 172_416 };
    const lines = deviceLines({
      device: "webgpu",
      probe: { works: true, steps: { ...steps, float16: false } },
      needs: [],
    });
    expect(lines).toEqual([
      "webgpu works",
      "  small model: a step moves 280 bytes there and 8 back, of 172k that it changes",
      "  --precision float16: not on this device",
    ]);
    const onCpu = {
      device: "cpu",
      probe: { works: true, steps: { ...steps, float16: true } },
      needs: [],
    } as const;
    expect(deviceLines(onCpu)).toEqual(["cpu works", "  --precision float16: works, no faster than float32"]);
  });

  it("tells what a device has and lacks", () => {
    const lines = doctorLines({
      node: "24.0.0",
      onnxruntime: "1.30.0",
      platform: "linux x64",
      processor: "a processor",
      cores: 8,
      memoryBytes: 16e9,
      byteOrder: "BE",
      stateRoot: "/home/ada/.glossa",
      freeDiskBytes: 5e9,
      devices: [
        {
          device: "cuda",
          probe: { works: false, reason: "no library" },
          needs: [
            { what: "a card", present: true, remedy: "buy one" },
            { what: "cuDNN 9", present: false, remedy: "install it" },
          ],
        },
      ],
    });
    expect(lines.slice(-3)).toEqual([
      "cuda does not work: no library",
      "  has    a card",
      "  lacks  cuDNN 9: install it",
    ]);
    expect(lines.join("\n")).toContain("big-endian");
  });

  it("measures the disk at the nearest folder that is there", async () => {
    const missing = join(tmpdir(), "glossa-not-there", "deeper");
    expect(await freeBytes(missing)).toBeGreaterThan(0);
  });
});
