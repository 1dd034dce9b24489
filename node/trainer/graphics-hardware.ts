// Whether there is anything for a GPU provider to find on this machine. Loading one where there is not prints lines of its
// drivers that nobody can act on, so `auto` asks here first. Opens no device.
import { existsSync } from "node:fs";

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

/** Always true where this cannot be told (macOS, Windows): there the provider itself says, without noise. */
export function mayHaveGraphics({ platform, environment, exists }: Surroundings = here): boolean {
  if (platform !== "linux") return true;
  const named = VULKAN_DRIVER_VARIABLES.some((name) => (environment[name] ?? "") !== "");
  return named || LINUX_GRAPHICS_DEVICES.some((path) => exists(path));
}
