"""The training step of this project in PyTorch, for comparison: the same model, loss, clipping and AdamW in float32.

Driven over pipes by bench/step-against.ts: one line of JSON when ready, then for each line with a number on stdin that many
steps, answered with one line of JSON: milliseconds and loss of each. Runs with PyTorch 1.13 and newer. Decides nothing.
"""
import argparse
import json
import math
import resource
import sys
import time

import torch
import torch.nn.functional as F

EPSILON = 1e-5


def alibi_bias(heads, length):
    """As model/nn/alibi.ts: [1, heads, T, T], minus infinity above the diagonal."""
    count = 2 ** math.ceil(math.log2(heads))
    slopes = [2 ** (-8 * (i + 1) / count) for i in range(count)]
    if count != heads:
        slopes = (slopes[1::2] + slopes[0::2])[:heads]
    keys = torch.arange(1 - length, 1, dtype=torch.float32)
    bias = torch.tensor(slopes).view(1, heads, 1, 1) * keys.view(1, 1, 1, length)
    mask = torch.full((length, length), float("-inf")).triu(1)
    return bias + mask


class Model(torch.nn.Module):
    def __init__(self, options, flat):
        super().__init__()
        width = options.width
        shapes = []
        for _ in range(options.blocks):
            shapes += [(width,), (3 * width, width), (width, width), (width,), (4 * width, width), (width, 4 * width)]
        shapes += [(width,), (options.vocabulary, width)]
        parts = flat.split([math.prod(shape) for shape in shapes])
        self.weights = torch.nn.ParameterList(
            torch.nn.Parameter(part.view(shape).clone()) for part, shape in zip(parts, shapes)
        )
        self.heads = options.heads
        self.fused_attention = options.attention == "fused"
        self.register_buffer("bias", alibi_bias(options.heads, options.sequence))

    def attention(self, x, query_key_value, out_projection):
        batch, length, width = x.shape
        size = width // self.heads
        q, k, v = (
            part.view(batch, length, self.heads, size).transpose(1, 2)
            for part in F.linear(x, query_key_value).chunk(3, dim=-1)
        )
        if self.fused_attention:
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=self.bias)
        else:
            scores = (q @ k.transpose(2, 3)) * (1 / math.sqrt(size)) + self.bias
            mixed = F.softmax(scores, dim=-1) @ v
        return F.linear(mixed.transpose(1, 2).reshape(batch, length, width), out_projection)

    def forward(self, inputs, targets):
        *blocks, norm, embedding = self.weights
        width = embedding.shape[1]
        x = F.embedding(inputs, embedding)
        for at in range(0, len(blocks), 6):
            norm1, query_key_value, out, norm2, up, down = blocks[at : at + 6]
            x = x + self.attention(F.layer_norm(x, (width,), norm1, None, EPSILON), query_key_value, out)
            inner = F.gelu(F.linear(F.layer_norm(x, (width,), norm2, None, EPSILON), up))
            x = x + F.linear(inner, down)
        x = F.layer_norm(x, (width,), norm, None, EPSILON)
        logits = F.linear(x, embedding)
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1))


def main():
    parser = argparse.ArgumentParser()
    for name in ["blocks", "width", "heads", "vocabulary", "batch", "sequence", "threads"]:
        parser.add_argument("--" + name, type=int, required=True)
    parser.add_argument("--data", required=True, help="float32 weights in the body's order, the embedding, then int32 ids")
    parser.add_argument("--attention", choices=["fused", "explicit"])
    parser.add_argument("--adamw", choices=["fused", "foreach", "plain"])
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    # The fastest that this PyTorch has, unless told.
    if options.attention is None:
        options.attention = "fused" if hasattr(F, "scaled_dot_product_attention") else "explicit"
    if options.adamw is None:
        options.adamw = "fused" if int(torch.__version__.split(".")[0]) >= 2 else "foreach"

    torch.set_num_threads(options.threads)
    tokens = options.batch * options.sequence
    length = sum(
        12 * options.width**2 + 2 * options.width for _ in range(options.blocks)
    ) + options.width * (options.vocabulary + 1)
    flat = torch.from_file(options.data, shared=False, size=length, dtype=torch.float32)
    words = torch.from_file(options.data, shared=False, size=length + 2 * tokens, dtype=torch.int32)
    inputs, targets = (
        ids.view(options.batch, options.sequence).long() for ids in words[length:].split([tokens, tokens])
    )
    model = Model(options, flat)
    matrices = [weight for weight in model.parameters() if weight.dim() > 1]
    vectors = [weight for weight in model.parameters() if weight.dim() == 1]
    how = {"fused": {"fused": True}, "foreach": {"foreach": True}, "plain": {"foreach": False}}[options.adamw]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
        lr=1e-3,
        betas=(0.9, 0.95),
        eps=1e-8,
        **how,
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

    how = f"{options.attention} attention, {options.adamw} AdamW" + (", compiled" if options.compile else "")
    say({"name": f"PyTorch {torch.__version__}, {how}", "parameters": length})
    for line in sys.stdin:
        steps = [step() for _ in range(int(line))]
        say({"steps": steps, "peakBytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss})


main()
