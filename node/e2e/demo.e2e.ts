// `npm start` as a program sees it: the real demo, cut to two rounds.
import { afterEach, expect, it } from "vitest";
import { TestBed } from "./processes.ts";

let bed: TestBed | undefined;
afterEach(() => bed?.close());

interface DemoReport {
  readonly rounds: number;
  readonly seconds: number;
  readonly peers: readonly {
    readonly name: string;
    readonly vocabularySize: number;
    readonly embeddingParameters: number;
    readonly bodyParameters: number;
    readonly bitsPerByteStart: number;
    readonly bitsPerByteEnd: number;
    readonly bytesSent: number;
    readonly bytesReceived: number;
    readonly bodyRoot: string;
    readonly tokens: number;
  }[];
  readonly savings: object;
}

it("trains three languages into one body and reports it as JSON on the last line", async () => {
  bed = await TestBed.create();
  const demo = bed.run("demo", "--rounds", "2", "--json");
  expect({ code: await demo.finished(), output: demo.output }).toMatchObject({ code: 0 });
  const report = JSON.parse(demo.output.trim().split("\n").at(-1)!) as DemoReport;
  expect(report.rounds).toBe(2);
  expect(report.peers).toHaveLength(3);
  expect(new Set(report.peers.map(({ bodyRoot }) => bodyRoot)).size).toBe(1);
  expect(new Set(report.peers.map(({ vocabularySize }) => vocabularySize)).size).toBe(3);
  for (const peer of report.peers) {
    expect(peer.bitsPerByteEnd).toBeLessThan(peer.bitsPerByteStart);
    expect(peer.embeddingParameters).toBe(peer.vocabularySize * 128);
    expect(peer.bodyParameters).toBe(787_584);
    // 2 rounds of 25 steps of 8 sequences of 128 tokens.
    expect(peer.tokens).toBe(2 * 25 * 8 * 128);
    expect(peer.bytesSent).toBeGreaterThan(2 * peer.bodyParameters);
    expect(peer.bytesReceived).toBeGreaterThan(2 * peer.bodyParameters);
  }
});
