import { PassThrough } from "node:stream";
import { expect, test } from "vitest";
import { createLog, type LogOptions } from "./log.ts";

function logged(
  options: Partial<LogOptions>,
  write: (log: ReturnType<typeof createLog>) => void,
  terminal = false,
) {
  const output = Object.assign(new PassThrough(), { isTTY: terminal });
  write(createLog({ level: "info", format: "auto", name: "ada", ...options }, output, {}));
  return String(output.read() ?? "");
}

test("a log that is no terminal gets one JSON object a line", () => {
  const line = logged({}, (log) => log.info({ round: 3 }, "Round applied"));
  expect(JSON.parse(line)).toMatchObject({ level: 30, name: "ada", round: 3, msg: "Round applied" });
});

test("a person gets one short line", () => {
  const root = "ab".repeat(32);
  const line = logged({ format: "human" }, (log) =>
    log.warn({ round: 3, root, share: 1 / 3 }, "Round applied late"),
  );
  expect(line).toMatch(
    /^\d\d:\d\d:\d\d warn {2}ada Round applied late {2}round=3 root=abababababab share=0\.3333\n$/,
  );
});

test("a terminal gets colours, anything else never does", () => {
  expect(logged({}, (log) => log.info("hello"), true)).toContain("\x1b[");
  expect(logged({ format: "human" }, (log) => log.info("hello"))).not.toContain("\x1b");
});

test("an error is named, and its stack shown from level error on", () => {
  const warned = logged({ format: "human" }, (log) =>
    log.warn({ err: new Error("no route") }, "Dial failed"),
  );
  expect(warned).toMatch(/Dial failed {2}error="no route"\n$/);
  expect(logged({ format: "human" }, (log) => log.error({ err: new Error("bad") }, "Broken"))).toContain(
    "\n    at ",
  );
});

test("a level below the chosen one is not written", () => {
  expect(logged({ level: "warn" }, (log) => log.info("quiet"))).toBe("");
});

test.each(["json", "human"] as const)("what a peer was trained on is never logged as %s", (format) => {
  const secret = "the quick brown fox";
  const line = logged({ format }, (log) =>
    log.info({ text: secret, batch: { text: secret, documents: [secret] }, tokens: 5 }, "Batch"),
  );
  expect(line).toContain("tokens");
  expect(line).not.toContain("quick");
});
