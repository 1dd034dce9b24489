// What each device needs of a machine, whether it is there, and how to get what is not. Looks at files only.
import { existsSync, globSync } from "node:fs";
import { createRequire } from "node:module";
import { delimiter, dirname, join } from "node:path";
import type { Device } from "#model/types.ts";
import {
  LINUX_GRAPHICS_DEVICES,
  type Surroundings,
  VULKAN_DRIVER_VARIABLES,
} from "../trainer/graphics-hardware.ts";

export interface Need {
  readonly what: string;
  readonly present: boolean;
  /** How to get it: a sentence's end. */
  readonly remedy: string;
}

export interface Machine extends Surroundings {
  readonly architecture: string;
  /** Names in a folder that end in this; none where there is no such folder. */
  list(folder: string, ending: string): readonly string[];
  /** The folder of onnxruntime-node. */
  readonly onnxruntimeFolder: string;
}

export function thisMachine(): Machine {
  return {
    platform: process.platform,
    architecture: process.arch,
    environment: process.env,
    exists: existsSync,
    list: (folder, ending) => globSync(`*${ending}`, { cwd: folder }),
    onnxruntimeFolder: dirname(createRequire(import.meta.url).resolve("onnxruntime-node/package.json")),
  };
}

/** Where Linux distributions, CUDA's installer and WSL put libraries. */
const LIBRARY_FOLDERS = [
  "/lib",
  "/lib64",
  "/usr/lib",
  "/usr/lib64",
  "/lib/x86_64-linux-gnu",
  "/usr/lib/x86_64-linux-gnu",
  "/usr/lib/aarch64-linux-gnu",
  "/usr/local/lib",
  "/usr/local/cuda/lib64",
  "/usr/lib/wsl/lib",
];
const VULKAN_DRIVER_FOLDERS = [
  "/usr/share/vulkan/icd.d",
  "/etc/vulkan/icd.d",
  "/usr/local/share/vulkan/icd.d",
];

/** Empty where nothing is known of the platform: then the probe alone speaks. */
export function needsOf(device: Device, machine: Machine): readonly Need[] {
  if (machine.platform !== "linux") return [];
  const { exists, environment } = machine;
  const library = (name: string) => {
    const named = (environment.LD_LIBRARY_PATH ?? "").split(delimiter).filter((folder) => folder !== "");
    return [...named, ...LIBRARY_FOLDERS].some((folder) => exists(join(folder, name)));
  };
  const namesDriver = VULKAN_DRIVER_VARIABLES.some((name) => (environment[name] ?? "") !== "");
  switch (device) {
    case "cpu":
      return [];
    case "webgpu":
      return [
        {
          what: "a graphics device",
          present: namesDriver || LINUX_GRAPHICS_DEVICES.some((path) => exists(path)),
          remedy:
            "give this machine (or container) a graphics card: none of /dev/dri, /dev/nvidiactl, /dev/dxg is there",
        },
        {
          what: "the Vulkan loader",
          present: library("libvulkan.so.1"),
          remedy: "install it (Debian, Ubuntu: apt install libvulkan1)",
        },
        {
          what: "a Vulkan driver",
          present:
            namesDriver || VULKAN_DRIVER_FOLDERS.some((folder) => machine.list(folder, ".json").length > 0),
          remedy:
            "install the card's (Intel, AMD: apt install mesa-vulkan-drivers; NVIDIA: its driver package)",
        },
      ];
    case "cuda":
      return [
        {
          what: "an NVIDIA device",
          present: exists("/dev/nvidiactl") || exists("/dev/dxg"),
          remedy: "install the NVIDIA driver; in a container, hand the card in (docker run --gpus all)",
        },
        {
          what: "the NVIDIA driver's library",
          present: library("libcuda.so.1"),
          remedy: "install the NVIDIA driver",
        },
        {
          what: "onnxruntime's CUDA provider",
          present: exists(
            join(
              machine.onnxruntimeFolder,
              "bin/napi-v6/linux",
              machine.architecture,
              "libonnxruntime_providers_cuda.so",
            ),
          ),
          remedy: "run npm rebuild onnxruntime-node --onnxruntime-node-install=cuda12",
        },
        {
          what: "CUDA 12",
          present: library("libcudart.so.12") && library("libcublas.so.12"),
          remedy:
            "install CUDA 12's libraries (cuda-toolkit-12 of NVIDIA's packages) where the loader finds them",
        },
        {
          what: "cuDNN 9",
          present: library("libcudnn.so.9"),
          remedy: "install cuDNN 9 for CUDA 12 where the loader finds it",
        },
      ];
  }
}
