import { expect, it } from "vitest";
import { causeOf, type Ending } from "./crash-cause.ts";

const ending = (facts: Partial<Ending>): Ending => ({
  exitCode: null,
  signal: null,
  lastWords: [],
  memoryKills: 0,
  ...facts,
});

it("tells memory, faults and killers apart", () => {
  const cases: readonly (readonly [Partial<Ending>, string, string])[] = [
    [{ signal: "SIGKILL", memoryKills: 1 }, "memory", "the system killed it for want of memory (SIGKILL)"],
    [{ signal: "SIGKILL" }, "killed", "somebody killed it (SIGKILL)"],
    [
      { signal: "SIGKILL", memoryKills: undefined },
      "killed",
      "somebody, or the system for want of memory, killed it (SIGKILL)",
    ],
    [
      {
        signal: "SIGABRT",
        lastWords: [
          "terminate called after throwing an instance of 'std::bad_alloc'",
          "  what():  std::bad_alloc",
        ],
      },
      "memory",
      "memory ran out (SIGABRT: what(): std::bad_alloc)",
    ],
    [
      {
        signal: "SIGABRT",
        lastWords: [
          "FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory",
          "----- Native stack trace -----",
        ],
      },
      "memory",
      "memory ran out (SIGABRT: FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory)",
    ],
    [
      { signal: "SIGSEGV", lastWords: ["", "NVRM: device fell off the bus", " "] },
      "fault",
      "the runtime touched memory that is not its own (SIGSEGV: NVRM: device fell off the bus)",
    ],
    [{ signal: "SIGABRT" }, "fault", "the runtime aborted (SIGABRT)"],
    [{ signal: "SIGTERM" }, "killed", "somebody ended it (SIGTERM)"],
    [
      { exitCode: 1, lastWords: ["Error [ERR_WORKER_OUT_OF_MEMORY]: JS heap out of memory", "  at x"] },
      "memory",
      "memory ran out (exit code 1: Error [ERR_WORKER_OUT_OF_MEMORY]: JS heap out of memory)",
    ],
    [
      { exitCode: 127, lastWords: ["no such library"] },
      "exit",
      "it ended by itself (exit code 127: no such library)",
    ],
    [{ startError: new Error("spawn ENOMEM") }, "exit", "its process could not be started: spawn ENOMEM"],
  ];
  for (const [facts, kind, clause] of cases) expect(causeOf(ending(facts))).toMatchObject({ kind, clause });
});

it("keeps to one line of a bearable length", () => {
  const { clause } = causeOf(ending({ signal: "SIGABRT", lastWords: [`a\tb  ${"x".repeat(500)}`] }));
  expect(clause).toMatch(/^the runtime aborted \(SIGABRT: a b x+…\)$/);
  expect(clause.length).toBeLessThan(200);
});
