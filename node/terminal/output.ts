// A stream that may be a terminal: what process.stdout is, and what a test puts in its place.
import type { Writable } from "node:stream";

export type Output = Writable & { readonly isTTY?: boolean; readonly columns?: number };
