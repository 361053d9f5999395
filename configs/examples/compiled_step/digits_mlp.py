# SPDX-License-Identifier: Apache-2.0
"""The network of configs/digits_mlp.ini in Python, for compile_step.py: any module with float32 parameters would do."""
import torch

class DigitsMlp(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.ModuleList([torch.nn.Linear(64, 64), torch.nn.Linear(64, 10)])

    def forward(self, features):
        return self.layers[1](torch.relu(self.layers[0](features.flatten(1))))

def example():
    torch.manual_seed(0)
    return DigitsMlp(), torch.zeros(32, 1, 8, 8), torch.zeros(32, dtype=torch.int64)
