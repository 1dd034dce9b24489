// Every topic and protocol string, built and parsed in this one file. A new major version of the wire is a new string,
// so that incompatible peers never open a stream to each other.
import { isHexSha256 } from "../core/hash.ts";
import type { RunId } from "../core/types.ts";

export const WIRE_VERSION = 1;

/** Mixed into the noise handshake: hosts of other libp2p networks, and of other wire versions, cannot connect. */
export const NOISE_PROLOGUE = new TextEncoder().encode(`glossa/${WIRE_VERSION}`);

const TOPIC_PREFIX = `glossa/${WIRE_VERSION}/run/`;

/** One topic per run; updates and presences share it, so that one mesh carries both. */
export const topicOfRun = (runId: RunId): string => `${TOPIC_PREFIX}${runId}`;

/** The run a topic belongs to, or undefined where it is none of ours. */
export function runOfTopic(topic: string): RunId | undefined {
  if (!topic.startsWith(TOPIC_PREFIX)) return undefined;
  const runId = topic.slice(TOPIC_PREFIX.length);
  return isHexSha256(runId) ? runId : undefined;
}

export const STREAM_NAMES = [
  "peer-exchange",
  "run-manifest",
  "store-manifest",
  "inventory",
  "snapshot",
  "payload",
  "tiles",
  "asset",
  "store-asset",
  "offer",
] as const;
export type StreamName = (typeof STREAM_NAMES)[number];

export const protocolOfStream = (name: StreamName): string => `/glossa/${name}/${WIRE_VERSION}`;

/** The stream a libp2p protocol id names, or undefined where it is none of ours. */
export function streamOfProtocol(protocol: string): StreamName | undefined {
  return STREAM_NAMES.find((name) => protocolOfStream(name) === protocol);
}
