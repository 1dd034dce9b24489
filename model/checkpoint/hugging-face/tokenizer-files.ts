// The small files beside tokenizer.json that Hugging Face's libraries want before they read it. Text to objects, no files.
import type { TokenizerDefinition } from "../../tokenizer/definition.ts";
import type { JsonValue } from "../training-checkpoint.ts";
import type { EndOfText } from "./config.ts";

/**
 * tokenizer_config.json: a byte-level BPE as PreTrainedTokenizerFast, whose text is decoded as it is. (Clean-up, the
 * default of older versions, takes blanks away before punctuation.)
 */
export function tokenizerConfigJson(
  { id, content }: EndOfText,
  sequenceLength: number,
): Record<string, JsonValue> {
  return {
    tokenizer_class: "PreTrainedTokenizerFast",
    model_max_length: sequenceLength,
    add_prefix_space: false,
    clean_up_tokenization_spaces: false,
    padding_side: "left",
    added_tokens_decoder: {
      [id]: { content, lstrip: false, normalized: false, rstrip: false, single_word: false, special: true },
    },
    bos_token: content,
    eos_token: content,
    pad_token: content,
    unk_token: content,
  };
}

/** generation_config.json: where a text begins and ends. */
export function generationConfigJson({ id }: EndOfText): Record<string, JsonValue> {
  return { bos_token_id: id, eos_token_id: id, pad_token_id: id };
}

export function endOfTextOf({ endOfText: id, specialTokens }: TokenizerDefinition): EndOfText {
  return { id, content: specialTokens.find((token) => token.id === id)!.content };
}
