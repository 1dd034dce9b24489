import { describe, expect, it } from "vitest";
import { mayHaveGraphics, type Surroundings } from "./graphics-hardware.ts";

const bare: Surroundings = { platform: "linux", environment: {}, exists: () => false };

describe("graphics on a machine", () => {
  it("is ruled out on Linux without a device node or a named Vulkan driver", () => {
    expect(mayHaveGraphics(bare)).toBe(false);
    expect(mayHaveGraphics({ ...bare, environment: { VK_DRIVER_FILES: "" } })).toBe(false);
  });

  it.each(["/dev/dri", "/dev/nvidiactl", "/dev/dxg"])("is possible where %s is", (path) => {
    expect(mayHaveGraphics({ ...bare, exists: (asked) => asked === path })).toBe(true);
  });

  it.each(["VK_DRIVER_FILES", "VK_ICD_FILENAMES"])("is possible where %s names a driver", (name) => {
    expect(mayHaveGraphics({ ...bare, environment: { [name]: "/opt/driver.json" } })).toBe(true);
  });

  it("is left to the provider on other systems", () => {
    expect(mayHaveGraphics({ ...bare, platform: "darwin" })).toBe(true);
    expect(mayHaveGraphics({ ...bare, platform: "win32" })).toBe(true);
  });
});
