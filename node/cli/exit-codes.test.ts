import { globSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { EXIT_TABLE, exitEntryOf } from "./exit-codes.ts";

/** Codes that never reach the command line: bugs of ours, what the network retries, or what another error wraps. */
const INTERNAL = new Set([
  "BODY_NOT_HELD",
  "BODY_OUTRUN",
  "FRAME",
  "GENESIS_MISSING",
  "GRADIENT_NOT_DEFINED",
  "GRAPH_INVALID",
  "HELD_ROWS_INVALID",
  "LENGTH_MISMATCH",
  "LOCK_HELD",
  "MODEL_DISPOSED",
  "NETWORK_STOPPED",
  "NOT_SERVED",
  "PAGE_ORDER",
  "PAYLOAD_TOO_LARGE",
  "PAYLOAD_UNAVAILABLE",
  "PEER_MISBEHAVED",
  "ROUND_NOT_HELD",
  "TENSOR_SIZE_MISMATCH",
  "TOKEN_CACHE_UNWRITABLE",
  "TOKEN_OUT_OF_RANGE",
  "TRAINER_CLOSED",
  "WEIGHT_OUT_OF_RANGE",
  "WIRE_FIELD",
  "WRONG_SIGNER",
]);

const ROOT = fileURLToPath(new URL("../../", import.meta.url));

/** Every code a class declares, alone (`code = "X"`) as a type argument, or as a union (`type XErrorCode = "X" | "Y"`). */
function declaredCodes(rooms = "model,protocol,node,bootstrap"): ReadonlySet<string> {
  const sources = globSync(`{${rooms}}/**/*.ts`, { cwd: ROOT });
  const codes = sources
    .filter((path) => !/\.test\.ts$|\.e2e\.ts$|generated|testing/.test(path))
    .flatMap((path) => {
      const text = readFileSync(ROOT + path, "utf8");
      const alone = [...text.matchAll(/readonly code = "([\w-]+)"/g)].map((match) => match[1]!);
      const generic = [...text.matchAll(/Error<"([\w-]+)">/g)].map((match) => match[1]!);
      const unions = [...text.matchAll(/type \w*ErrorCode =((?:\s*\|?\s*"[\w-]+")+)/g)];
      return [...alone, ...generic, ...unions.flatMap((match) => match[1]!.match(/[\w-]+/g)!)];
    });
  return new Set(codes);
}

test("every error that glossa declares has an exit code, unless it never gets that far", () => {
  const declared = declaredCodes();
  expect(declared.size).toBeGreaterThan(40);
  const known = new Set(EXIT_TABLE.flatMap(({ codes }) => codes));
  expect([...declared].filter((code) => !known.has(code) && !INTERNAL.has(code))).toEqual([]);
});

test("the codes of errors are spelled one way: in capitals with underscores", () => {
  const spelled = [
    ...declaredCodes("model,protocol,node,bootstrap,reproduction,bench"),
    ...EXIT_TABLE.flatMap(({ codes }) => codes),
    ...INTERNAL,
  ];
  expect(spelled.filter((code) => !/^[A-Z][A-Z0-9]*(_[A-Z0-9]+)*$/.test(code))).toEqual([]);
});

test("exit codes and error codes are each used once, and none is a shell's own", () => {
  const exits = EXIT_TABLE.map(({ exit }) => exit);
  const codes = EXIT_TABLE.flatMap((row) => row.codes);
  expect(new Set(exits).size).toBe(exits.length);
  expect(new Set(codes).size).toBe(codes.length);
  for (const exit of exits) expect(exit).toBeLessThan(126);
});

test("a full disk is a full disk, whoever ran into it", () => {
  const full = Object.assign(new Error("no space"), { code: "ENOSPC" });
  const wrapped = Object.assign(new Error("tokens", { cause: full }), { code: "TOKEN_CACHE_UNWRITABLE" });
  expect(exitEntryOf(wrapped).exit).toBe(32);
});
