"""This project's model and AdamW in PyTorch, float32: what step-pytorch.py times and curves-pytorch.py trains.

Runs with PyTorch 1.13 and newer. Shares no code with the engine that it is compared with, and decides nothing.
"""
import math

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


def shapes_of(blocks, width, vocabulary):
    """In the order of the flat body (model/architecture.ts), then the embedding."""
    shapes = []
    for _ in range(blocks):
        shapes += [(width,), (3 * width, width), (width, width), (width,), (4 * width, width), (width, 4 * width)]
    return shapes + [(width,), (vocabulary, width)]


def parameter_count(blocks, width, vocabulary):
    return sum(math.prod(shape) for shape in shapes_of(blocks, width, vocabulary))


class Model(torch.nn.Module):
    def __init__(self, flat, *, blocks, width, heads, vocabulary, sequence, attention):
        """`flat`: all weights one after another. `attention`: "fused" or "explicit"."""
        super().__init__()
        shapes = shapes_of(blocks, width, vocabulary)
        parts = flat.split([math.prod(shape) for shape in shapes])
        self.weights = torch.nn.ParameterList(
            torch.nn.Parameter(part.view(shape).clone()) for part, shape in zip(parts, shapes)
        )
        self.heads = heads
        self.fused_attention = attention == "fused"
        self.register_buffer("bias", alibi_bias(heads, sequence))

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

    def forward(self, inputs, targets, reduction="mean"):
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
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1), reduction=reduction)


def add_choices(parser):
    """Which of PyTorch's ways to compute the same is taken."""
    parser.add_argument("--attention", choices=["fused", "explicit"])
    parser.add_argument("--adamw", choices=["fused", "foreach", "plain"])
    parser.add_argument("--compile", action="store_true")


def decide(options):
    """The fastest that this PyTorch has, unless told. Gives the name of what was chosen."""
    if options.attention is None:
        options.attention = "fused" if hasattr(F, "scaled_dot_product_attention") else "explicit"
    if options.adamw is None:
        options.adamw = "fused" if int(torch.__version__.split(".")[0]) >= 2 else "foreach"
    compiled = ", compiled" if options.compile else ""
    return f"PyTorch {torch.__version__}, {options.attention} attention, {options.adamw} AdamW{compiled}"


def make_optimizer(model, *, learning_rate, betas, epsilon, weight_decay, adamw):
    """Vectors (the norms' weights) do not decay."""
    matrices = [weight for weight in model.parameters() if weight.dim() > 1]
    vectors = [weight for weight in model.parameters() if weight.dim() == 1]
    how = {"fused": {"fused": True}, "foreach": {"foreach": True}, "plain": {"foreach": False}}[adamw]
    return torch.optim.AdamW(
        [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}],
        lr=learning_rate,
        betas=betas,
        eps=epsilon,
        **how,
    )
