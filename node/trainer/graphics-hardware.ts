// Whether there is anything for a GPU provider to find on this machine that is worth finding. Loading one where there is not
// prints lines of its drivers that nobody can act on, so `auto` asks here first. Opens no device.
import { existsSync } from "node:fs";
import type { Device } from "#model/types.ts";

/** What the kernel offers where a driver is loaded: DRM (all vendors), NVIDIA's own, and Windows' GPU within WSL. */
export const LINUX_GRAPHICS_DEVICES = ["/dev/dri", "/dev/nvidiactl", "/dev/dxg"] as const;

/** Names of Vulkan drivers, also of such as need no device (SwiftShader, lavapipe); the second is the older name. */
export const VULKAN_DRIVER_VARIABLES = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"] as const;

export interface Surroundings {
  readonly platform: NodeJS.Platform;
  readonly environment: Readonly<Record<string, string | undefined>>;
  exists(path: string): boolean;
}

const here: Surroundings = { platform: process.platform, environment: process.env, exists: existsSync };

/** Drivers that compute on the processor, in many times the time that it takes by itself. */
const SOFTWARE_DRIVER = /swiftshader|lavapipe|lvp_icd|llvmpipe/i;

/**
 * What could be faster than the cpu. Everything where this cannot be told (macOS, Windows): there the provider itself says,
 * without noise.
 */
export function fastDevices({ platform, environment, exists }: Surroundings = here): readonly Device[] {
  if (platform !== "linux") return ["cuda", "webgpu"];
  const drivers = VULKAN_DRIVER_VARIABLES.flatMap((name) => (environment[name] ?? "").split(":")).filter(
    Boolean,
  );
  const isSoftware = drivers.length > 0 && drivers.every((driver) => SOFTWARE_DRIVER.test(driver));
  const hasDevice = LINUX_GRAPHICS_DEVICES.some((path) => exists(path));
  if (!hasDevice && (drivers.length === 0 || isSoftware)) return [];
  return isSoftware ? ["cuda"] : ["cuda", "webgpu"];
}
