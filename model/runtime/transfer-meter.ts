// Counts what goes between the host's memory and a device's. Whether the two are one (cpu) is for the owner to say: then
// there is nothing to count.
import type { Transfers } from "../types.ts";

export class TransferMeter {
  #toDeviceBytes = 0;
  #fromDeviceBytes = 0;

  /** Since the meter was made. */
  get total(): Transfers {
    return { toDeviceBytes: this.#toDeviceBytes, fromDeviceBytes: this.#fromDeviceBytes };
  }

  count(toDeviceBytes: number, fromDeviceBytes: number): void {
    this.#toDeviceBytes += toDeviceBytes;
    this.#fromDeviceBytes += fromDeviceBytes;
  }
}

export const NOTHING_MOVED: Transfers = { toDeviceBytes: 0, fromDeviceBytes: 0 };
