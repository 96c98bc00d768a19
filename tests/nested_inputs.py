"""Data sets whose inputs are a list, tuple or dict, in any nesting, and a space of networks that read them."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.data import Dataset

from hubserve.space import ModelSpace

Named = namedtuple("Named", ["left", "right"])

KINDS = {
    "list": lambda a, b: [a, b],
    "tuple": lambda a, b: (a, b),
    "dict": lambda a, b: {"left": a, "right": b},
    "named tuple": Named,
    "nested": lambda a, b: {"both": (a, [b]), "mask": torch.ones(2, dtype=torch.bool), "name": "text"},
}
"""Kind of input -> function that makes such an input of two tensors."""


def two_tensors(inputs):
    """The two tensors of a batch, whatever holds them."""
    if isinstance(inputs, dict) and "both" in inputs:
        assert inputs["mask"].dtype is torch.bool
        return inputs["both"][0], inputs["both"][1][0]
    return tuple(inputs.values()) if isinstance(inputs, dict) else tuple(inputs)


class Pairs(Dataset):
    """Items (input of `kind`, target): the class is where the sum of the two tensors is largest."""

    def __init__(self, kind: str, n: int = 12, *, numbers: bool = False) -> None:
        generator = torch.Generator().manual_seed(0)
        self.left, self.right = (torch.randn(n, 4, generator=generator) for _ in range(2))
        self.kind = kind
        self.numbers = numbers

    def __len__(self):
        return len(self.left)

    def __getitem__(self, i):
        total = self.left[i] + self.right[i]
        return KINDS[self.kind](self.left[i], self.right[i]), total.sum() if self.numbers else total.argmax()


class Gate(nn.Module):
    """Returns what it is given and something of its own, as layers with a state do."""

    def __init__(self, layer: nn.Module, nest: str) -> None:
        super().__init__()
        self.layer = layer
        self.nest = nest

    def forward(self, pair, scale=1.0):
        state, mask = pair
        return NESTS[self.nest][0](scale * self.layer(state), mask)


class Net(nn.Module):
    def __init__(self, pick, outputs, nest):
        super().__init__()
        width = pick("width", (4, 8))
        self.first = nn.Sequential(nn.Linear(4, width), nn.BatchNorm1d(width), nn.ReLU())
        candidates = {
            "linear": lambda: Gate(nn.Linear(width, width), nest),
            "deep": lambda: Gate(nn.Sequential(nn.Linear(width, 4), nn.ReLU(), nn.Linear(4, width)), nest),
            "none": lambda: Gate(nn.Identity(), nest),
        }
        self.op = pick.layer("op", candidates)
        self.blocks = nn.ModuleList(pick.repeat("depth", [1, 3], lambda i: Gate(nn.Linear(width, width), "tuple")))
        self.nest = nest
        self.head = nn.Linear(width, outputs)

    def forward(self, inputs):
        left, right = two_tensors(inputs)
        mask = torch.ones(len(left), 1, dtype=torch.bool, device=left.device)
        pair = NESTS[self.nest][1](self.op((self.first(left + right), mask), scale=0.5))
        for block in self.blocks:
            pair = block(pair)
        return self.head(pair[0] * pair[1])


NESTS = {
    "tuple": (lambda state, mask: (state, mask), lambda pair: pair),
    "dict": (lambda state, mask: {"state": state, "mask": mask}, lambda found: (found["state"], found["mask"])),
    "nested": (lambda state, mask: {"a": [state, (mask, None)]}, lambda found: (found["a"][0], found["a"][1][0])),
}
"""Kind of output of the candidates -> function that makes it, and one that takes it apart."""


@dataclass(frozen=True)
class TwoInputs(ModelSpace):
    """Networks whose input is of any kind of `KINDS`, and whose candidates return a value of a kind of `NESTS`."""

    outputs: int = 4
    nest: str = "tuple"

    def build(self, pick):
        return Net(pick, self.outputs, self.nest)
