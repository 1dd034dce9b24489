#!/usr/bin/env python3
"""Writes the reference that model/train-step.reference.test.ts holds the training engine against.

A small MPT decoder and its AdamW steps, written from the papers in plain PyTorch and computed in float64. It shares no
code with the engine: gradients are PyTorch's autograd, the optimizer is torch.optim.AdamW.

    python3 make-reference.py                        writes <case>.safetensors beside this file, for each case
    python3 make-reference.py --check-hugging-face   also demands that transformers' MptForCausalLM agrees

Needs PyTorch 1.13 or later; the check needs transformers 4.32 or later. The files here were written with PyTorch 1.13.0
and checked against transformers 4.38.2.

A file holds, by name:
    <parameter>            F32  initial value; every value is exact in float32
    gradient/<parameter>   F64  of the mean loss of the first batch, before clipping
    after/<parameter>      F64  after all steps
    logits                 F64  [batch, sequence, vocabulary] of the first batch
    inputs, targets        I32  [steps, batch, sequence]
    losses, gradientNorms, learningRates   F64 [steps]; loss and norm as seen by the step, the norm before clipping
and in its metadata, as JSON: config (ModelConfig), optimizer (OptimizerConfig), and batchSize.
"""

import argparse
import hashlib
import json
import math
import pathlib
import struct

import torch
from torch import Tensor
from torch.nn import functional as F

STEPS = 10

# Unequal sizes everywhere, so that no two axes can be taken for each other. Three heads take ALiBi's path for a number
# of heads that is no power of two.
CASES = {
    "mpt-3-heads": {
        "seed": 20261124,
        "batchSize": 2,
        "config": {"blocks": 2, "width": 24, "heads": 3, "sequenceLength": 11, "vocabularySize": 61},
    },
    "mpt-4-heads": {
        "seed": 1848,
        "batchSize": 3,
        "config": {"blocks": 3, "width": 16, "heads": 4, "sequenceLength": 7, "vocabularySize": 45},
    },
}

# Three warm-up steps, five along the cosine, then two on its floor. The clip is not 1, where a factor of it could go
# missing unseen; some steps have to exceed it and some not.
OPTIMIZER = {
    "learningRate": 0.02,
    "beta1": 0.9,
    "beta2": 0.95,
    "epsilon": 1e-8,
    "weightDecay": 0.1,
    "gradientClip": 1.5,
    "warmupSteps": 3,
    "totalSteps": 8,
    "finalLearningRateRatio": 0.1,
}


def parameter_shapes(config) -> dict[str, tuple[int, ...]]:
    width = config["width"]
    shapes = {"transformer.wte.weight": (config["vocabularySize"], width)}
    for block in range(config["blocks"]):
        prefix = f"transformer.blocks.{block}."
        shapes |= {
            prefix + "norm_1.weight": (width,),
            prefix + "attn.Wqkv.weight": (3 * width, width),
            prefix + "attn.out_proj.weight": (width, width),
            prefix + "norm_2.weight": (width,),
            prefix + "ffn.up_proj.weight": (4 * width, width),
            prefix + "ffn.down_proj.weight": (width, 4 * width),
        }
    shapes["transformer.norm_f.weight"] = (width,)
    return shapes


def initial_parameters(config, generator) -> dict[str, Tensor]:
    """Far from the usual small values: a wrong factor or a missing term must show."""
    parameters = {}
    for name, shape in parameter_shapes(config).items():
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        value = 1 + 0.3 * noise if len(shape) == 1 else (0.2 if "wte" in name else 0.25) * noise
        parameters[name] = value.float().double().requires_grad_()
    return parameters


def alibi_slopes(heads: int) -> list[float]:
    """Press et al. 2022; for other than powers of two in the order in which MPT takes them."""
    power_of_two = 2 ** math.ceil(math.log2(heads))
    slopes = [2 ** (-8 * (i + 1) / power_of_two) for i in range(power_of_two)]
    return slopes if power_of_two == heads else (slopes[1::2] + slopes[0::2])[:heads]


def logits_of(parameters: dict[str, Tensor], config, inputs: Tensor) -> Tensor:
    """inputs [batch, sequence] -> logits [batch, sequence, vocabulary]"""
    batch, sequence = inputs.shape
    width, heads = config["width"], config["heads"]
    head_size = width // heads

    position = torch.arange(sequence)
    distance = position[:, None] - position[None, :]  # query - key
    bias = -torch.tensor(alibi_slopes(heads), dtype=torch.float64)[:, None, None] * distance
    bias = bias.masked_fill(distance < 0, -math.inf)

    def norm(x, name):
        return F.layer_norm(x, (width,), parameters[name], eps=1e-5)

    x = parameters["transformer.wte.weight"][inputs]
    for block in range(config["blocks"]):
        prefix = f"transformer.blocks.{block}."
        query, key, value = (
            part.reshape(batch, sequence, heads, head_size).transpose(1, 2)
            for part in (norm(x, prefix + "norm_1.weight") @ parameters[prefix + "attn.Wqkv.weight"].T).chunk(3, dim=-1)
        )
        scores = query @ key.transpose(-1, -2) / math.sqrt(head_size) + bias
        mixed = (scores.softmax(dim=-1) @ value).transpose(1, 2).reshape(batch, sequence, width)
        x = x + mixed @ parameters[prefix + "attn.out_proj.weight"].T
        inner = F.gelu(norm(x, prefix + "norm_2.weight") @ parameters[prefix + "ffn.up_proj.weight"].T)
        x = x + inner @ parameters[prefix + "ffn.down_proj.weight"].T
    return norm(x, "transformer.norm_f.weight") @ parameters["transformer.wte.weight"].T


