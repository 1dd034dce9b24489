import { describe, expect, it } from "vitest";
import { fastDevices, type Surroundings } from "./graphics-hardware.ts";

const bare: Surroundings = { platform: "linux", environment: {}, exists: () => false };
const withCard: Surroundings = { ...bare, exists: (path) => path === "/dev/dri" };
const SWIFTSHADER = "/usr/lib/chromium/vk_swiftshader_icd.json";

describe("devices that could be faster than the cpu", () => {
  it("are none on Linux without a device node or a named Vulkan driver", () => {
    expect(fastDevices(bare)).toEqual([]);
    expect(fastDevices({ ...bare, environment: { VK_DRIVER_FILES: "" } })).toEqual([]);
  });

  it.each(["/dev/dri", "/dev/nvidiactl", "/dev/dxg"])("may be there where %s is", (path) => {
    expect(fastDevices({ ...bare, exists: (asked) => asked === path })).toEqual(["cuda", "webgpu"]);
  });

  it.each(["VK_DRIVER_FILES", "VK_ICD_FILENAMES"])("may be there where %s names a driver", (name) => {
    expect(fastDevices({ ...bare, environment: { [name]: "/opt/driver.json" } })).toEqual(["cuda", "webgpu"]);
  });

  it.each([SWIFTSHADER, "/usr/share/vulkan/icd.d/lvp_icd.x86_64.json", `${SWIFTSHADER}:/opt/lavapipe.json`])(
    "are not what computes on the cpu itself: %s",
    (drivers) => {
      const environment = { VK_ICD_FILENAMES: drivers };
      expect(fastDevices({ ...bare, environment })).toEqual([]);
      expect(fastDevices({ ...withCard, environment })).toEqual(["cuda"]);
      const mixed = { VK_ICD_FILENAMES: `${drivers}:/usr/share/vulkan/icd.d/nvidia_icd.json` };
      expect(fastDevices({ ...withCard, environment: mixed })).toEqual(["cuda", "webgpu"]);
    },
  );

  it("are left to the provider on other systems", () => {
    expect(fastDevices({ ...bare, platform: "darwin" })).toEqual(["cuda", "webgpu"]);
    expect(fastDevices({ ...bare, platform: "win32" })).toEqual(["cuda", "webgpu"]);
  });
});
