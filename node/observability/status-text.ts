// `glossa stats` for people: one peer's status as a few lines of text. Pure.
import { bytes, count, duration, factor, fixed, percent, shortPeer, shortRoot } from "../terminal/format.ts";
import type { Paint } from "../terminal/paint.ts";
import { pad, table } from "../terminal/table.ts";
import type { PeerStatus } from "./status.ts";

export function statusText(status: PeerStatus, paint: Paint): string[] {
  const facts: readonly (readonly [string, string])[] = [
    ["round", roundText(status, paint)],
    ["body", `${shortRoot(status.bodyRoot)}  ${agreementText(status, paint)}`],
    ["group", groupText(status, paint)],
    ["learning", learningText(status, paint)],
    ["compute", computeText(status)],
    ["model", modelText(status)],
    ["traffic", trafficText(status)],
    ["savings", savingsText(status)],
    ["trainer", paint("yellow", trainerText(status))],
    ["refused", paint("yellow", timesText(status.offences))],
    ["defence", paint("yellow", timesText(status.restrained))],
  ];
  const isShown: Readonly<Record<string, boolean>> = {
    group: status.group !== undefined,
    trainer: status.training.trainerRestarts > 0,
    refused: Object.keys(status.offences).length > 0,
    defence: Object.values(status.restrained).some((times) => times > 0),
  };
  const shown = facts.filter(([label]) => isShown[label] ?? true);
  const width = Math.max(...shown.map(([label]) => label.length));
  return [
    `${paint("bold", status.name)} ${paint("gray", `…${shortPeer(status.peerId)}`)}  run ${status.runName} ` +
      `${paint("gray", status.runId.slice(0, 12))}  up ${duration(status.uptimeMs)}`,
    ...shown.map(([label, value]) => `  ${paint("gray", pad(label, width, "left"))}  ${value}`),
    "",
    ...peersText(status, paint),
  ];
}

function roundText(status: PeerStatus, paint: Paint): string {
  return `${paint("bold", String(status.round))}  ${status.phase}${stepText(status)}${lagText(status.lagRounds, paint)}`;
}

function groupText({ group }: PeerStatus, paint: Paint): string {
  if (group === undefined) return "";
  const { name, round, embeddingRoot, agreement, peers, phase, payloadBytes } = group;
  if (peers.length === 0 && phase === "waiting") {
    return `${name}  ${paint("yellow", "nobody else with the same tokenizer yet")}`;
  }
  const sent = payloadBytes === undefined ? "" : paint("gray", `  ${bytes(payloadBytes)} a round`);
  return `${name}  round ${round}  ${shortRoot(embeddingRoot)}  ${agreementText({ agreement }, paint)}${sent}`;
}

function learningText({ training }: PeerStatus, paint: Paint): string {
  const { bitsPerByte, bitsPerByteStart, lossNatsPerToken } = training;
  if (bitsPerByte === undefined) return paint("gray", "not evaluated yet");
  const start = bitsPerByteStart === bitsPerByte ? "" : paint("gray", ` from ${fixed(bitsPerByteStart, 3)}`);
  const loss = lossNatsPerToken === undefined ? "" : `  loss ${fixed(lossNatsPerToken, 3)} nats/token`;
  return `${paint("bold", fixed(bitsPerByte, 3))} bits/byte${start}${loss}`;
}

function computeText({ training }: PeerStatus): string {
  const { device, tokensPerSecond, computeUtilisation, tokens, steps, skippedSteps } = training;
  const done = `${count(tokens)} tokens in ${count(steps)} ${steps === 1 ? "step" : "steps"}${skippedSteps > 0 ? `, ${count(skippedSteps)} of them skipped in float16` : ""}`;
  if (tokensPerSecond === undefined) return `${device}  ${done}`;
  return `${device}  ${count(tokensPerSecond)} tokens/s  ${percent(computeUtilisation)} of the time  ${done}`;
}

function trainerText({ training: { trainerRestarts: times, lastTrainerCrash } }: PeerStatus): string {
  return `restarted ${times === 1 ? "once" : `${times} times`}, last because ${lastTrainerCrash}`;
}

function modelText({ training }: PeerStatus): string {
  const { variant, bodyParameters, embeddingParameters, vocabularySize, commonVocabularySize } = training;
  const whole = commonVocabularySize ?? vocabularySize;
  const vocabulary = whole === vocabularySize ? `${whole}` : `${vocabularySize} of ${whole}`;
  const shared =
    training.heldRows === undefined
      ? `${count(bodyParameters)} shared + ${count(embeddingParameters)} private`
      : `${count(bodyParameters + embeddingParameters)} shared`;
  return `${variant}  ${shared} (vocabulary ${vocabulary})`;
}

function trafficText({ traffic: { total, thisRound } }: PeerStatus): string {
  return (
    `↑ ${bytes(total.bytesSent)} ↓ ${bytes(total.bytesReceived)}  ` +
    `this round ↑ ${bytes(thisRound.bytesSent)} ↓ ${bytes(thisRound.bytesReceived)}`
  );
}

function savingsText({ traffic: { reductionAgainstDataParallel, payloadRatio } }: PeerStatus): string {
  // Before the first own update only small talk was sent, and a comparison would flatter.
  if (payloadRatio === undefined) return "no update sent yet";
  return `${factor(reductionAgainstDataParallel)} less than fp32 data parallel  updates ${factor(payloadRatio)} smaller`;
}

function stepText({ phase, step, steps }: PeerStatus): string {
  return steps > 0 && (phase === "training" || phase === "warming") ? ` ${step}/${steps}` : "";
}

function lagText(rounds: number, paint: Paint): string {
  return rounds === 0 ? "" : `  ${paint("yellow", `${rounds} ${rounds === 1 ? "round" : "rounds"} behind`)}`;
}

function agreementText(
  { agreement: { agree, differ } }: Pick<PeerStatus, "agreement">,
  paint: Paint,
): string {
  if (differ > 0) return paint("red", `✗ differs from ${differ} of ${agree + differ} others`);
  if (agree === 0) return paint("gray", "nobody to compare with");
  return paint("green", `✓ same as ${agree === 1 ? "the other peer" : `all ${agree} others`}`);
}

function timesText(counts: Readonly<Record<string, number>>): string {
  const entries = Object.entries(counts).filter(([, times]) => times > 0);
  return entries.map(([what, times]) => `${what} ${times}×`).join("  ");
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
  if (peers.length === 0) return [`  ${paint("gray", "no other peers")}`];
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
