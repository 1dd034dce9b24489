"""The training step of this project in PyTorch, for comparison: the same model, loss, clipping and AdamW in float32.

Driven over pipes by bench/step-against.ts: one line of JSON when ready, then for each line with a number on stdin that many
steps, answered with one line of JSON: milliseconds and loss of each. Runs with PyTorch 1.13 and newer. Decides nothing.
"""
import argparse
import json
import resource
import sys
import time

# What is imported from beside this file leaves no bytecode there.
sys.dont_write_bytecode = True

import torch

import mpt


def main():
    parser = argparse.ArgumentParser()
    for name in ["blocks", "width", "heads", "vocabulary", "batch", "sequence", "threads"]:
        parser.add_argument("--" + name, type=int, required=True)
    parser.add_argument("--data", required=True, help="float32 weights in the body's order, the embedding, then int32 ids")
    mpt.add_choices(parser)
    options = parser.parse_args()
    name = mpt.decide(options)

    torch.set_num_threads(options.threads)
    tokens = options.batch * options.sequence
    length = mpt.parameter_count(options.blocks, options.width, options.vocabulary)
    flat = torch.from_file(options.data, shared=False, size=length, dtype=torch.float32)
    words = torch.from_file(options.data, shared=False, size=length + 2 * tokens, dtype=torch.int32)
    inputs, targets = (
        ids.view(options.batch, options.sequence).long() for ids in words[length:].split([tokens, tokens])
    )
    model = mpt.Model(
        flat,
        blocks=options.blocks,
        width=options.width,
        heads=options.heads,
        vocabulary=options.vocabulary,
        sequence=options.sequence,
        attention=options.attention,
    )
    optimizer = mpt.make_optimizer(
        model, learning_rate=1e-3, betas=(0.9, 0.95), epsilon=1e-8, weight_decay=0.1, adamw=options.adamw
    )
    compute = torch.compile(model) if options.compile else model

    def step():
        started = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        loss = compute(inputs, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        value = loss.item()
        return {"milliseconds": 1000 * (time.perf_counter() - started), "loss": value}

    def say(message):
        print(json.dumps(message), flush=True)

    say({"name": name, "parameters": length})
    for line in sys.stdin:
        steps = [step() for _ in range(int(line))]
        say({"steps": steps, "peakBytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss})


main()