def loss_of(logits: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def learning_rate_at(step: int) -> float:
    peak, warmup, total = OPTIMIZER["learningRate"], OPTIMIZER["warmupSteps"], OPTIMIZER["totalSteps"]
    floor = peak * OPTIMIZER["finalLearningRateRatio"]
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = min(1.0, (step - warmup) / (total - warmup))
    return floor + (peak - floor) * (1 + math.cos(math.pi * progress)) / 2


def make(case) -> tuple[dict[str, Tensor], dict[str, object]]:
    config = case["config"]
    generator = torch.Generator().manual_seed(case["seed"])
    parameters = initial_parameters(config, generator)
    # Ids of the lower half are drawn twice as often: some repeat within a batch, some never occur in it.
    size = config["vocabularySize"]
    shape = (STEPS, case["batchSize"], config["sequenceLength"] + 1)
    ids = torch.randint(0, size + size // 2, shape, generator=generator) % size
    inputs, targets = ids[..., :-1], ids[..., 1:]

    dump = {name: value.detach().float().clone() for name, value in parameters.items()}
    dump |= {"inputs": inputs.int(), "targets": targets.int()}
    matrices = [value for value in parameters.values() if value.dim() >= 2]
    vectors = [value for value in parameters.values() if value.dim() < 2]
    optimizer = torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": OPTIMIZER["weightDecay"]},
            {"params": vectors, "weight_decay": 0.0},
        ],
        betas=(OPTIMIZER["beta1"], OPTIMIZER["beta2"]),
        eps=OPTIMIZER["epsilon"],
    )
    losses, norms, rates = [], [], []
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(step)
        optimizer.zero_grad()
        logits = logits_of(parameters, config, inputs[step])
        loss = loss_of(logits, targets[step])
        loss.backward()
        if step == 0:
            dump["logits"] = logits.detach()
            dump |= {f"gradient/{name}": value.grad.clone() for name, value in parameters.items()}
        norm = torch.nn.utils.clip_grad_norm_(parameters.values(), OPTIMIZER["gradientClip"])
        optimizer.step()
        losses.append(loss.item())
        norms.append(norm.item())
        rates.append(learning_rate_at(step))
    if not min(norms) < OPTIMIZER["gradientClip"] < max(norms):
        raise SystemExit(f"the steps have to cross the clip of {OPTIMIZER['gradientClip']}; their norms are {norms}")

    for name, values in (("losses", losses), ("gradientNorms", norms), ("learningRates", rates)):
        dump[name] = torch.tensor(values, dtype=torch.float64)
    dump |= {f"after/{name}": value.detach() for name, value in parameters.items()}
    return dump, {"config": config, "optimizer": OPTIMIZER, "batchSize": case["batchSize"]}


def check_hugging_face(dump: dict[str, Tensor], config) -> None:
    """transformers computes ALiBi and the softmax in float32, hence the tolerance."""
    from transformers import MptConfig, MptForCausalLM

    hugging_face = MptForCausalLM(
        MptConfig(
            d_model=config["width"],
            n_heads=config["heads"],
            n_layers=config["blocks"],
            vocab_size=config["vocabularySize"],
            max_seq_len=config["sequenceLength"],
        )
    )
    names = {name for name, _ in hugging_face.named_parameters()}
    if names != set(parameter_shapes(config)):
        raise SystemExit(f"transformers' MPT has other parameters: {sorted(names)}")
    hugging_face.load_state_dict({name: dump[name] for name in names} | {"lm_head.weight": dump["transformer.wte.weight"]})
    logits = hugging_face(dump["inputs"][0].long()).logits
    loss_of(logits, dump["targets"][0].long()).backward()
    compared = {"logits": (logits.detach(), dump["logits"])}
    compared |= {name: (value.grad, dump[f"gradient/{name}"]) for name, value in hugging_face.named_parameters()}
    for name, (actual, expected) in compared.items():
        error = ((actual - expected).abs().max() / expected.abs().max()).item()
        if error > 1e-5:
            raise SystemExit(f"{name}: off by {error:.1e} of its largest value")
    print(f"  transformers agrees: logits and {len(names)} gradients within 1e-5")


def write_safetensors(path: pathlib.Path, tensors: dict[str, Tensor], metadata: dict[str, object]) -> None:
    """As model/checkpoint/safetensors.ts reads it: widest elements first, a checksum at a fixed place."""
    types = {torch.float64: "F64", torch.float32: "F32", torch.int32: "I32"}
    blank = "0" * 64
    header = {"__metadata__": {"sha256": blank} | {key: json.dumps(value) for key, value in metadata.items()}}
    data = b""
    for name, tensor in sorted(tensors.items(), key=lambda item: -item[1].element_size()):
        piece = tensor.contiguous().numpy().tobytes()
        offsets = [len(data), len(data) + len(piece)]
        header[name] = {"dtype": types[tensor.dtype], "shape": list(tensor.shape), "data_offsets": offsets}
        data += piece
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    content = struct.pack("<Q", len(text)) + text + data
    digest = hashlib.sha256(content).hexdigest()
    path.write_bytes(content.replace(blank.encode(), digest.encode(), 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check-hugging-face", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name, case in CASES.items():
        dump, metadata = make(case)
        path = pathlib.Path(__file__).with_name(f"{name}.safetensors")
        print(f"{path.name}: losses {dump['losses'].numpy().round(4)}, norms {dump['gradientNorms'].numpy().round(3)}")
        if arguments.check_hugging_face:
            check_hugging_face(dump, case["config"])
        write_safetensors(path, dump, metadata)


if __name__ == "__main__":
    main()
