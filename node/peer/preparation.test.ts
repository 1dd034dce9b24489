import { expect, it } from "vitest";
import type { PeerEvent } from "../observability/events.ts";
import type { Logger } from "../observability/log.ts";
import { tellingOfPreparation } from "./preparation.ts";

it("tells programs everything, and people now and then what takes long", () => {
  const events: PeerEvent[] = [];
  const lines: string[] = [];
  let nowMs = 0;
  const log = { info: (_: object, line: string) => lines.push(line) } as unknown as Logger;
  const tell = tellingOfPreparation(
    log,
    (event) => events.push(event),
    () => nowMs,
  );
  for (let second = 1; second <= 30; second++) {
    nowMs = 1000 * second;
    tell({ stage: "tokenizer", fraction: second / 30 });
  }
  tell({ stage: "tokenizer-ready", vocabularySize: 400, trained: true });
  nowMs = 41_000;
  tell({ stage: "tokens", fraction: 0.5, tokens: 7 });
  tell({ stage: "tokens", fraction: 1, tokens: 14 });
  expect(lines).toEqual([
    "making the vocabulary of the text: 33%",
    "making the vocabulary of the text: 67%",
    "making the vocabulary of the text: 100%",
    "turning the text into tokens: 50%",
  ]);
  expect(events).toHaveLength(33);
  expect(events.at(-1)).toEqual({ event: "tokens-progress", tokens: 14 });
});
