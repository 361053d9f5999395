#!/usr/bin/env python3
"""The same steps by PyTorch: eager, torch.compile, DistributedDataParallel at world 1.

peers.py MODEL --how eager|compile|reduce-overhead|ddp prints one JSON object; shapes are those of muster-bench-gpu.
"""
# SPDX-License-Identifier: Apache-2.0
import argparse
import json
import os
import statistics
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

SMALL = os.environ.get("MUSTER_BENCH_SMALL") == "1"  # tries this script on a CPU; measures nothing
DEVICE = "cpu" if SMALL else "cuda"


class Block(nn.Module):
    """A GPT-2 block, written as nanoGPT's users write it."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.ln_1 = nn.LayerNorm(width)
        self.c_attn = nn.Linear(width, 3 * width)
        self.c_proj = nn.Linear(width, width)
        self.ln_2 = nn.LayerNorm(width)
        self.c_fc = nn.Linear(width, 4 * width)
        self.c_out = nn.Linear(4 * width, width)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.c_attn(self.ln_1(x)).split(c, dim=2)
        q, k, v = (y.view(b, t, self.heads, c // self.heads).transpose(1, 2) for y in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.c_proj(y.transpose(1, 2).reshape(b, t, c))
        return x + self.c_out(F.gelu(self.c_fc(self.ln_2(x)), approximate="tanh"))


class Gpt(nn.Module):
    def __init__(self, vocabulary, context, width, heads, depth):
        super().__init__()
        self.wte = nn.Embedding(vocabulary, width)
        self.wpe = nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.ln_f = nn.LayerNorm(width)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, tokens):
        x = self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1], device=tokens.device))
        for block in self.blocks:
            x = block(x)
        return F.linear(self.ln_f(x), self.wte.weight)


class Work:
    """A model, one batch that stays on the card, and how it is trained."""

    def __init__(self, model, features, labels, units, optimizer, low=False, clip=None):
        self.model = model.to(DEVICE)
        self.features = features
        self.labels = labels
        self.units = units  # of a step: tokens, samples or images
        self.optimizer = optimizer
        self.low = low  # bf16 autocast
        self.clip = clip


def gpt(batch):
    shape = dict(vocabulary=128, context=32, width=64, heads=2, depth=2) if SMALL else \
        dict(vocabulary=50304, context=1024, width=768, heads=12, depth=12)
    batch = 4 if SMALL else batch or 64
    tokens = torch.randint(shape["vocabulary"], (batch, shape["context"] + 1), device=DEVICE)
    return Work(Gpt(**shape), tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous(), batch * shape["context"],
                dict(kind=torch.optim.AdamW, lr=3e-4, betas=(0.9, 0.999), weight_decay=0.1), low=True, clip=1.0)


def mlp(batch):
    batch = batch or 64
    model = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    return Work(model, torch.randn(batch, 784, device=DEVICE), torch.randint(10, (batch,), device=DEVICE), batch,
                dict(kind=torch.optim.SGD, lr=0.01, momentum=0.9))


def resnet50(batch):
    import torchvision
    torch.backends.cudnn.benchmark = True  # as muster-rank does
    batch, side = (4, 32) if SMALL else (batch or 256, 224)
    model = torchvision.models.resnet50().to(memory_format=torch.channels_last)
    images = torch.randn(batch, 3, side, side, device=DEVICE).to(memory_format=torch.channels_last)
    return Work(model, images, torch.randint(1000, (batch,), device=DEVICE), batch,
                dict(kind=torch.optim.SGD, lr=0.01, momentum=0.9), low=True)


def make_step(work, how):
    settings = dict(work.optimizer)
    kind = settings.pop("kind")
    # Left to choose, the optimiser takes its list form on a card, which a compiled step makes one kernel of.
    fused = None if SMALL or how == "reduce-overhead" else True
    optimizer = kind(work.model.parameters(), fused=fused, **settings)
    model = work.model
    if how == "ddp":
        torch.distributed.init_process_group("gloo" if SMALL else "nccl", rank=0, world_size=1,
                                             init_method="tcp://127.0.0.1:29533")
        model = nn.parallel.DistributedDataParallel(model)

    def loss_of(features, labels):
        with torch.autocast(DEVICE, torch.bfloat16, enabled=work.low):
            outputs = model(features).float()
            return F.cross_entropy(outputs.flatten(0, -2) if outputs.dim() > 2 else outputs, labels.flatten())

    update = optimizer.step
    if how == "compile":
        loss_of = torch.compile(loss_of)
    if how == "reduce-overhead":
        loss_of = torch.compile(loss_of, mode="reduce-overhead")
        update = torch.compile(optimizer.step)

    def step():
        if how == "reduce-overhead":
            torch.compiler.cudagraph_mark_step_begin()
        loss = loss_of(work.features, work.labels)
        loss.backward()
        if work.clip is not None:
            nn.utils.clip_grad_norm_(work.model.parameters(), work.clip)
        update()
        optimizer.zero_grad(set_to_none=True)
        return loss
    return step


def synchronise():
    if not SMALL:
        torch.cuda.synchronize()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=["gpt", "mlp", "resnet50"])
    parser.add_argument("--how", default="eager", choices=["eager", "compile", "reduce-overhead", "ddp"])
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--batch", type=int, default=0)
    parser.add_argument("--prepare", action="store_true", help="compile only: the next run finds it in the cache")
    arguments = parser.parse_args()
    torch.manual_seed(1)
    torch.set_num_threads(1 if SMALL else torch.get_num_threads())
    work = globals()[arguments.model](arguments.batch)
    step = make_step(work, arguments.how)
    for _ in range(2 if arguments.prepare else 3 if SMALL else 500 if arguments.model == "mlp" else 12):
        step()
    synchronise()
    if arguments.prepare:
        return
    steps = arguments.steps or (2 if SMALL else {"gpt": 10, "resnet50": 15, "mlp": 1000}[arguments.model])
    times = []
    for _ in range(2 if SMALL else 5):
        start = time.perf_counter()
        for _ in range(steps):
            step()
        synchronise()
        times.append((time.perf_counter() - start) / steps)
    seconds = statistics.median(times)
    print(json.dumps({
        "part": "step", "who": "torch " + arguments.how, "model": arguments.model, "batch": len(work.features),
        "step_us": round(seconds * 1e6, 2), "fastest_us": round(min(times) * 1e6, 2),
        "slowest_us": round(max(times) * 1e6, 2), "per_second": round(work.units / seconds, 1),
        "torch": torch.__version__, "card": "cpu" if SMALL else torch.cuda.get_device_name()}), flush=True)
    if arguments.how == "ddp":
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
