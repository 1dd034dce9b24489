#!/usr/bin/env python3
"""Holds glossa's model folders against transformers' own MptForCausalLM, in both directions.

    check-with-transformers.py make FOLDER       a tiny random model, saved by transformers, with the logits that it gives
    check-with-transformers.py check FOLDER DUMP  a folder that glossa wrote, against what dump-logits.ts printed of it

`make` wrote tiny-mpt/ beside this file; model/inference/hugging-face.test.ts reads it with glossa and demands its logits.
`check` needs no part of glossa but the two files:

    glossa export --model MODEL --output FOLDER
    node model/testdata/hugging-face/dump-logits.ts FOLDER "some text" > DUMP

Needs PyTorch 1.13 or later; `make` needs transformers 4.38 or later, `check` 4.45, the first whose tokenizers read merges
in pairs. Run with 4.38.2 (make), 4.45.2 (check) on PyTorch 1.13.0, and with 5.24.0 on PyTorch 2.15.0 (both).
"""

import json
import pathlib
import sys

import torch
import transformers
from transformers import AutoTokenizer, MptConfig, MptForCausalLM

# Of the largest logit: both compute in float32.
TOLERANCE = 1e-5


def logits_of(model, tokens):
    with torch.no_grad():
        return model(torch.tensor([tokens])).logits[0].float()


def greedy(model, tokens, count):
    inputs = torch.tensor([tokens])
    with torch.no_grad():
        out = model.generate(
            inputs, attention_mask=torch.ones_like(inputs), max_new_tokens=count, do_sample=False, use_cache=True
        )
    return out[0, len(tokens) :].tolist()


def make(folder: pathlib.Path) -> None:
    torch.manual_seed(20261126)
    # Three heads take ALiBi's path for a number that is no power of two. 257 tokens: the bytes and an end of text.
    config = MptConfig(d_model=6, n_heads=3, n_layers=2, vocab_size=257, max_seq_len=16, use_cache=True)
    model = MptForCausalLM(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape)
            parameter.copy_(1 + 0.3 * noise if "norm" in name else 0.4 * noise)
    model.to(torch.bfloat16).save_pretrained(folder, safe_serialization=True)
    model = MptForCausalLM.from_pretrained(folder, torch_dtype=torch.float32).eval()
    tokens = [int(value) for value in torch.randint(0, 257, (12,))]
    expected = {
        "madeBy": f"transformers {transformers.__version__}, PyTorch {torch.__version__}",
        "tokens": tokens,
        # Of the first, a middle and the last token; rounded to what float32 holds.
        "logits": {at: [float(f"{value:.8g}") for value in logits_of(model, tokens)[at]] for at in (0, 6, 11)},
        "greedy": greedy(model, tokens[:6], 10),
    }
    (folder / "expected.json").write_text(json.dumps(expected) + "\n")
    print(f"{folder}: {expected['madeBy']}, then {expected['greedy']}")


def check(folder: pathlib.Path, dump_path: pathlib.Path) -> None:
    dump = json.loads(dump_path.read_text())
    model, info = MptForCausalLM.from_pretrained(folder, output_loading_info=True)
    problems = {key: sorted(info[key]) for key in ("missing_keys", "unexpected_keys", "mismatched_keys") if info[key]}
    # The tied head is not stored; some versions list it.
    if problems not in ({}, {"missing_keys": ["lm_head.weight"]}):
        raise SystemExit(f"the weights do not fit: {problems}")
    if model.lm_head.weight.data_ptr() != model.transformer.wte.weight.data_ptr():
        raise SystemExit("the head is not tied to the embedding")
    model.eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(dump["text"])["input_ids"]
    if ids != dump["tokens"]:
        raise SystemExit(f"the tokenizer gives {ids}, glossa {dump['tokens']}")
    if tokenizer.decode(ids) != dump["text"]:
        raise SystemExit(f"the tokenizer decodes {tokenizer.decode(ids)!r}")
    actual, expected = logits_of(model, ids), torch.tensor(dump["logits"])
    error = ((actual - expected).abs().max() / expected.abs().max()).item()
    # transformers' MPT ends at max_seq_len: that long is its ALiBi.
    expected_next = dump["greedy"][: max(0, model.config.max_seq_len - len(ids))]
    continued = greedy(model, ids, len(expected_next))
    print(f"transformers {transformers.__version__}, PyTorch {torch.__version__}, {tokenizer.__class__.__name__}")
    print(f"{len(ids)} tokens: ids agree, logits within {error:.1e} of the largest ({expected.abs().max():.3f})")
    print(f"greedy: {tokenizer.decode(continued)!r}")
    if error > TOLERANCE:
        raise SystemExit(f"the logits are off by more than {TOLERANCE:.0e}")
    if continued != expected_next:
        raise SystemExit(f"glossa goes on with {expected_next}, transformers with {continued}")
    print("transformers agrees")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["make", folder]:
            make(pathlib.Path(folder))
        case ["check", folder, dump]:
            check(pathlib.Path(folder), pathlib.Path(dump))
        case _:
            raise SystemExit(__doc__)
