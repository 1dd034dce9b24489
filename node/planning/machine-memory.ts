// How much memory a process may have on this machine: what is installed, or less where a container limits it.
import { totalmem } from "node:os";

export function machineMemoryBytes(
  installed = totalmem(),
  constrained = process.constrainedMemory(),
): number {
  // Node says 0 or an absurdly large number where nothing is limited.
  return constrained > 0 ? Math.min(installed, constrained) : installed;
}
