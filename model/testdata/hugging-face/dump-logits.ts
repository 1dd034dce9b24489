// Prints what glossa computes for a text with a model folder, for check-with-transformers.py: ids, all logits, and the
// likeliest tokens that follow. `node dump-logits.ts FOLDER TEXT`
import { readModelFolder } from "../../checkpoint/model-folder.ts";
import { Decoder, type DecoderStep } from "../../inference/decoder.ts";
import { generateTokens } from "../../inference/generate.ts";
import { Tokenizer } from "../../tokenizer/tokenizer.ts";

const GREEDY_TOKENS = 12;

const [folder, text] = process.argv.slice(2);
if (folder === undefined || text === undefined) throw new Error("Usage: node dump-logits.ts FOLDER TEXT");
const model = await readModelFolder(folder);
const tokenizer = Tokenizer.fromJson(model.tokenizer);
const decoder = await Decoder.create(model);
const tokens = [...tokenizer.encode(text)];
const logits: number[][] = [];
let step: DecoderStep | undefined;
for (const token of tokens) {
  step = await decoder.read([token], step?.cache);
  logits.push([...step.logits]);
}
const greedy: number[] = [];
const options = { temperature: 0, topK: 0, topP: 1, maxTokens: GREEDY_TOKENS, seed: "" };
const { endOfText, vocabularySize } = tokenizer;
const source = generateTokens(decoder, step!, { ...options, endOfText, vocabularySize }, new AbortController().signal);
for await (const token of source) greedy.push(token);
console.log(JSON.stringify({ text, tokens, logits, greedy }));
