"""How well shared weights rank: accuracy of digits subnets in supernets against that of the same networks trained alone."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from random import Random

import torch
import typer
from rich.console import Console
from rich.table import Table
from scipy.stats import kendalltau
from sklearn.datasets import load_digits
from torch.utils.data import TensorDataset

from hubserve.evaluator import Classification, Trial
from hubserve.hub import MobileNetV3Space, NasBench201
from hubserve.space import Arch, ModelSpace
from hubserve.strategy import RandomOneShot
from hubserve.strategy.oneshot import extract

SPACES: dict[str, ModelSpace] = {
    "operations of NasBench201": NasBench201(stem_out_channels=8, num_modules_per_stack=1, num_labels=10),
    "sizes of MobileNetV3Space": MobileNetV3Space(
        num_labels=10,
        base_widths=(8, 8, 8, 16, 16, 32),
        width_multipliers=(0.25, 0.5, 1.0, 2.0),
        expand_ratios=(1.0, 2.0, 4.0),
        squeeze_excite=("none", "none", "optional"),
        depth_range=(1, 3),
        stride=(1, 1, 2, 2, 1, 1),
        activation=("relu",) * 6,
    ),
}
"""Two kinds of choices: what an operation is, with most of the network fixed, and how wide and deep the network is."""

COPIES = 4
"""Of each digit, under other noise."""


@dataclass(frozen=True)
class Recipe:
    """How a network, or a supernet, is trained: SGD with a cosine.

    Attributes:
        noise: see `digits`.
        epochs: of training.
    """

    noise: float
    epochs: int

    def evaluator(self) -> Classification:
        """With its data."""
        train, val = digits(self.noise)
        return Classification(
            learning_rate=0.1,
            weight_decay=3e-4,
            optimizer="sgd",
            train_dataloaders=train,
            val_dataloaders=val,
            num_classes=10,
            batch_size=128,
            schedule="cosine",
            max_epochs=self.epochs,
            accelerator="cpu",
        )


def main(
    seeds: int = 3,
    subnets: int = 24,
    epochs: int = 60,
    alone_epochs: int = 8,
    repeats: int = 4,
    noise: float = 0.8,
    draw: str = "subnets",
    workers: int = 2,
) -> None:
    """Prints Kendall's tau for supernets of uniform paths, and for the number of parameters, which costs nothing to know.

    Args:
        seeds: supernets that are trained.
        subnets: that are trained alone.
        epochs: of a supernet.
        alone_epochs: of a subnet.
        repeats: trainings of a subnet, each with weights and an order of its own; their mean is its accuracy.
        noise: standard deviation of what is added to pixels between -1 and 1.
        draw: seed of the draw of subnets.
        workers: trainings at a time, of one thread each.
    """
    torch.set_num_threads(1)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_one_thread) as pool:
        for name, space in SPACES.items():
            rng = Random(draw)
            archs = [space.random(rng) for _ in range(subnets)]
            jobs = [(arch, repeat) for arch in archs for repeat in range(repeats)]
            accuracies = list(pool.map(partial(trained_alone, space, Recipe(noise, alone_epochs)), jobs))
            alone = [accuracies[i : i + repeats] for i in range(0, len(accuracies), repeats)]
            shared = list(pool.map(partial(on_shared_weights, space, Recipe(noise, epochs), archs), range(seeds)))
            Console(width=120).print(report(name, space, archs, alone, shared))


def report(
    name: str,
    space: ModelSpace,
    archs: Sequence[Arch],
    alone: Sequence[Sequence[float]],
    shared: Sequence[tuple[list[float], float]],
) -> Table:
    """A line for each supernet, then the means of all of them, and the number of parameters."""
    means = [statistics.mean(scores) for scores in alone]
    halves = [[statistics.mean(scores[half::2]) for scores in alone] for half in (0, 1)] if len(alone[0]) > 1 else None
    agree = "" if halves is None else f"; the means of one half of the trainings rank like the other's: tau {_tau(*halves)}"
    title = f"{name}: {len(archs)} subnets, alone {_span(means)}{agree}"
    table = Table("ranked by", "Kendall tau, p", "accuracy", "seconds", title=title)
    for seed, (scores, seconds) in enumerate(shared):
        table.add_row(f"supernet, seed {seed}", _tau(scores, means), _span(scores), f"{seconds:.0f}")
    table.add_row("mean of the supernets", _tau([statistics.mean(s) for s in zip(*(s for s, _ in shared), strict=True)], means))
    table.add_row("parameters", _tau([float(parameters(space, arch)) for arch in archs], means))
    return table


def trained_alone(space: ModelSpace, recipe: Recipe, job: tuple[Arch, int]) -> float:
    """Accuracy of a network that shares nothing."""
    arch, seed = job
    torch.manual_seed(seed)
    return recipe.evaluator().fit(space.freeze(arch), Trial(seed=seed))["val_acc"]


def on_shared_weights(space: ModelSpace, recipe: Recipe, archs: Sequence[Arch], seed: int) -> tuple[list[float], float]:
    """Accuracies of the archs in one supernet, batch norms measured anew, and the seconds of it all."""
    began, evaluator = time.perf_counter(), recipe.evaluator()
    supernet = RandomOneShot().run(space, evaluator, seed=seed, device="cpu").supernet
    if supernet is None:
        raise TypeError("RandomOneShot ended without a supernet")
    return [extract(supernet, arch, evaluator, seed=seed).after["val_acc"] for arch in archs], time.perf_counter() - began


def parameters(space: ModelSpace, arch: Arch) -> int:
    """Of the network."""
    return sum(p.numel() for p in space.freeze(arch).parameters())


def digits(noise: float) -> tuple[TensorDataset, TensorDataset]:
    """Scikit-learn's digits, 8 x 8, under noise: three fifths to train, two fifths to judge, the same for all.

    Without noise all networks come to 98 or 99 %, and what ranks them is chance: the accuracies of one half of the trainings
    say little of those of the other half.
    """
    found = load_digits()
    pictures = torch.from_numpy(found.images).float()[:, None].repeat(1, 3, 1, 1) / 8 - 1
    labels = torch.from_numpy(found.target)
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(pictures), generator=generator)
    cut = len(order) * 3 // 5

    def part(places: torch.Tensor) -> TensorDataset:
        clean = pictures[places].repeat(COPIES, 1, 1, 1)
        return TensorDataset(clean + noise * torch.randn(clean.shape, generator=generator), labels[places].repeat(COPIES))

    return part(order[:cut]), part(order[cut:])


def _one_thread() -> None:
    torch.set_num_threads(1)


def _tau(a: Sequence[float], b: Sequence[float]) -> str:
    """Tau-b, and the chance that lists which have nothing to do with each other agree or disagree so much."""
    found = kendalltau(a, b)
    return f"{found.statistic:.2f}, {found.pvalue:.4f}"


def _span(values: Sequence[float]) -> str:
    return f"{min(values):.3f} to {max(values):.3f}, median {statistics.median(values):.3f}"


if __name__ == "__main__":
    typer.run(main)
