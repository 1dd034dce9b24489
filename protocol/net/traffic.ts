// Counts bytes on libp2p streams, both directions, per channel and per peer, at the seam libp2p offers for metrics.
// (Its middleware seam would name the peer too, but libp2p 3.3.11 appends every stream's handler to the shared list.)
// What it sees is what the protocols carry; the overhead of yamux and noise below is about 0.1 % on bulk data.
import type { Metrics, Stream } from "@libp2p/interface";
import type { PeerId } from "../core/types.ts";
import type { StreamName } from "../wire/topics.ts";
import { streamOfProtocol } from "../wire/topics.ts";

/** Payloads of updates; what joining takes (bodies, their manifests, run assets); gossip; everything else. */
export type TrafficChannel = "payload" | "snapshot" | "gossip" | "control";

export interface ByteCount {
  readonly bytesSent: number;
  readonly bytesReceived: number;
}

export interface TrafficReport extends ByteCount {
  readonly channels: Readonly<Record<TrafficChannel, ByteCount>>;
  readonly peers: ReadonlyMap<PeerId, ByteCount>;
}

const CHANNEL_OF_STREAM: Readonly<Record<StreamName, TrafficChannel>> = {
  "peer-exchange": "control",
  "run-manifest": "control",
  "store-manifest": "control",
  inventory: "control",
  snapshot: "snapshot",
  tiles: "snapshot",
  payload: "payload",
  asset: "snapshot",
  "store-asset": "snapshot",
  offer: "control",
};

/** libp2p's own metrics are of no interest here. */
const UNUSED_METRIC = {
  update() {},
  increment() {},
  decrement() {},
  reset() {},
  observe() {},
  timer: () => () => {},
};

/** Peers remembered for the report; beyond it the one counted longest ago is dropped, totals stay. */
const MAX_PEERS = 1024;

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] };
const zero = (): Mutable<ByteCount> => ({ bytesSent: 0, bytesReceived: 0 });

export class TrafficMeter {
  readonly #channels: Record<TrafficChannel, Mutable<ByteCount>> = {
    payload: zero(),
    snapshot: zero(),
    gossip: zero(),
    control: zero(),
  };
  readonly #peers = new Map<PeerId, Mutable<ByteCount>>();

  /** Says whose a stream is; undefined while its connection is being set up. Given once the host exists. */
  whose: (stream: Stream) => PeerId | undefined = () => undefined;

  /** For libp2p's `metrics` option: it shows us each stream once its protocol is known, before its first byte. */
  readonly metrics: Metrics = {
    trackProtocolStream: (stream) => this.track(stream),
    trackMultiaddrConnection() {},
    registerMetric: () => UNUSED_METRIC,
    registerMetricGroup: () => UNUSED_METRIC,
    registerCounter: () => UNUSED_METRIC,
    registerCounterGroup: () => UNUSED_METRIC,
    registerHistogram: () => UNUSED_METRIC,
    registerHistogramGroup: () => UNUSED_METRIC,
    registerSummary: () => UNUSED_METRIC,
    registerSummaryGroup: () => UNUSED_METRIC,
    traceFunction: (_name: string, traced: (...args: never[]) => unknown) => traced as never,
    createTrace() {},
  };

  track(stream: Stream): void {
    const channel = this.#channels[channelOf(stream.protocol)];
    let ofPeer: Mutable<ByteCount> | undefined;
    const unattributed = zero();
    const count = (direction: keyof ByteCount, bytes: number) => {
      channel[direction] += bytes;
      const peer = ofPeer === undefined ? this.whose(stream) : undefined;
      if (peer !== undefined) {
        ofPeer = this.#countsOf(peer);
        ofPeer.bytesSent += unattributed.bytesSent;
        ofPeer.bytesReceived += unattributed.bytesReceived;
      }
      (ofPeer ?? unattributed)[direction] += bytes;
    };
    const send = stream.send.bind(stream);
    stream.send = (data) => {
      // Counted first: sending may consume a list.
      count("bytesSent", data.byteLength);
      return send(data);
    };
    // A stream buffers what arrives until its first `message` listener. Ours therefore joins with the handler's first
    // one and not before: alone it would swallow the opening bytes.
    const addEventListener = stream.addEventListener.bind(stream);
    let counting = false;
    stream.addEventListener = (type: string, ...rest: unknown[]) => {
      if (type === "message" && !counting) {
        counting = true;
        addEventListener("message", (event) => count("bytesReceived", event.data.byteLength));
      }
      return (addEventListener as (type: string, ...rest: unknown[]) => void)(type, ...rest);
    };
  }

  report(): TrafficReport {
    const channels = structuredClone(this.#channels);
    const total = zero();
    for (const { bytesSent, bytesReceived } of Object.values(channels)) {
      total.bytesSent += bytesSent;
      total.bytesReceived += bytesReceived;
    }
    return { ...total, channels, peers: structuredClone(this.#peers) };
  }

  #countsOf(peer: PeerId): Mutable<ByteCount> {
    const counts = this.#peers.get(peer) ?? zero();
    this.#peers.delete(peer);
    this.#peers.set(peer, counts);
    if (this.#peers.size > MAX_PEERS) {
      const oldest = this.#peers.keys().next().value;
      if (oldest !== undefined) this.#peers.delete(oldest);
    }
    return counts;
  }
}

function channelOf(protocol: string): TrafficChannel {
  const stream = streamOfProtocol(protocol);
  if (stream !== undefined) return CHANNEL_OF_STREAM[stream];
  return protocol.startsWith("/meshsub/") ? "gossip" : "control";
}
