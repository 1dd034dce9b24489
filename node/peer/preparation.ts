// What becomes known while a text is prepared: events for programs, and for people a line now and then, for a large text takes
// an hour.
import type { PeerEvent } from "../observability/events.ts";
import type { Logger } from "../observability/log.ts";
import { percent } from "../terminal/format.ts";
import type { PrepareProgress } from "../trainer/messages.ts";

/** What is done before needs no line. */
const LINE_EVERY_MS = 10_000;

export function tellingOfPreparation(
  log: Logger,
  emit: (event: PeerEvent) => void,
  nowMs: () => number = () => performance.now(),
): (progress: PrepareProgress) => void {
  let saidAtMs = nowMs();
  const say = (fields: object, line: string) => {
    if (nowMs() - saidAtMs < LINE_EVERY_MS) return;
    saidAtMs = nowMs();
    log.info(fields, line);
  };
  return (progress) => {
    emit(preparationEventOf(progress));
    switch (progress.stage) {
      case "tokenizer":
        say({}, `making the vocabulary of the text: ${percent(progress.fraction)}`);
        return;
      case "tokens":
        say({ tokens: progress.tokens }, `turning the text into tokens: ${percent(progress.fraction)}`);
        return;
      case "tokenizer-ready":
    }
  };
}

function preparationEventOf(progress: PrepareProgress): PeerEvent {
  switch (progress.stage) {
    case "tokenizer":
      return { event: "tokenizer-progress", fraction: progress.fraction };
    case "tokenizer-ready":
      return {
        event: "tokenizer-ready",
        vocabularySize: progress.vocabularySize,
        trained: progress.trained,
      };
    case "tokens":
      return { event: "tokens-progress", tokens: progress.tokens };
  }
}
