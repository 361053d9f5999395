"""Training steps under DistributedDataParallel with gloo, a rank a process: started by torchrun from versus_ddp.py.

The models of `muster bench step`, on a batch that stays the same, SGD with momentum. Reads "MODE STEPS" from the pipe
go.RANK, answers on took.RANK with microseconds a step. Modes: alone (no DDP, every rank for itself), plain (DDP and SGD as their
documentation shows them), tuned (fused SGD, gradients as views of buckets, a static graph).
SPDX-License-Identifier: Apache-2.0"""
import os
import sys
import time

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.skip = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.skip = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + self.skip(x))


def resnet18():
    """At CIFAR shape: a 3 x 3 stem, no pooling after it."""
    layers, inputs = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()], 64
    for outputs, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        layers += [Block(inputs, outputs, stride), Block(outputs, outputs, 1)]
        inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))


def mlp(widths):
    layers = []
    for inputs, outputs in zip(widths, widths[1:]):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


MODELS = {
    "mlp": (lambda: mlp([784, 128, 10]), [784], 64),
    "deep": (lambda: mlp([128] * 43 + [10]), [128], 64),
    "wide": (lambda: mlp([784, 2048, 2048, 2048, 10]), [784], 32),
    "resnet18": (resnet18, [3, 32, 32], 8),
}


def stepper(name, mode):
    make, shape, batch = MODELS[name]
    torch.manual_seed(1)
    model = make()
    features, labels = torch.randn(batch, *shape), torch.randint(10, (batch,))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9, fused=mode == "tuned")
    if mode == "plain":
        model = DistributedDataParallel(model)
    elif mode == "tuned":
        model = DistributedDataParallel(model, gradient_as_bucket_view=True, static_graph=True)

    def step():
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(features), labels).backward()
        optimizer.step()

    return step


def main(name, pipes, pin):
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    if pin:
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[rank]})
    torch.set_num_threads(1)
    steps = {mode: stepper(name, mode) for mode in ("alone", "plain", "tuned")}
    with open(f"{pipes}/go.{rank}") as go, open(f"{pipes}/took.{rank}", "w") as took:
        for line in go:
            mode, count = line.split()
            dist.barrier()
            start = time.perf_counter()
            for _ in range(int(count)):
                steps[mode]()
            print(f"{(time.perf_counter() - start) / int(count) * 1e6:.2f}", file=took, flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3] == "pin")
