// What a part of a prepared text holds, whole, for tests that look at every token.
import { TokenFileReader, type TokenSplit } from "../data/token-file.ts";

export function tokensOf(split: TokenSplit): Int32Array {
  const tokens = new Int32Array(split.tokens);
  const reader = new TokenFileReader(split);
  reader.read(0, tokens);
  reader.close();
  return tokens;
}
