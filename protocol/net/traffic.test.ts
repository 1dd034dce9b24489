// Byte counts on a pair of libp2p streams without a network between them.
import { streamPair } from "@libp2p/utils";
import { expect, test } from "vitest";
import { protocolOfStream } from "../wire/topics.ts";
import { Frames } from "./frames.ts";
import { TrafficMeter } from "./traffic.ts";

const BOUNDS = { maxFrameBytes: 1000, maxBufferedBytes: 2000 };
const signal = () => AbortSignal.timeout(10_000);

test("each byte is counted once, on its channel and its peer, in both directions", async () => {
  const [outbound, inbound] = await streamPair();
  outbound.protocol = protocolOfStream("payload");
  const meter = new TrafficMeter();
  meter.whose = (stream) => (stream === outbound ? "remote" : undefined);
  meter.track(outbound);
  const ours = new Frames(outbound, BOUNDS);
  const theirs = new Frames(inbound, BOUNDS);
  await ours.write(new Uint8Array(100), signal()); // and one byte that says so
  expect((await theirs.read(signal()))?.byteLength).toBe(100);
  await theirs.write(new Uint8Array(300), signal()); // and two
  expect((await ours.read(signal()))?.byteLength).toBe(300);
  const expected = { bytesSent: 101, bytesReceived: 302 };
  const report = meter.report();
  expect(report).toMatchObject(expected);
  expect(report.channels.payload).toEqual(expected);
  expect(report.channels.gossip).toEqual({ bytesSent: 0, bytesReceived: 0 });
  expect(report.peers.get("remote")).toEqual(expected);
});

test("bytes that came before anybody listened reach the handler and are counted", async () => {
  const [outbound, inbound] = await streamPair();
  inbound.protocol = "/meshsub/1.2.0";
  const meter = new TrafficMeter();
  let owner: string | undefined;
  meter.whose = () => owner;
  meter.track(inbound);
  await new Frames(outbound, BOUNDS).write(Uint8Array.of(1, 2, 3), signal());
  const frames = new Frames(inbound, BOUNDS);
  expect(await frames.read(signal())).toEqual(Uint8Array.of(1, 2, 3));
  expect(meter.report().channels.gossip.bytesReceived).toBe(4);
  // The peer becomes known with the connection; what was counted before is credited then.
  expect(meter.report().peers.size).toBe(0);
  owner = "late";
  await frames.write(new Uint8Array(9), signal());
  expect(meter.report().peers.get("late")).toEqual({ bytesSent: 10, bytesReceived: 4 });
});
