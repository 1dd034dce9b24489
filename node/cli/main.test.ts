import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { describe, expect, test } from "vitest";
import { formatInvite } from "#protocol/core/invite.ts";
import { sha256 } from "#protocol/net/hash.ts";
import { COMMANDS } from "./commands.ts";
import { exitEntryOf } from "./exit-codes.ts";
import { runCli } from "./main.ts";
import { reportError } from "./report-error.ts";

const INVITE = formatInvite({ runId: "ab".repeat(32), addresses: [] }, sha256);

async function glossa(...argv: string[]) {
  const stdout = new PassThrough();
  const stderr = new PassThrough();
  const signal = new AbortController().signal;
  const exitCode = await runCli(argv, { signal, stdout, stderr, environment: {} });
  return { exitCode, stdout: String(stdout.read() ?? ""), stderr: String(stderr.read() ?? "") };
}

describe("the command line", () => {
  test.each([[[]], [["help"]], [["--help"]]])("lists its commands for %j", async (argv) => {
    const { exitCode, stdout } = await glossa(...argv);
    expect(exitCode).toBe(0);
    for (const { name } of COMMANDS) expect(stdout).toContain(`\n  ${name} `);
  });

  test.each(COMMANDS.map(({ name }) => name))(
    "explains %s with its flags, and with examples where it has any",
    async (name) => {
      const { exitCode, stdout } = await glossa(name, "--help");
      expect(exitCode).toBe(0);
      expect(stdout).toContain(`Usage: glossa ${name}`);
      expect(stdout).toContain("--verbose");
      if (stdout.includes("[flags]")) expect(stdout).toContain("Examples:\n  # ");
      for (const line of stdout.split("\n")) expect(line.length, line).toBeLessThanOrEqual(115);
    },
  );

  test("answers an unknown command with the nearest one and exit code 2", async () => {
    const { exitCode, stderr } = await glossa("per");
    expect(exitCode).toBe(2);
    expect(stderr).toBe("glossa: There is no command per; did you mean glossa peer?\n");
  });

  test("answers an unknown flag as JSON when asked to", async () => {
    const { exitCode, stdout, stderr } = await glossa("stats", "--wacth", "--json");
    expect(exitCode).toBe(2);
    expect(stdout).toBe("");
    expect(JSON.parse(stderr)).toEqual({
      error: {
        code: "USAGE",
        message: "There is no flag --wacth; did you mean --watch?",
        remedy: "See --help of the command.",
      },
    });
  });

  test.each(["--listen", "--announce"])("makes nothing where %s is no address", async (flag) => {
    const stateDir = join(tmpdir(), `glossa-never-made-${process.pid}`);
    for (const command of [["bootstrap"], ["peer", "--join", INVITE, "--data", import.meta.filename]]) {
      const { exitCode, stderr } = await glossa(...command, flag, "localhost:4001", "--state-dir", stateDir);
      expect({ exitCode, stderr }).toMatchObject({
        exitCode: 25,
        stderr: expect.stringMatching(/^glossa: "localhost:4001" is not a TCP multiaddr/),
      });
      expect(existsSync(stateDir)).toBe(false);
    }
  });

  test("says its version", async () => {
    expect((await glossa("--version")).stdout).toMatch(/^glossa \d+\.\d+\.\d+, Node \d+/);
    expect(JSON.parse((await glossa("version", "--json")).stdout)).toMatchObject({
      node: process.versions.node,
    });
  });
});

describe("an error", () => {
  const withCode = (code: string, message = "It broke: fix it.", options?: ErrorOptions) =>
    Object.assign(new Error(message, options), { code });

  test("of ours is its own sentence, with the exit code of its kind", () => {
    expect(reportError(withCode("DISK_FULL"), { json: false, verbose: false })).toEqual({
      exitCode: 32,
      text: "glossa: It broke: fix it.\n",
    });
  });

  test("is one line, whatever it quotes", () => {
    const { text } = reportError(withCode("TOKENIZER_UNREADABLE", 'not JSON ("hi\n" is none)'), {
      json: false,
      verbose: false,
    });
    expect(text).toBe('glossa: not JSON ("hi " is none)\n');
  });

  test("is known by its code", () => {
    expect(exitEntryOf(withCode("BOOTSTRAP_UNREACHABLE"))).toMatchObject({
      exit: 21,
      code: "BOOTSTRAP_UNREACHABLE",
    });
  });

  test("is known by its cause when it has no code of its own", () => {
    const cause = withCode("EADDRINUSE");
    expect(exitEntryOf(new Error("could not start", { cause })).exit).toBe(24);
  });

  test("that is unknown asks for a report, and shows no stack unless asked to", () => {
    const { exitCode, text } = reportError(new TypeError("x is not a function\n  at y"), {
      json: false,
      verbose: false,
    });
    expect(exitCode).toBe(1);
    expect(text).toBe("glossa: x is not a function (Run again with --verbose and report the stack.)\n");
  });

  test("shows its stack and that of its cause with --verbose", () => {
    const { text } = reportError(withCode("DISK_FULL", "outer", { cause: new Error("inner") }), {
      json: false,
      verbose: true,
    });
    expect(text).toMatch(/^glossa: outer\n.*Error: outer\n.*Caused by: Error: inner/s);
  });

  test("keeps a remedy of its own in JSON", () => {
    const error = Object.assign(withCode("DEVICE_UNAVAILABLE"), { remedy: "install the driver" });
    expect(JSON.parse(reportError(error, { json: true, verbose: false }).text).error.remedy).toBe(
      "install the driver",
    );
  });
});
