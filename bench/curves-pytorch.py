"""The training of this project in PyTorch: the same model, schedule, clipping and AdamW, on batches that are given as files.

Driven over pipes by bench/curves.ts. The setting is JSON: config and optimizer as model/types.ts has them, batchSize, threads,
the files' paths and the number of held-out batches of each corpus. One line of JSON when ready; then
    train N     N steps on the next batches, answered with {"steps": [{loss, gradientNorm, learningRate}, ...]}
    evaluate    answered with {"nats": [...]}: summed cross-entropy of each corpus' held-out batches
--exact-norm sums the gradients' squares in float64, which clip_grad_norm_ does in float32, over millions of values one after another.
The schedule is computed here, from the optimizer's settings. Runs with PyTorch 1.13 and newer. Decides nothing.
"""
import argparse
import json
import math
import sys

# What is imported from beside this file leaves no bytecode there.
sys.dont_write_bytecode = True

import torch

import mpt


def rate_factor(optimizer):
    """Over the peak, of a 0-based step: linear warm-up, then half a cosine to the floor, and the floor."""
    warmup, total = optimizer["warmupSteps"], optimizer["totalSteps"]
    floor = optimizer["finalLearningRateRatio"]

    def factor(step):
        if step < warmup:
            return (step + 1) / warmup
        progress = min(1.0, (step - warmup) / max(1, total - warmup))
        return floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2

    return factor


def clip_by_exact_norm(parameters, most):
    """As torch.nn.utils.clip_grad_norm_, but for the precision of the norm."""
    gradients = [parameter.grad for parameter in parameters]
    norm = math.sqrt(sum(gradient.double().square().sum().item() for gradient in gradients))
    for gradient in gradients:
        gradient.mul_(min(1.0, most / (norm + 1e-6)))
    return torch.tensor(norm, dtype=torch.float64)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--setting", required=True)
    parser.add_argument("--threads", type=int, help="instead of the setting's")
    parser.add_argument("--exact-norm", action="store_true")
    mpt.add_choices(parser)
    options = parser.parse_args()
    with open(options.setting) as file:
        setting = json.load(file)
    name = mpt.decide(options)
    threads = options.threads or setting["threads"]
    torch.set_num_threads(threads)

    config, hyper = setting["config"], setting["optimizer"]
    shape = (setting["batchSize"], config["sequenceLength"])
    size = {"blocks": config["blocks"], "width": config["width"], "vocabulary": config["vocabularySize"]}
    length = mpt.parameter_count(**size)
    flat = torch.from_file(setting["weights"], shared=False, size=length, dtype=torch.float32)
    model = mpt.Model(
        flat, **size, heads=config["heads"], sequence=config["sequenceLength"], attention=options.attention
    )
    optimizer = mpt.make_optimizer(
        model,
        learning_rate=hyper["learningRate"],
        betas=(hyper["beta1"], hyper["beta2"]),
        epsilon=hyper["epsilon"],
        weight_decay=hyper["weightDecay"],
        adamw=options.adamw,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate_factor(hyper))
    compute = torch.compile(model) if options.compile else model
    clip = clip_by_exact_norm if options.exact_norm else torch.nn.utils.clip_grad_norm_

    def batches_of(path, count):
        """[count, 2, batch, sequence]: inputs and targets of each."""
        ids = torch.from_file(path, shared=False, size=count * 2 * math.prod(shape), dtype=torch.int32)
        return ids.view(count, 2, *shape)

    training = batches_of(setting["training"], hyper["totalSteps"])
    counts = setting["heldOutBatches"]
    held_out = batches_of(setting["heldOut"], sum(counts)).split(counts)
    done = 0

    def step():
        nonlocal done
        inputs, targets = training[done].long()
        done += 1
        rate = optimizer.param_groups[0]["lr"]
        optimizer.zero_grad(set_to_none=True)
        loss = compute(inputs, targets)
        loss.backward()
        norm = clip(list(model.parameters()), hyper["gradientClip"])
        optimizer.step()
        schedule.step()
        return {"loss": loss.item(), "gradientNorm": norm.item(), "learningRate": rate}

    def nats_of(batches):
        with torch.no_grad():
            return sum(model(*batch.long(), reduction="sum").item() for batch in batches)

    def say(message):
        print(json.dumps(message), flush=True)

    name += f", {threads} thread{'' if threads == 1 else 's'}" + (", exact norm" if options.exact_norm else "")
    say({"name": name, "parameters": length})
    for line in sys.stdin:
        task, *count = line.split()
        if task == "train":
            say({"steps": [step() for _ in range(int(count[0]))]})
        else:
            say({"nats": [nats_of(batches) for batches in held_out]})


main()
