// `glossa doctor`: what this machine can train on, and what a device that does not work lacks.
import { z } from "zod";
import { DeviceUnavailableError } from "#model/errors.ts";
import { type DeviceFinding, examine, type Findings } from "../doctor/examine.ts";
import { bytes } from "../terminal/format.ts";
import { table } from "../terminal/table.ts";
import { defineCommand } from "./command.ts";

export const doctorCommand = defineCommand({
  name: "doctor",
  summary: "Say what this machine can train on, and how to get what is missing.",
  description:
    "Runs a small computation on each device, each in a process of its own, and looks for what a device that does not " +
    "work needs. Fails only where not even the CPU works.",
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

function deviceLines({ device, probe, needs }: DeviceFinding): string[] {
  if (probe.works) return [`${device} works`];
  return [
    `${device} does not work: ${probe.reason}`,
    ...needs.map(({ what, present, remedy }) =>
      present ? `  has    ${what}` : `  lacks  ${what}: ${remedy}`,
    ),
  ];
}
