"""A small space with a known best arch, and evaluations that take next to no time."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

import hubserve
from hubserve.evaluator import Evaluator, Objective, Trial
from hubserve.space import Arch, ModelSpace, Picker


@dataclass(frozen=True)
class Small(ModelSpace):
    """8 widths x (depth 1: 3 kernels, depth 2: 9) = 96 archs; images (batch, 3, 8, 8)."""

    num_labels: int = 4

    def build(self, pick: Picker) -> nn.Module:
        width = pick("width", (2, 3, 4, 5, 6, 7, 8, 9))
        blocks = pick.repeat("depth", (1, 2), lambda i: nn.Conv2d(width, width, pick(f"kernel_{i}", (1, 3, 5)), padding="same"))
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, self.num_labels))
        return nn.Sequential(nn.Conv2d(3, width, 1), *blocks, head)


SIZE = 96
SHAPE = (3, 8, 8)


def value(arch: Arch) -> float:
    """The larger the better; 9.6 is the best, and equal archs alone have equal values."""
    return arch["width"] + 0.1 * arch["kernel_0"] + 0.01 * arch.get("kernel_1", 0) + 0.001 * arch["depth"]


class Value(Evaluator):
    """`value`, with the trial's seed beside it."""

    def evaluate(self, space: ModelSpace, arch: Arch, trial: Trial) -> dict[str, float]:
        return {"default": value(arch), "seed": float(trial.seed)}


class Two(Evaluator):
    """Two objectives that pull apart: no arch of one width beats one of another in both."""

    objectives = (Objective("value"), Objective("cost", "minimize"))

    def evaluate(self, space: ModelSpace, arch: Arch, trial: Trial) -> dict[str, float]:
        return {"value": value(arch), "cost": 10.0 * arch["width"] - arch["kernel_0"]}


def parameters(model: nn.Module) -> float:
    return float(sum(parameter.numel() for parameter in model.parameters()))


def trial_number(model: nn.Module) -> None:
    hubserve.report_final_result(hubserve.get_sequence_id())
