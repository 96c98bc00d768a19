"""What the studies in experiment/ were made from. A test that goes on with them imports or repeats this module."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from hubserve.evaluator import FunctionalEvaluator, Objective, TabularEvaluator
from hubserve.evaluator.table import Table
from hubserve.experiment import Constraint, NasExperiment
from hubserve.space import ModelSpace, Picker
from hubserve.strategy import NSGA2, RegularizedEvolution

WIDTHS, KERNELS = (2, 3, 4, 5, 6, 7, 8, 9), (1, 3, 5)


@dataclass(frozen=True)
class Small(ModelSpace):
    """8 widths x (depth 1: 3 kernels, depth 2: 9) = 96 archs; pictures (batch, 3, 8, 8)."""

    num_labels: int = 4

    def build(self, pick: Picker) -> nn.Module:
        width = pick("width", WIDTHS)
        blocks = pick.repeat("depth", (1, 2), lambda i: nn.Conv2d(width, width, pick(f"kernel_{i}", KERNELS), padding="same"))
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, self.num_labels))
        return nn.Sequential(nn.Conv2d(3, width, 1), *blocks, head)


def key(space: ModelSpace, arch: dict[str, object]) -> str:
    """Name of an arch in the table."""
    return ",".join(f"{label}={arch[label]}" for label in sorted(arch))


def table() -> Table:
    """A made-up score for each of the 96 archs."""
    rows = {}
    for width in WIDTHS:
        for first in KERNELS:
            for second in (None, *KERNELS):
                arch = {"width": width, "depth": 1 if second is None else 2, "kernel_0": first}
                if second is not None:
                    arch["kernel_1"] = second
                rows[key(Small(), arch)] = {"score": width + 0.1 * first + 0.01 * (second or 0), "width": float(width)}
    return Table("made up", rows)


def finished(folder: Path) -> NasExperiment:
    """One objective from a table: 8 trials, all of them in experiment/finished."""
    evaluator = TabularEvaluator(table(), "score", report=["width"], key=key)
    strategy = RegularizedEvolution(population_size=4, sample_size=2, seed=1)
    return NasExperiment(
        Small(), evaluator, strategy, name="golden-finished", folder=folder, max_trials=8, seed=1, progress=False
    )


def interrupted(folder: Path, *, kill_in_evaluation: int | None = None) -> NasExperiment:
    """Two objectives, one of them a measure, and a constraint: 10 trials wanted; experiment/interrupted has fewer.

    Args:
        folder: of the experiment.
        kill_in_evaluation: the process ends itself by `kill -9` in the evaluation of that number, from 1.
    """
    begun = 0

    def score(model: nn.Module) -> float:
        nonlocal begun
        begun += 1
        if begun == kill_in_evaluation:
            os.kill(os.getpid(), signal.SIGKILL)
        width, kernel = model[1].out_channels, model[1].kernel_size[0]
        return float(width + 0.5 * kernel)

    return NasExperiment(
        Small(),
        FunctionalEvaluator(score, objectives=("score",)),
        NSGA2(population_size=4, seed=2),
        name="golden-interrupted",
        folder=folder,
        max_trials=10,
        objectives=(Objective("score"), Objective("params", "minimize")),
        constraints=[Constraint("params", "<=", 600)],
        input_shape=(3, 8, 8),
        seed=2,
        progress=False,
    )
