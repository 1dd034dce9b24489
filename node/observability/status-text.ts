// `glossa stats` for people: one peer's status as a few lines of text. Pure.
import type { Offence } from "#protocol/core/types.ts";
import { bytes, count, duration, factor, fixed, percent, shortPeer, shortRoot } from "../terminal/format.ts";
import type { Paint } from "../terminal/paint.ts";
import { pad, table } from "../terminal/table.ts";
import type { PeerStatus } from "./status.ts";

export function statusText(status: PeerStatus, paint: Paint): string[] {
  const { training, traffic } = status;
  const start = training.bitsPerByteStart;
  const fallen =
    start === undefined || training.bitsPerByte === undefined
      ? ""
      : paint("gray", ` from ${fixed(start, 3)}`);
  const facts: readonly (readonly [string, string])[] = [
    [
      "round",
      `${paint("bold", String(status.round))}  ${status.phase}${stepText(status)}${lagText(status.lagRounds, paint)}`,
    ],
    ["body", `${shortRoot(status.bodyRoot)}  ${agreementText(status, paint)}`],
    [
      "learning",
      `${paint("bold", fixed(training.bitsPerByte, 3))} bits/byte${fallen}  ` +
        `loss ${fixed(training.lossNatsPerToken, 3)} nats/token`,
    ],
    [
      "compute",
      `${training.device}  ${training.tokensPerSecond === undefined ? "–" : count(training.tokensPerSecond)} tokens/s  ` +
        `${percent(training.computeUtilisation)} of the time  ${count(training.tokens)} tokens in ${count(training.steps)} steps`,
    ],
    [
      "model",
      `${count(training.bodyParameters)} shared + ${count(training.embeddingParameters)} private ` +
        `(vocabulary ${training.vocabularySize})`,
    ],
    [
      "traffic",
      `↑ ${bytes(traffic.total.bytesSent)} ↓ ${bytes(traffic.total.bytesReceived)}  ` +
        `this round ↑ ${bytes(traffic.thisRound.bytesSent)} ↓ ${bytes(traffic.thisRound.bytesReceived)}`,
    ],
    [
      "savings",
      `${factor(traffic.reductionAgainstDataParallel)} less than fp32 data parallel  updates ${factor(traffic.payloadRatio)} smaller`,
    ],
  ];
  const offences = offenceText(status.offences);
  const width = Math.max(...facts.map(([label]) => label.length));
  return [
    `${paint("bold", status.name)} ${paint("gray", `…${shortPeer(status.peerId)}`)}  run ${status.runName} ` +
      `${paint("gray", status.runId.slice(0, 12))}  up ${duration(status.uptimeMs)}`,
    ...facts.map(([label, value]) => `  ${paint("gray", pad(label, width, "left"))}  ${value}`),
    ...(offences === ""
      ? []
      : [`  ${paint("gray", pad("refused", width, "left"))}  ${paint("yellow", offences)}`]),
    "",
    ...peersText(status, paint),
  ];
}

function stepText({ phase, step, steps }: PeerStatus): string {
  return steps > 0 && (phase === "training" || phase === "warming") ? ` ${step}/${steps}` : "";
}

function lagText(rounds: number, paint: Paint): string {
  return rounds === 0 ? "" : `  ${paint("yellow", `${rounds} ${rounds === 1 ? "round" : "rounds"} behind`)}`;
}

function agreementText({ agreement: { agree, differ } }: PeerStatus, paint: Paint): string {
  if (differ > 0) return paint("red", `✗ differs from ${differ} of ${agree + differ} others`);
  if (agree === 0) return paint("gray", "nobody to compare with");
  return paint("green", `✓ same as ${agree === 1 ? "the other peer" : `all ${agree} others`}`);
}

function offenceText(offences: PeerStatus["offences"]): string {
  const entries = Object.entries(offences) as [Offence, number][];
  return entries.map(([offence, times]) => `${offence} ${times}×`).join("  ");
}

const COLUMNS = [
  { title: "peer" },
  { title: "" },
  { title: "phase" },
  { title: "round", align: "right" },
  { title: "body" },
  { title: "" },
  { title: "bits/byte", align: "right" },
  { title: "latency", align: "right" },
  { title: "seen", align: "right" },
] as const;

function peersText({ peers }: PeerStatus, paint: Paint): string[] {
  if (peers.length === 0) return [`  ${paint("gray", "no other peers yet")}`];
  const rows = peers.map((peer) => [
    `${peer.name} ${paint("gray", `…${shortPeer(peer.peer)}`)}`,
    peer.direction === undefined ? paint("gray", "○") : peer.direction === "inbound" ? "←" : "→",
    `${peer.phase}${peer.phase === "training" ? ` ${peer.step}/${peer.steps}` : ""}`,
    String(peer.round),
    shortRoot(peer.root),
    peer.agrees === undefined ? paint("gray", "·") : peer.agrees ? paint("green", "✓") : paint("red", "✗"),
    fixed(peer.bitsPerByte > 0 ? peer.bitsPerByte : undefined, 3),
    peer.latencyMs === undefined ? "–" : `${peer.latencyMs.toFixed(peer.latencyMs < 10 ? 1 : 0)} ms`,
    duration(peer.lastSeenMs),
  ]);
  return table(COLUMNS, rows, (title) => paint("gray", title)).map((line) => `  ${line}`);
}
