// `glossa doctor`: what this machine can train on, and what a device that does not work lacks.
import { z } from "zod";
import { DeviceUnavailableError } from "#model/errors.ts";
import type { Device } from "#model/types.ts";
import { type DeviceFinding, examine, type Findings } from "../doctor/examine.ts";
import type { ProbedSteps } from "../doctor/probe.ts";
import { bytes, count } from "../terminal/format.ts";
import { table } from "../terminal/table.ts";
import { defineCommand } from "./command.ts";

export const doctorCommand = defineCommand({
  name: "doctor",
  summary: "Say what this machine can train on, and how to get what is missing.",
  description:
    "Trains a small model on each device, each in a process of its own, says what a step moves between the machine's memory " +
    "and the device's, and looks for what a device that does not work needs. Fails only where not even the CPU works.",
  settings: z.object({}),
  examples: [],
  async run(_settings, { signal, stdout, environment, flags: { json } }) {
    const findings = await examine(environment, signal);
    stdout.write(json ? `${JSON.stringify(findings)}\n` : `${doctorLines(findings).join("\n")}\n`);
    const { probe } = findings.devices.find(({ device }) => device === "cpu")!;
    if (!probe.works) {
      throw new DeviceUnavailableError("cpu", probe.reason, "install the dependencies again with npm ci");
    }
  },
});

/** The findings as people read them. */
export function doctorLines(findings: Findings): string[] {
  const { byteOrder } = findings;
  const facts: [string, string][] = [
    ["Node", `${findings.node}, onnxruntime ${findings.onnxruntime}, ${findings.platform}`],
    ["processor", `${findings.processor}, ${findings.cores} cores`],
    ["memory", bytes(findings.memoryBytes)],
    ["disk", `${bytes(findings.freeDiskBytes)} free for ${findings.stateRoot}`],
    [
      "byte order",
      byteOrder === "LE"
        ? "little-endian"
        : "big-endian: checkpoints and updates need a little-endian machine",
    ],
  ];
  return [
    ...table([{ title: "" }, { title: "" }], facts).slice(1),
    "",
    ...findings.devices.flatMap(deviceLines),
  ];
}

/** What stays on the device and what does not. On the cpu there is nothing to say. */
function stepLines(device: Device, steps: ProbedSteps): string[] {
  const [to, from] = [steps.toDeviceBytesPerStep, steps.fromDeviceBytesPerStep].map((number) =>
    count(Math.round(number)),
  );
  const moves = `a step moves ${to} bytes there and ${from} back, of ${count(steps.stateBytes)} that it changes`;
  return [
    ...(device === "cpu" ? [] : [`  small model: ${moves}`]),
    `  --precision float16: ${steps.float16 ? (device === "cpu" ? "works, no faster than float32" : "works") : "not on this device"}`,
  ];
}

export function deviceLines({ device, probe, needs }: DeviceFinding): string[] {
  if (probe.works) return [`${device} works`, ...(probe.steps ? stepLines(device, probe.steps) : [])];
  return [
    `${device} does not work: ${probe.reason}`,
    ...needs.map(({ what, present, remedy }) =>
      present ? `  has    ${what}` : `  lacks  ${what}: ${remedy}`,
    ),
  ];
}
